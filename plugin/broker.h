/* Mosquitto's headers, and what differs between the brokers this plugin runs in: 2.0 and 2.1.
 *
 * The only place that knows versions.
 */
#ifndef CLAIMSVC_BROKER_H
#define CLAIMSVC_BROKER_H

#include <mosquitto.h>
#include <stdbool.h>

#if LIBMOSQUITTO_VERSION_NUMBER < 2001000
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <mqtt_protocol.h>
#endif

/* A client with a session that lives on has gone. Mosquitto 2.1 says so in place of MOSQ_EVT_DISCONNECT, with data that
 * begins like it; 2.0 does not know the event and says so when it is asked for. */
#define EVENT_CLIENT_OFFLINE 28

/* Whether the running broker frees a message's topic and properties when a plugin has replaced them. Before 2.0.15 it
 * forgot to, which loses a few dozen bytes with each message; since then whoever frees them frees them twice. */
bool broker_frees_replaced(void);

/* The client's user, empty when it has none. */
const char *broker_user(const struct mosquitto *client);

/* Whether the client is connected now and showed a certificate. Listeners that take the user name from a certificate
 * never ask a plugin about the login. */
bool broker_has_certificate(const struct mosquitto *client);

/* Free a text that a mosquitto_property_read function has made. */
void broker_free_text(void *text);

#endif
