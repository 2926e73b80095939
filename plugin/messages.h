/* A message on its way through the broker: into its lane, with its time; and answers to those who came plainly.
 *
 * Changes messages and hands over copies. Who may is decided before, in rules.c.
 */
#ifndef CLAIMSVC_MESSAGES_H
#define CLAIMSVC_MESSAGES_H

#include "broker.h"
#include "clients.h"
#include "rules.h"

struct messages {
	const struct rules *rules;
	struct clients *clients;
	bool frees_replaced; /* broker.h */
};

/* Treat what this client publishes. Returns what the broker wants to be told. */
int messages_handle(const struct messages *messages, struct client *client, struct mosquitto_evt_message *message);

#endif
