#include "store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The broker has one thread, and serves no client while the plugin waits. In WAL mode a reader waits only while the log
 * is reset. */
#define BUSY_TIMEOUT_MS 50

/* Shortest time between two attempts to open a file that failed. */
#define RETRY_MS 200

#define FIND_LOGIN                                                                                                     \
	"SELECT principal, secret_hash FROM credential"                                                                \
	" WHERE login = ?1 AND kind = ?2 AND (revoked_at IS NULL OR revoked_at > ?3)"
#define FIND_PRINCIPAL                                                                                                 \
	"SELECT 1 FROM credential"                                                                                     \
	" WHERE principal = ?1 AND (revoked_at IS NULL OR revoked_at > ?2) LIMIT 1"

#define FIND_FORMERS                                                                                                   \
	"SELECT secret_hash FROM former_credential WHERE login = ?1 AND until > ?2 ORDER BY until DESC LIMIT ?3"

struct store {
	char *path;
	sqlite3 *database;
	sqlite3_stmt *find_login, *find_principal, *find_formers;
	dev_t device;
	ino_t inode;
	int64_t retry_at_ms;
	enum trouble trouble;
	char text[200];
};

struct store *store_new(const char *path)
{
	struct store *store = calloc(1, sizeof(*store));
	if (store) {
		store->path = strdup(path);
	}
	if (store && !store->path) {
		free(store);
		return NULL;
	}
	return store;
}

static void store_close(struct store *store)
{
	sqlite3_finalize(store->find_login);
	sqlite3_finalize(store->find_principal);
	sqlite3_finalize(store->find_formers);
	sqlite3_close(store->database);
	store->find_login = store->find_principal = store->find_formers = NULL;
	store->database = NULL;
}

void store_free(struct store *store)
{
	if (store) {
		store_close(store);
		free(store->path);
		free(store);
	}
}

enum trouble store_trouble(const struct store *store)
{
	return store->trouble;
}

const char *store_trouble_text(const struct store *store)
{
	return store->text;
}

static int64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void store_fail(struct store *store, enum trouble trouble, const char *text)
{
	store->trouble = trouble;
	snprintf(store->text, sizeof(store->text), "%s", text);
	if (trouble != TROUBLE_BUSY) {
		store_close(store);
		store->retry_at_ms = monotonic_ms() + RETRY_MS;
	}
}

static void store_fail_sqlite(struct store *store)
{
	static const struct {
		int code;
		enum trouble trouble;
	} kinds[] = {
		{SQLITE_BUSY, TROUBLE_BUSY},       {SQLITE_LOCKED, TROUBLE_BUSY},    {SQLITE_CORRUPT, TROUBLE_DAMAGED},
		{SQLITE_NOTADB, TROUBLE_DAMAGED},  {SQLITE_FORMAT, TROUBLE_DAMAGED}, {SQLITE_ERROR, TROUBLE_FOREIGN},
		{SQLITE_SCHEMA, TROUBLE_FOREIGN},
	};
	int code = sqlite3_errcode(store->database) & 0xff;
	enum trouble trouble = TROUBLE_UNREADABLE;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].code == code) {
			trouble = kinds[i].trouble;
		}
	}
	store_fail(store, trouble, store->database ? sqlite3_errmsg(store->database) : "out of memory");
}

static bool store_prepare(struct store *store, const char *sql, sqlite3_stmt **statement)
{
	return sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) == SQLITE_OK;
}

static bool store_open(struct store *store, const struct stat *file)
{
	if (monotonic_ms() < store->retry_at_ms) {
		return false;
	}
	int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
	if (sqlite3_open_v2(store->path, &store->database, flags, NULL) != SQLITE_OK
	    || sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS) != SQLITE_OK
	    || !store_prepare(store, FIND_LOGIN, &store->find_login)
	    || !store_prepare(store, FIND_PRINCIPAL, &store->find_principal)) {
		store_fail_sqlite(store);
		store_close(store);
		return false;
	}
	/* If the file has been replaced since stat(), the next call of store_ready() notices it. */
	store->device = file->st_dev;
	store->inode = file->st_ino;
	return true;
}

/* Open the store if it is not open, and reopen it if the file was replaced: the new file has another inode. */
static bool store_ready(struct store *store)
{
	struct stat file;
	if (stat(store->path, &file) != 0) {
		store_fail(store, errno == ENOENT ? TROUBLE_MISSING : TROUBLE_UNREADABLE, strerror(errno));
		store->retry_at_ms = 0;
		return false;
	}
	if (store->database && (file.st_dev != store->device || file.st_ino != store->inode)) {
		store_close(store);
		store->retry_at_ms = 0;
	}
	return store->database || store_open(store, &file);
}

/* Step once. The caller reads the columns, then calls store_done() to end the transaction. */
static enum found store_step(struct store *store, sqlite3_stmt *statement)
{
	switch (sqlite3_step(statement)) {
	case SQLITE_ROW:
		store->trouble = TROUBLE_NONE;
		return FOUND_IT;
	case SQLITE_DONE:
		store->trouble = TROUBLE_NONE;
		return FOUND_NOTHING;
	default:
		store_fail_sqlite(store);
		return FOUND_TROUBLE;
	}
}

/* A statement that is not reset would keep its snapshot, and the service could not reset the write-ahead log. */
static void store_done(sqlite3_stmt *statement)
{
	if (statement) {
		sqlite3_reset(statement);
		sqlite3_clear_bindings(statement);
	}
}

static char *column_copy(sqlite3_stmt *statement, int column)
{
	const unsigned char *text = sqlite3_column_text(statement, column);
	return text ? strdup((const char *)text) : NULL;
}

void credential_free(struct credential *credential)
{
	free(credential->principal);
	free(credential->secret_hash);
	*credential = (struct credential){0};
}

enum found store_find(struct store *store, const char *kind, const char *login, int64_t now_ms,
		      struct credential *credential)
{
	*credential = (struct credential){0};
	if (!store_ready(store)) {
		return FOUND_TROUBLE;
	}
	sqlite3_bind_text(store->find_login, 1, login, -1, SQLITE_STATIC);
	sqlite3_bind_text(store->find_login, 2, kind, -1, SQLITE_STATIC);
	sqlite3_bind_int64(store->find_login, 3, now_ms);
	enum found found = store_step(store, store->find_login);
	if (found == FOUND_IT) {
		credential->principal = column_copy(store->find_login, 0);
		credential->secret_hash = column_copy(store->find_login, 1);
		if (!credential->principal || !credential->secret_hash) {
			credential_free(credential);
			found = FOUND_TROUBLE;
		}
	}
	store_done(store->find_login);
	return found;
}

/* The database of an older service has no such table, and gets it while the broker runs, when the service is upgraded.
 * So this statement is prepared on demand. */
static enum found store_can_have_formers(struct store *store)
{
	if (store->find_formers || store_prepare(store, FIND_FORMERS, &store->find_formers)) {
		return FOUND_IT;
	}
	if ((sqlite3_errcode(store->database) & 0xff) == SQLITE_ERROR) {
		return FOUND_NOTHING;
	}
	store_fail_sqlite(store);
	return FOUND_TROUBLE;
}

enum found store_find_formers(struct store *store, const char *login, int64_t now_ms, char *hashes[FORMERS_MAX])
{
	memset(hashes, 0, FORMERS_MAX * sizeof(*hashes));
	enum found found = store_ready(store) ? store_can_have_formers(store) : FOUND_TROUBLE;
	if (found != FOUND_IT) {
		return found;
	}
	sqlite3_bind_text(store->find_formers, 1, login, -1, SQLITE_STATIC);
	sqlite3_bind_int64(store->find_formers, 2, now_ms);
	sqlite3_bind_int(store->find_formers, 3, FORMERS_MAX);
	size_t count = 0;
	while (count < FORMERS_MAX && (found = store_step(store, store->find_formers)) == FOUND_IT) {
		hashes[count++] = column_copy(store->find_formers, 0);
	}
	store_done(store->find_formers);
	return found == FOUND_TROUBLE ? found : count ? FOUND_IT : FOUND_NOTHING;
}

enum found store_find_principal(struct store *store, const char *principal, int64_t now_ms)
{
	if (!store_ready(store)) {
		return FOUND_TROUBLE;
	}
	sqlite3_bind_text(store->find_principal, 1, principal, -1, SQLITE_STATIC);
	sqlite3_bind_int64(store->find_principal, 2, now_ms);
	enum found found = store_step(store, store->find_principal);
	store_done(store->find_principal);
	return found;
}
