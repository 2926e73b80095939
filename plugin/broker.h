/* Mosquitto's headers, and the differences between Mosquitto 2.0 and 2.1.
 *
 * Only this module depends on the version.
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

/* A client with a persistent session has disconnected. Mosquitto 2.1 sends this event instead of MOSQ_EVT_DISCONNECT;
 * its data begins with the same members. 2.0 does not know the event and refuses the registration. */
#define EVENT_CLIENT_OFFLINE 28

/* True if the running broker frees a message's old topic and properties after a plugin has replaced them. Before 2.0.15
 * it does not, and the plugin has to free them. Since 2.0.15 the plugin must not: they would be freed twice. */
bool broker_frees_replaced(void);

/* The client's username, empty if it has none. */
const char *broker_user(const struct mosquitto *client);

/* True if the client is connected and presented a certificate. For listeners that take the username from a certificate,
 * the broker sends no login event. */
bool broker_has_certificate(const struct mosquitto *client);

/* Free a text that a mosquitto_property_read function has allocated. */
void broker_free_text(void *text);

#endif
