#include "check.h"
#include "clients.h"

/* Connections are addresses that are never dereferenced. */
static const char connections[4096];
#define AT(number) (&connections[number])

/* `login` is used for a client's lane only. */
static struct lane_topic lane_by(const char *login, enum lane kind, const char *level)
{
	return (struct lane_topic){.lane = kind,
				   .login = login,
				   .login_length = strlen(login),
				   .level = level,
				   .level_length = strlen(level),
				   .topic = ""};
}

static size_t count_of(const struct clients *clients, const char *login, enum lane kind, const char *level)
{
	struct lane_topic topic = lane_by(login, kind, level);
	size_t count = 0;
	for (struct client *client = clients_first(clients, &topic); client; client = clients_next(client, &topic)) {
		count++;
	}
	return count;
}

static size_t count_in(const struct clients *clients, enum lane kind, const char *level)
{
	return count_of(clients, "bootstrap", kind, level);
}

static void test_lanes(void)
{
	struct clients *clients = clients_new();
	clients_add(clients, AT(1), "one", "alice", false);
	clients_add(clients, AT(2), "two", "alice", false);
	clients_add(clients, AT(3), "a/b", "bootstrap", true);
	CHECK(count_in(clients, LANE_USER, "alice") == 2, "both clients of alice");
	CHECK(count_in(clients, LANE_USER, "ali") == 0, "no prefix");
	CHECK(count_in(clients, LANE_USER, "") == 0, "an empty name");
	CHECK(count_of(clients, "alice", LANE_CLIENT, "two") == 1, "by id");
	CHECK(count_in(clients, LANE_CLIENT, "two") == 0, "only for this login");
	CHECK(count_of(clients, "alicex", LANE_CLIENT, "two") == 0, "not for a longer name");
	CHECK(count_in(clients, LANE_CLIENT, "a%2Fb") == 1, "by its encoded id");
	CHECK(count_in(clients, LANE_CLIENT, "a/b") == 0, "not by the raw id");
	clients_remove(clients, AT(1));
	clients_remove(clients, AT(1));
	CHECK(count_in(clients, LANE_USER, "alice") == 1 && clients_count(clients) == 2, "one is removed");
	clients_free(clients);
}

static void test_ids(void)
{
	struct clients *clients = clients_new();
	clients_add(clients, AT(1), "id", "alice", false);
	clients_add(clients, AT(2), "boot", "bootstrap", true);
	CHECK(clients_may_have(clients, "free", "mallory"), "a free id");
	CHECK(!clients_may_have(clients, "id", "mallory"), "the id of another login");
	CHECK(!clients_may_have(clients, "id", "bootstrap"), "the id of another login by bootstrap");
	CHECK(!clients_may_have(clients, "id", ""), "the id of another login without a name");
	CHECK(clients_may_have(clients, "id", "alice"), "the own id");
	CHECK(clients_may_have(clients, "boot", "alice"), "bootstrap's id");
	clients_remove(clients, AT(1));
	CHECK(clients_may_have(clients, "id", "mallory"), "a free id again");
	clients_free(clients);
}

/* The broker disconnects the old connection after the new one has logged in. */
static void test_takeover(void)
{
	struct clients *clients = clients_new();
	struct client *old = clients_add(clients, AT(1), "id", "bootstrap", true);
	struct client *new = clients_add(clients, AT(2), "id", "bootstrap", true);
	CHECK(old->is_superseded && !new->is_superseded, "the older one has lost the id");
	CHECK(clients_of_connection(clients, AT(1)) == old, "the older one is still connected");
	clients_remove(clients, AT(1));
	CHECK(clients_of_connection(clients, AT(2)) == new, "the newer one stays");
	CHECK(count_in(clients, LANE_CLIENT, "id") == 1, "and has the id");
	clients_remove(clients, AT(2));
	CHECK(clients_count(clients) == 0 && count_in(clients, LANE_CLIENT, "id") == 0, "all are removed");
	clients_free(clients);
}

/* A password file decides about the login: until the client has done anything, the holder keeps the id. */
static void test_pending(void)
{
	struct clients *clients = clients_new();
	struct client *holder = clients_add(clients, AT(1), "id", "alice", false);
	struct client *pending = clients_ask(clients, AT(2), "id", "alice", false);
	CHECK(pending->is_pending && !holder->is_superseded, "the holder keeps the id");
	CHECK(clients_of_connection(clients, AT(2)) == pending, "its connection is known");
	CHECK(count_in(clients, LANE_USER, "alice") == 1, "no answers for it yet");
	clients_remove(clients, AT(2));
	CHECK(!clients_of_connection(clients, AT(2)) && !holder->is_superseded, "refused");
	pending = clients_ask(clients, AT(2), "id", "alice", false);
	clients_remove(clients, AT(1));
	clients_admit(clients, pending);
	CHECK(!pending->is_pending && count_of(clients, "alice", LANE_CLIENT, "id") == 1, "admitted, it has the id");
	CHECK(!clients_may_have(clients, "id", "mallory"), "no other login can have it");
	clients_free(clients);
}

static void test_reused_connection(void)
{
	struct clients *clients = clients_new();
	clients_add(clients, AT(1), "id", "alice", false);
	clients_add(clients, AT(1), "other", "bob", false);
	CHECK(clients_count(clients) == 1 && count_in(clients, LANE_USER, "alice") == 0, "the old entry is gone");
	clients_free(clients);
}

/* The broker delivers an answer by client id in its next loop iteration. */
static void test_answers_on_their_way(void)
{
	struct clients *clients = clients_new();
	clients_answered(clients, clients_add(clients, AT(1), "id", "bootstrap", true));
	CHECK(!clients_may_have(clients, "id", "alice"), "not even the id of bootstrap");
	clients_remove(clients, AT(1));
	CHECK(!clients_may_have(clients, "id", "alice"), "not after its disconnect");
	CHECK(clients_may_have(clients, "id", "bootstrap"), "but the same login can");
	CHECK(count_in(clients, LANE_CLIENT, "id") == 0, "a ghost gets nothing");
	clients_add(clients, AT(2), "id", "bootstrap", true);
	CHECK(!clients_may_have(clients, "id", "alice"), "nor after its reconnect");
	clients_turn(clients);
	CHECK(clients_may_have(clients, "id", "alice"), "in the next loop iteration");
	clients_answered(clients, clients_of_connection(clients, AT(2)));
	clients_remove(clients, AT(2));
	clients_turn(clients);
	CHECK(clients_may_have(clients, "id", "alice") && clients_count(clients) == 0, "and nothing is left");
	clients_free(clients);
}

static void test_sessions(void)
{
	struct clients *clients = clients_new();
	clients_add(clients, AT(1), "id", "alice", false);
	CHECK(clients_may_resume(clients, "id", "alice"), "while it is connected");
	CHECK(!clients_may_resume(clients, "id", "mallory"), "only by the same login");
	clients_remove(clients, AT(1));
	CHECK(!clients_may_resume(clients, "id", "alice"), "without an answer");
	clients_answered(clients, clients_add(clients, AT(1), "id", "alice", false));
	clients_remove(clients, AT(1));
	clients_turn(clients);
	CHECK(clients_may_resume(clients, "id", "alice"), "its own answers");
	CHECK(!clients_may_resume(clients, "id", "mallory"), "belong to no other login");
	CHECK(!clients_may_resume(clients, "di", "alice"), "nor under another id");
	clients_add(clients, AT(2), "id", "alice", false);
	clients_remove(clients, AT(2));
	CHECK(clients_may_resume(clients, "id", "alice"), "it reconnected but did not read them");
	clients_answered(clients, clients_add(clients, AT(3), "id", "mallory", false));
	clients_remove(clients, AT(3));
	clients_turn(clients);
	CHECK(!clients_may_resume(clients, "id", "alice"), "now they belong to another login");
	CHECK(clients_may_resume(clients, "id", "mallory"), "namely to mallory");
	clients_free(clients);
}

static void test_many(void)
{
	struct clients *clients = clients_new();
	char id[32];
	for (int i = 0; i < 4096; i++) {
		snprintf(id, sizeof(id), "id-%d", i);
		clients_add(clients, AT(i), id, i % 2 ? "odd" : "even", false);
	}
	CHECK(count_in(clients, LANE_USER, "odd") == 2048, "half of them");
	CHECK(count_of(clients, "odd", LANE_CLIENT, "id-4095") == 1, "the last one");
	for (int i = 0; i < 4096; i += 2) {
		clients_remove(clients, AT(i));
	}
	CHECK(clients_count(clients) == 2048 && count_in(clients, LANE_USER, "even") == 0, "the other half");
	clients_free(clients);
}

static void test_hostile_ids(void)
{
	struct clients *clients = clients_new();
	char *id = text_of('/', 65535);
	clients_add(clients, AT(1), id, "", false);
	clients_add(clients, AT(2), "", "", false);
	CHECK(!clients_may_have(clients, id, "alice"), "65 535 slashes");
	CHECK(!clients_may_have(clients, "", "alice"), "nothing");
	free(id);
	clients_free(clients);
}

int main(void)
{
	test_lanes();
	test_ids();
	test_takeover();
	test_pending();
	test_reused_connection();
	test_answers_on_their_way();
	test_sessions();
	test_many();
	test_hostile_ids();
	return check_end("clients");
}
