/* Rewrites messages: moves a request into its lane and stamps it with its time; copies an answer to the plain topic.
 *
 * rules.c has decided before that the client may publish the message.
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

/* Handle a message that this client publishes. Return the result code for the broker. */
int messages_handle(const struct messages *messages, struct client *client, struct mosquitto_evt_message *message);

#endif
