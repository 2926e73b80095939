/* The connected clients: the holder of each client id, and the clients that use plain topics.
 *
 * Pure: a connection is an address that is compared and never dereferenced. Never decides about topics.
 *
 * There are two more tables, both bounded. First, ghosts: the broker delivers answers by client id in its next loop
 * iteration. A client that disconnects before it leaves a ghost, and until then no other client may take its id. Second,
 * a table of fixed size holds the principal whose answers may be in the stored session of a client id. If its entry is
 * lost, those answers are dropped, and the device has to repeat its request.
 */
#ifndef CLAIMSVC_CLIENTS_H
#define CLAIMSVC_CLIENTS_H

#include "index.h"
#include "topics.h"

struct client {
	const void *connection; /* NULL: a ghost */
	char *principal;        /* empty if it has no name */
	char *id;
	char *level;            /* the id as a level of a topic */
	bool plain[LANES];      /* has published to this lane by a plain topic */
	bool is_shared;         /* its principal is used by many devices */
	bool is_pending;        /* a password file or another plugin decides about its login; it holds no id yet */
	bool is_logged;         /* a refused request of this client is in the log */
	bool is_superseded;     /* its id belongs to a newer connection; the broker is disconnecting this one */
	bool answered;          /* its session may hold answers to its principal */
	uint64_t answered_turn;
	struct link by_connection, by_level, by_principal;
	struct client *next_ghost;
};

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *clients);

/* True if a client of `principal` may have this id: no client of another principal holds it, except a shared principal.
 * The exception is for a device that reconnects with credentials of its own. */
bool clients_may_have(const struct clients *clients, const char *id, const char *principal);

/* True if the answers in the stored session of this id belong to the principal. */
bool clients_may_resume(const struct clients *clients, const char *id, const char *principal);

/* Add a connected client. Supersedes the previous holder of the id. NULL if out of memory. */
struct client *clients_add(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared);
/* Add a client whose login is decided by a password file or another plugin. It is known by its connection only, and does
 * not take the id from its holder until clients_admit(). NULL if out of memory. */
struct client *clients_ask(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared);
/* Mark a pending client as admitted; its actions prove that its login was accepted. */
void clients_admit(struct clients *clients, struct client *client);
/* Remove a disconnected client. Does nothing if the connection is unknown. */
void clients_remove(struct clients *clients, const void *connection);
struct client *clients_of_connection(const struct clients *clients, const void *connection);

/* An answer to the client has been handed to the broker. */
void clients_answered(struct clients *clients, struct client *client);
/* A new iteration of the broker's loop has begun. */
void clients_turn(struct clients *clients);

/* Iterate over the clients of a lane: all clients of a principal, or the one of a shared login and encoded client id.
 * NULL ends the iteration. */
struct client *clients_first(const struct clients *clients, const struct lane_topic *topic);
struct client *clients_next(const struct client *client, const struct lane_topic *topic);

size_t clients_count(const struct clients *clients);

#endif
