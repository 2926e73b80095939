/* The connected clients: who holds which client id, and who came by plain topics.
 *
 * Pure: a connection is an address that is compared and never followed. Never decides about topics.
 *
 * Besides the connected there are two memories, both bounded. A client that got an answer since the broker's loop
 * last turned leaves a ghost, because the broker hands answers over by client id when the loop turns: until then
 * nobody else may take the id. And whose answers may still lie in the stored session of a client id is remembered
 * in a table of fixed size; when it has forgotten, the answers are dropped (the device asks again).
 */
#ifndef CLAIMSVC_CLIENTS_H
#define CLAIMSVC_CLIENTS_H

#include "index.h"
#include "topics.h"

struct client {
	const void *connection; /* NULL: a ghost */
	char *principal;        /* empty when it has no name */
	char *id;
	char *level;            /* the id as a level of a topic */
	bool plain[LANES];      /* has published to this lane by a plain topic */
	bool is_shared;         /* of a principal that many devices use */
	bool is_pending;        /* a password file or another plugin decides about its login; it holds no id yet */
	bool is_logged;         /* a refused request of its is in the log */
	bool is_superseded;     /* its id was given to a newer connection; it is being disconnected */
	bool answered;          /* its session may hold answers of its principal */
	uint64_t answered_turn;
	struct link by_connection, by_level, by_principal;
	struct client *next_ghost;
};

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *clients);

/* Whether a client that shows itself as `principal` may have this id: nobody else holds it, or only a principal that
 * many devices use, as when a device comes again with credentials of its own. */
bool clients_may_have(const struct clients *clients, const char *id, const char *principal);

/* Whether answers in the stored session of this id are the principal's. */
bool clients_may_resume(const struct clients *clients, const char *id, const char *principal);

/* Connected. Supersedes whoever held the id. NULL without memory. */
struct client *clients_add(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared);
/* Asks to get in, and something else than this plugin decides: known by its connection only, and takes no id from
 * its holder until clients_admit(). NULL without memory. */
struct client *clients_ask(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared);
/* A pending client has shown by what it does that it was let in. */
void clients_admit(struct clients *clients, struct client *client);
/* Disconnected. Nothing happens when the connection is unknown. */
void clients_remove(struct clients *clients, const void *connection);
struct client *clients_of_connection(const struct clients *clients, const void *connection);

/* An answer is on its way to the client. */
void clients_answered(struct clients *clients, struct client *client);
/* The broker's loop has turned. */
void clients_turn(struct clients *clients);

/* The client a lane's topic is about: all of a principal, or the one of a shared login and encoded client id. NULL ends
 * it. */
struct client *clients_first(const struct clients *clients, const struct lane_topic *topic);
struct client *clients_next(const struct client *client, const struct lane_topic *topic);

size_t clients_count(const struct clients *clients);

#endif
