#include "clients.h"

#include <stdlib.h>
#include <string.h>

#define SESSIONS 65536 /* 1 MB */

/* The principal whose answers a stored session may hold. Both members are keyed hashes. */
struct session {
	uint64_t owner; /* hash of the principal; 0: none */
	uint64_t level;
};

struct clients {
	struct hash_key key;
	uint64_t turn;
	struct index by_connection, by_level, by_principal;
	struct client *ghosts;
	struct session sessions[SESSIONS];
};

struct clients *clients_new(void)
{
	struct clients *clients = calloc(1, sizeof(*clients));
	if (!clients) {
		return NULL;
	}
	clients->turn = 1;
	if (!hash_key_make(&clients->key) || !index_init(&clients->by_connection) || !index_init(&clients->by_level)
	    || !index_init(&clients->by_principal)) {
		clients_free(clients);
		return NULL;
	}
	return clients;
}

static void client_free(struct client *client)
{
	free(client->principal);
	free(client->id);
	free(client->level);
	free(client);
}

void clients_free(struct clients *clients)
{
	clients_turn(clients);
	for (size_t i = 0; i < clients->by_connection.size; i++) {
		for (struct link *link = clients->by_connection.buckets[i], *next; link; link = next) {
			next = link->next;
			client_free(INDEX_ENTRY(link, struct client, by_connection));
		}
	}
	index_clear(&clients->by_connection);
	index_clear(&clients->by_level);
	index_clear(&clients->by_principal);
	free(clients);
}

static uint64_t hash_connection(const struct clients *clients, const void *connection)
{
	return hash_bytes(&clients->key, &connection, sizeof(connection));
}

struct client *clients_of_connection(const struct clients *clients, const void *connection)
{
	uint64_t hash = hash_connection(clients, connection);
	struct link *link = index_first(&clients->by_connection, hash);
	for (; link; link = index_next(link)) {
		struct client *client = INDEX_ENTRY(link, struct client, by_connection);
		if (client->connection == connection) {
			return client;
		}
	}
	return NULL;
}

static struct client *same_level(struct link *link, const char *level, size_t length)
{
	for (; link; link = index_next(link)) {
		struct client *client = INDEX_ENTRY(link, struct client, by_level);
		if (strlen(client->level) == length && memcmp(client->level, level, length) == 0) {
			return client;
		}
	}
	return NULL;
}

static struct client *holder_of(const struct clients *clients, const char *level, size_t length)
{
	return same_level(index_first(&clients->by_level, hash_bytes(&clients->key, level, length)), level, length);
}

bool clients_may_have(const struct clients *clients, const char *id, const char *principal)
{
	char *level = level_encode(id);
	struct client *holder = level ? holder_of(clients, level, strlen(level)) : NULL;
	bool is_answered_now = holder && holder->answered_turn == clients->turn;
	bool may = level
		   && (!holder || strcmp(holder->principal, principal) == 0 || (holder->is_shared && !is_answered_now));
	free(level);
	return may;
}

/* --- owners of the answers in stored sessions */

static struct session *session_of(const struct clients *clients, uint64_t level)
{
	return (struct session *)&clients->sessions[level % SESSIONS];
}

static void session_keep(struct clients *clients, const struct client *client)
{
	uint64_t level = hash_text(&clients->key, client->level);
	*session_of(clients, level) =
		(struct session){.owner = hash_text(&clients->key, client->principal), .level = level};
}

static bool session_is_of(const struct clients *clients, const char *level, const char *principal)
{
	uint64_t hash = hash_text(&clients->key, level);
	const struct session *session = session_of(clients, hash);
	return session->level == hash && session->owner == hash_text(&clients->key, principal);
}

bool clients_may_resume(const struct clients *clients, const char *id, const char *principal)
{
	char *level = level_encode(id);
	struct client *holder = level ? holder_of(clients, level, strlen(level)) : NULL;
	bool may = holder ? strcmp(holder->principal, principal) == 0
			  : level && session_is_of(clients, level, principal);
	free(level);
	return may;
}

/* --- connecting and disconnecting */

static struct client *client_new(const void *connection, const char *id, const char *principal, bool is_shared)
{
	struct client *client = calloc(1, sizeof(*client));
	if (!client) {
		return NULL;
	}
	client->connection = connection;
	client->is_shared = is_shared;
	client->principal = strdup(principal);
	client->id = strdup(id);
	client->level = level_encode(id);
	if (!client->principal || !client->id || !client->level) {
		client_free(client);
		return NULL;
	}
	return client;
}

static void supersede(struct clients *clients, struct client *client, struct client *newer)
{
	index_remove(&clients->by_level, &client->by_level);
	client->is_superseded = true;
	if (strcmp(client->principal, newer->principal) == 0) {
		newer->answered |= client->answered;
		newer->answered_turn = client->answered_turn;
	}
}

struct client *clients_ask(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared)
{
	struct client *client = client_new(connection, id, principal, is_shared);
	if (!client) {
		return NULL;
	}
	clients_remove(clients, connection);
	client->is_pending = true;
	index_add(&clients->by_connection, &client->by_connection, hash_connection(clients, connection));
	return client;
}

void clients_admit(struct clients *clients, struct client *client)
{
	size_t length = strlen(client->level);
	struct client *holder = holder_of(clients, client->level, length);
	client->is_pending = false;
	if (holder) {
		supersede(clients, holder, client);
	} else {
		client->answered = session_is_of(clients, client->level, client->principal);
	}
	index_add(&clients->by_level, &client->by_level, hash_bytes(&clients->key, client->level, length));
	index_add(&clients->by_principal, &client->by_principal, hash_text(&clients->key, client->principal));
}

struct client *clients_add(struct clients *clients, const void *connection, const char *id, const char *principal,
			   bool is_shared)
{
	struct client *client = clients_ask(clients, connection, id, principal, is_shared);
	if (client) {
		clients_admit(clients, client);
	}
	return client;
}

void clients_remove(struct clients *clients, const void *connection)
{
	struct client *client = clients_of_connection(clients, connection);
	if (!client) {
		return;
	}
	index_remove(&clients->by_connection, &client->by_connection);
	if (client->is_pending) {
		client_free(client);
		return;
	}
	index_remove(&clients->by_principal, &client->by_principal);
	client->connection = NULL;
	if (client->answered) {
		session_keep(clients, client);
	}
	if (!client->is_superseded && client->answered_turn == clients->turn) {
		client->next_ghost = clients->ghosts;
		clients->ghosts = client;
		return;
	}
	if (!client->is_superseded) {
		index_remove(&clients->by_level, &client->by_level);
	}
	client_free(client);
}

void clients_answered(struct clients *clients, struct client *client)
{
	client->answered = true;
	client->answered_turn = clients->turn;
}

void clients_turn(struct clients *clients)
{
	clients->turn++;
	while (clients->ghosts) {
		struct client *ghost = clients->ghosts;
		clients->ghosts = ghost->next_ghost;
		if (!ghost->is_superseded) {
			index_remove(&clients->by_level, &ghost->by_level);
		}
		client_free(ghost);
	}
}

/* --- by lane */

static bool is_text(const char *text, const char *bytes, size_t length)
{
	return strlen(text) == length && memcmp(text, bytes, length) == 0;
}

static struct client *same_principal(struct link *link, const struct lane_topic *topic)
{
	for (; link; link = index_next(link)) {
		struct client *client = INDEX_ENTRY(link, struct client, by_principal);
		if (is_text(client->principal, topic->level, topic->level_length)) {
			return client;
		}
	}
	return NULL;
}

struct client *clients_first(const struct clients *clients, const struct lane_topic *topic)
{
	if (topic->lane == LANE_CLIENT) {
		struct client *holder = holder_of(clients, topic->level, topic->level_length);
		return holder && holder->connection && is_text(holder->principal, topic->login, topic->login_length)
			       ? holder
			       : NULL;
	}
	uint64_t hash = hash_bytes(&clients->key, topic->level, topic->level_length);
	return same_principal(index_first(&clients->by_principal, hash), topic);
}

struct client *clients_next(const struct client *client, const struct lane_topic *topic)
{
	return topic->lane == LANE_CLIENT ? NULL : same_principal(index_next(&client->by_principal), topic);
}

size_t clients_count(const struct clients *clients)
{
	return clients->by_connection.count;
}
