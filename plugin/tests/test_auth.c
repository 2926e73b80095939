/* Logins against a real SQLite file that is created, deleted, replaced and damaged. */
#include "auth.h"
#include "check.h"
#include "index.h"
#include "password.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* 2 iterations, salt "0123456789ab". */
#define HASH                                                                                                           \
	"$7$2$MDEyMzQ1Njc4OWFi$"                                                                                       \
	"RkT8zcpz5eeaGcG0oCyGYGFp4BIbgcHFV0ORd8zTSPsJ8U2X9yHo5vGHxLVabxv203ItL7s8qyfn3SLJE3KkkA=="
#define BASE64 "RkT8zcpz5eeaGcG0oCyGYGFp4BIbgcHFV0ORd8zTSPsJ8U2X9yHo5vGHxLVabxv203ItL7s8qyfn3SLJE3KkkA=="
#define PASSWORD "p\xc3\xa4ssword"
/* The same for the passwords "former" and "older". */
#define FORMER                                                                                                         \
	"$7$2$MDEyMzQ1Njc4OWFi$"                                                                                       \
	"L8saAjasMGb9GGMx2AX/MLdDClf1MUB7mB/1CrUgDm+ERejx/6fRfwF7DTPvISONG5yzaOwB88vnwqb9PcABIA=="
#define OLDER                                                                                                          \
	"$7$2$MDEyMzQ1Njc4OWFi$"                                                                                       \
	"BXhRHlxCTKb12iU9Xqd8G527VtrqmUCTXcvRvEx6fw69BRBWBxE/B2IZ55N/rjWMqcptpAaZxg6qsX8N7Dr4xg=="
/* 4000 iterations, as for a human-chosen password: "person" and "former". */
#define HUMAN                                                                                                          \
	"$7$4000$MDEyMzQ1Njc4OWFi$"                                                                                    \
	"hzENNNyhf9LG9TapJiaU3D3LqptVcrO/TenNTMQvYq9k1LVq4wCUv3P+/+tR21dC6TxCcrs5ZxVQpvEMPVliWg=="
#define HUMAN_FORMER                                                                                                   \
	"$7$4000$MDEyMzQ1Njc4OWFi$"                                                                                    \
	"vXtMxsaDPI6Ta20ZHk1sTi2IXHNIE5+eIKPCIiTRNd0WGBuI/Yv3o2TGIB/eIw4y3izgeTJb3cVURruE5MzM7A=="
/* 1 iteration, which only a setting can cause: "weak". */
#define WEAK                                                                                                           \
	"$7$1$MDEyMzQ1Njc4OWFi$"                                                                                       \
	"HEZ49eIOUP/RG7WnLlcTYD2UDAHF82GIt2Q7HLcyFeoZ2mSrwus6mgYUOG3sIKigW1ENk2edSCU5QUEvFgCpLQ=="
#define TOKEN_HASH "zAshJhsSkLKlmhB6YIxN27Vx8qTTVtwvvXsEqeiO288="

static char store_path[64], key_path[64], other_path[64];
static struct rules rules = {.root = "claimsvc", .service = "claimsvc"};
static struct hash_key chance;

static void run(const char *path, const char *sql)
{
	sqlite3 *database;
	if (sqlite3_open(path, &database) != SQLITE_OK || sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(database));
		abort();
	}
	sqlite3_close(database);
}

static void make_store(const char *path)
{
	run(path, "PRAGMA journal_mode = WAL;"
		  "CREATE TABLE credential (login TEXT PRIMARY KEY, principal TEXT NOT NULL, kind TEXT NOT NULL,"
		  " secret_hash TEXT NOT NULL, revoked_at INTEGER) STRICT, WITHOUT ROWID;"
		  "INSERT INTO credential VALUES"
		  " ('device', 'device', 'password', '" HASH "', NULL),"
		  " ('default/device', 'device', 'password', '" HASH "', NULL),"
		  " ('revoked', 'revoked', 'password', '" HASH "', 1000),"
		  " ('leaving', 'leaving', 'password', '" HASH "', 5000),"
		  " ('person', 'person', 'password', '" HUMAN "', NULL),"
		  " ('weak', 'weak', 'password', '" WEAK "', NULL),"
		  " ('claimsvc', 'claimsvc', 'password', '" HASH "', NULL),"
		  " ('costly', 'costly', 'password', '$7$20001$AAAA$" BASE64 "', NULL),"
		  " ('broken', 'broken', 'password', 'plain', NULL),"
		  " ('" TOKEN_HASH "', 'Device A', 'access_token', 'x', NULL);");
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0) {
		abort();
	}
}

static struct auth auth_new(unsigned max_failures)
{
	return (struct auth){
		.rules = &rules,
		.store = store_new(store_path),
		.token_key = token_key_new(key_path),
		.failures = failures_new(60),
		.max_failures = max_failures,
		.chance = &chance,
	};
}

static void auth_free(struct auth *auth)
{
	store_free(auth->store);
	token_key_free(auth->token_key);
	failures_free(auth->failures);
}

static enum auth_result check_from(const char *address, struct auth *auth, const char *username, const char *password,
				   const char *principal)
{
	char *found;
	struct login login = {address, username, password, 4000, 1};
	enum auth_result result = auth_check(auth, &login, &found);
	CHECK((found != NULL) == (result == AUTH_ADMITTED), username ? username : "nobody");
	if (found) {
		CHECK(strcmp(found, principal) == 0, username);
	}
	free(found);
	return result;
}

static enum auth_result check(struct auth *auth, const char *username, const char *password, const char *principal)
{
	return check_from("10.0.0.1", auth, username, password, principal);
}

static void test_logins(void)
{
	static const struct {
		const char *username, *password, *principal;
		enum auth_result result;
	} cases[] = {
		{"device", PASSWORD, "device", AUTH_ADMITTED},
		{"default/device", PASSWORD, "device", AUTH_ADMITTED},
		{"leaving", PASSWORD, "leaving", AUTH_ADMITTED},
		{"Eypdinl1gUF5fSerOPJF", NULL, "Device A", AUTH_ADMITTED},
		{"Eypdinl1gUF5fSerOPJF", "", "Device A", AUTH_ADMITTED},
		{"guest", NULL, "guest", AUTH_ADMITTED},
		{"device", "wrong", NULL, AUTH_WRONG},
		{"device", NULL, NULL, AUTH_UNKNOWN},
		{"device", "", NULL, AUTH_UNKNOWN},
		{"Device", PASSWORD, NULL, AUTH_UNKNOWN},
		{"revoked", PASSWORD, NULL, AUTH_UNKNOWN},
		{"nobody", PASSWORD, NULL, AUTH_UNKNOWN},
		{"Eypdinl1gUF5fSerOPJf", NULL, NULL, AUTH_UNKNOWN},
		{"Eypdinl1gUF5fSerOPJF", "x", NULL, AUTH_UNKNOWN},
		{TOKEN_HASH, NULL, NULL, AUTH_UNKNOWN},
		{TOKEN_HASH, "x", NULL, AUTH_UNKNOWN},
		{"' OR 1 --", "x", NULL, AUTH_UNKNOWN},
		{"", PASSWORD, NULL, AUTH_UNKNOWN},
		{NULL, NULL, NULL, AUTH_UNKNOWN},
		{"costly", PASSWORD, NULL, AUTH_TOO_COSTLY},
		{"broken", PASSWORD, NULL, AUTH_UNREADABLE},
	};
	struct auth auth = auth_new(10);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *name = cases[i].username ? cases[i].username : "nobody";
		CHECK(check(&auth, cases[i].username, cases[i].password, cases[i].principal) == cases[i].result, name);
	}
	char *longest = text_of('x', 65535);
	CHECK(check(&auth, longest, longest, NULL) == AUTH_UNKNOWN, "65 535 bytes");
	CHECK(check(&auth, longest, NULL, NULL) == AUTH_UNKNOWN, "65 535 bytes, no password");
	free(longest);
	auth_free(&auth);
}

static void try_wrong(struct auth *auth, const char *username, int times, enum auth_result expected)
{
	for (int i = 0; i < times; i++) {
		CHECK(check(auth, username, "wrong", NULL) == expected, username);
	}
}

static void test_locking(void)
{
	struct auth auth = auth_new(3);
	try_wrong(&auth, "person", 3, AUTH_WRONG);
	try_wrong(&auth, "stranger", 100, AUTH_UNKNOWN);
	CHECK(check(&auth, "person", "person", NULL) == AUTH_LOCKED, "locked, even with the right one");
	CHECK(check(&auth, "device", PASSWORD, "device") == AUTH_ADMITTED, "another login is not");
	auth_free(&auth);
	auth = auth_new(3);
	for (int i = 0; i < 9; i++) {
		CHECK(check(&auth, "person", "wrong", NULL) == AUTH_WRONG, "wrong");
		CHECK(check(&auth, "person", "person", "person") == AUTH_ADMITTED, "a right one begins anew");
	}
	auth_free(&auth);
}

/* The results of each kind of login after 50 wrong passwords from its own address. */
static void test_a9_right_passwords_after_many_wrong_ones(void)
{
	static const struct {
		const char *username, *right, *principal;
		enum auth_result wrong_again, result, elsewhere;
	} cases[] = {
		{"claimsvc", PASSWORD, "claimsvc", AUTH_WRONG, AUTH_ADMITTED, AUTH_ADMITTED},
		{"device", PASSWORD, "device", AUTH_WRONG, AUTH_ADMITTED, AUTH_ADMITTED},
		{"default/device", PASSWORD, "device", AUTH_WRONG, AUTH_ADMITTED, AUTH_ADMITTED},
		{"person", "person", "person", AUTH_LOCKED, AUTH_LOCKED, AUTH_ADMITTED},
		{"weak", "weak", "weak", AUTH_LOCKED, AUTH_LOCKED, AUTH_ADMITTED},
		{"broken", PASSWORD, NULL, AUTH_LOCKED, AUTH_LOCKED, AUTH_UNREADABLE},
		{"costly", PASSWORD, NULL, AUTH_LOCKED, AUTH_LOCKED, AUTH_TOO_COSTLY},
		{"revoked", PASSWORD, NULL, AUTH_UNKNOWN, AUTH_UNKNOWN, AUTH_UNKNOWN},
		{"nobody", PASSWORD, NULL, AUTH_UNKNOWN, AUTH_UNKNOWN, AUTH_UNKNOWN},
		{"Eypdinl1gUF5fSerOPJF", NULL, "Device A", AUTH_UNKNOWN, AUTH_ADMITTED, AUTH_ADMITTED},
	};
	struct auth auth = auth_new(3);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *name = cases[i].username;
		for (int times = 0; times < 50; times++) {
			(void)check(&auth, name, "wrong", NULL);
		}
		CHECK(check(&auth, name, "wrong", NULL) == cases[i].wrong_again, name);
		CHECK(check(&auth, name, cases[i].right, cases[i].principal) == cases[i].result, name);
		CHECK(check_from("10.0.0.2", &auth, name, cases[i].right, cases[i].principal) == cases[i].elsewhere, name);
	}
	auth_free(&auth);
}

/* The service's own login is accepted whatever its hash costs: an older service wrote one with thousands of iterations. */
static void test_a9_the_services_login_with_a_costly_hash(void)
{
	struct auth auth = auth_new(3);
	run(store_path, "UPDATE credential SET secret_hash = '" HUMAN "' WHERE login = 'claimsvc'");
	try_wrong(&auth, "claimsvc", 50, AUTH_WRONG);
	CHECK(check(&auth, "claimsvc", "person", "claimsvc") == AUTH_ADMITTED, "the service");
	auth_free(&auth);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A thousand attempts at a locked login must not occupy the broker's only thread for many seconds. */
static void test_a9_a_locked_login_costs_nothing(void)
{
	static const char *const NAMES[] = {"person", "stranger", "another stranger", "a third"};
	struct auth auth = auth_new(3);
	auth.people_iterations = ITERATIONS_MAX;
	run(store_path, "UPDATE credential SET secret_hash = '$7$20000$MDEyMzQ1Njc4OWFi$" BASE64 "'"
			" WHERE login = 'person'");
	for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
		for (int times = 0; times < 3; times++) {
			(void)check(&auth, NAMES[i], "wrong", NULL);
		}
	}
	double began = seconds();
	for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
		for (int times = 0; times < 40; times++) {
			(void)check(&auth, NAMES[i], "wrong", NULL);
		}
	}
	CHECK(seconds() - began < 0.3, "160 tries");
	run(store_path, "UPDATE credential SET secret_hash = '" HUMAN "' WHERE login = 'person'");
	auth_free(&auth);
}

/* The plugin opens a store that failed again only after a pause. */
static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void test_trouble(void)
{
	struct auth auth = auth_new(10);
	rename(store_path, other_path);
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "missing from the start");
	CHECK(store_trouble(auth.store) == TROUBLE_MISSING, "missing from the start");
	rename(other_path, store_path);
	CHECK(check(&auth, "device", PASSWORD, "device") == AUTH_ADMITTED, "there it is");
	CHECK(store_trouble(auth.store) == TROUBLE_NONE, "there it is");
	rename(store_path, other_path);
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "gone");
	write_text(store_path, "no database, but long enough to be taken for one unless its first bytes are checked. "
			       "A header has a hundred of them, so here are some more.");
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "damaged");
	CHECK(store_trouble(auth.store) == TROUBLE_DAMAGED, store_trouble_text(auth.store));
	unlink(store_path);
	run(store_path, "CREATE TABLE other (x)");
	pause_ms(250);
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "another's database");
	CHECK(store_trouble(auth.store) == TROUBLE_FOREIGN, store_trouble_text(auth.store));
	unlink(store_path);
	CHECK(mkdir(store_path, 0700) == 0, "a directory");
	pause_ms(250);
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "a directory");
	CHECK(store_trouble(auth.store) == TROUBLE_UNREADABLE, store_trouble_text(auth.store));
	rmdir(store_path);
	rename(other_path, store_path);
	pause_ms(250);
	CHECK(check(&auth, "device", PASSWORD, "device") == AUTH_ADMITTED, "back");
	auth_free(&auth);
}

static void test_replaced(void)
{
	struct auth auth = auth_new(10);
	CHECK(check(&auth, "device", PASSWORD, "device") == AUTH_ADMITTED, "the first file");
	make_store(other_path);
	run(other_path, "UPDATE credential SET principal = 'somebody'");
	rename(other_path, store_path);
	CHECK(check(&auth, "device", PASSWORD, "somebody") == AUTH_ADMITTED, "the second file");
	run(store_path, "UPDATE credential SET revoked_at = 1");
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_UNKNOWN, "revoked meanwhile");
	CHECK(store_find_principal(auth.store, "somebody", 4000) == FOUND_NOTHING, "no login is left");
	run(store_path, "UPDATE credential SET revoked_at = NULL, principal = login");
	CHECK(store_find_principal(auth.store, "device", 4000) == FOUND_IT, "one is");
	auth_free(&auth);
}

static void test_former_passwords(void)
{
	struct auth auth = auth_new(10);
	CHECK(check(&auth, "device", "former", NULL) == AUTH_WRONG, "a database of before");
	run(store_path, "CREATE TABLE former_credential (login TEXT NOT NULL, secret_hash TEXT NOT NULL, until INTEGER,"
			" PRIMARY KEY (login, secret_hash)) STRICT, WITHOUT ROWID;"
			"INSERT INTO former_credential VALUES"
			" ('device', '" FORMER "', 4001), ('device', '" OLDER "', 9000), ('device', 'plain', 9000),"
			" ('default/device', '" FORMER "', 4000), ('revoked', '" FORMER "', 9000),"
			" ('nobody', '" FORMER "', 9000), ('broken', '" FORMER "', 9000);");
	static const struct {
		const char *username, *password, *principal;
		enum auth_result result;
	} cases[] = {
		{"device", PASSWORD, "device", AUTH_ADMITTED}, /* the current password stays valid */
		{"device", "former", "device", AUTH_ADMITTED},
		{"device", "older", "device", AUTH_ADMITTED},
		{"device", "plain", NULL, AUTH_WRONG},
		{"device", "Former", NULL, AUTH_WRONG},
		{"device", NULL, NULL, AUTH_UNKNOWN},
		{"default/device", PASSWORD, "device", AUTH_ADMITTED},
		{"default/device", "former", NULL, AUTH_WRONG}, /* has expired */
		{"default/device", "older", NULL, AUTH_WRONG},  /* belongs to another login */
		{"leaving", "former", NULL, AUTH_WRONG},
		{"revoked", "former", NULL, AUTH_UNKNOWN},
		{"nobody", "former", NULL, AUTH_UNKNOWN},
		{"broken", "former", "broken", AUTH_ADMITTED},
		{"broken", PASSWORD, NULL, AUTH_UNREADABLE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CHECK(check(&auth, cases[i].username, cases[i].password, cases[i].principal) == cases[i].result,
		      cases[i].username);
	}
	run(store_path, "INSERT INTO former_credential VALUES ('device', 'a', 9001), ('device', 'b', 9001),"
			" ('device', 'c', 9001)");
	CHECK(check(&auth, "device", "older", NULL) == AUTH_WRONG, "the three that last longest count");
	auth_free(&auth);
}

/* A rotated login with a human-chosen password, and a device's login whose former password is human-chosen. */
static void test_a9_former_passwords_after_many_wrong_ones(void)
{
	struct auth auth = auth_new(3);
	run(store_path, "INSERT INTO former_credential VALUES ('person', '" FORMER "', 9000),"
			" ('leaving', '" HUMAN_FORMER "', 9000), ('leaving', '" OLDER "', 9000)");
	CHECK(check(&auth, "leaving", "former", "leaving") == AUTH_ADMITTED, "a person's former one");
	try_wrong(&auth, "person", 3, AUTH_WRONG);
	try_wrong(&auth, "leaving", 3, AUTH_WRONG);
	CHECK(check(&auth, "person", "person", NULL) == AUTH_LOCKED, "a person's own one");
	CHECK(check(&auth, "leaving", "former", NULL) == AUTH_LOCKED, "a person's former one");
	CHECK(check(&auth, "person", "former", "person") == AUTH_ADMITTED, "a generated former one");
	CHECK(check(&auth, "leaving", "older", "leaving") == AUTH_ADMITTED, "likewise");
	try_wrong(&auth, "leaving", 3, AUTH_WRONG);
	CHECK(check(&auth, "leaving", PASSWORD, "leaving") == AUTH_ADMITTED, "a generated own one");
	auth_free(&auth);
}

static void test_locked_file(void)
{
	sqlite3 *writer;
	struct auth auth = auth_new(10);
	sqlite3_open(store_path, &writer);
	sqlite3_exec(writer, "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE", NULL, NULL, NULL);
	CHECK(check(&auth, "device", PASSWORD, NULL) == AUTH_TROUBLE, "locked");
	CHECK(store_trouble(auth.store) == TROUBLE_BUSY, store_trouble_text(auth.store));
	sqlite3_exec(writer, "COMMIT", NULL, NULL, NULL);
	sqlite3_close(writer);
	pause_ms(250);
	CHECK(check(&auth, "device", PASSWORD, "device") == AUTH_ADMITTED, "free again");
	auth_free(&auth);
}

static void test_token_key(void)
{
	struct auth auth = auth_new(10);
	unlink(key_path);
	CHECK(check(&auth, "Eypdinl1gUF5fSerOPJF", NULL, NULL) == AUTH_TROUBLE, "no key");
	CHECK(token_key_trouble(auth.token_key) != NULL, "and it says so");
	write_text(key_path, "no key");
	CHECK(check(&auth, "Eypdinl1gUF5fSerOPJF", NULL, NULL) == AUTH_TROUBLE, "a bad key");
	write_text(key_path, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	CHECK(check(&auth, "Eypdinl1gUF5fSerOPJF", NULL, "Device A") == AUTH_ADMITTED, "a key");
	CHECK(!token_key_trouble(auth.token_key), "all is well");
	auth_free(&auth);
}

int main(void)
{
	char directory[] = "/tmp/claimsvc-auth-XXXXXX", command[64];
	if (!mkdtemp(directory) || !hash_key_make(&chance)) {
		abort();
	}
	snprintf(store_path, sizeof(store_path), "%s/claimsvc.db", directory);
	snprintf(key_path, sizeof(key_path), "%s/token.key", directory);
	snprintf(other_path, sizeof(other_path), "%s/other.db", directory);
	topic_list_read(&rules.open_logins, "guest");
	make_store(store_path);
	write_text(key_path, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	test_logins();
	test_locking();
	test_a9_right_passwords_after_many_wrong_ones();
	test_a9_the_services_login_with_a_costly_hash();
	test_a9_a_locked_login_costs_nothing();
	test_token_key();
	test_trouble();
	test_former_passwords();
	test_a9_former_passwords_after_many_wrong_ones();
	test_replaced();
	test_locked_file();
	topic_list_free(&rules.open_logins);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command) ? 1 : check_end("auth");
}
