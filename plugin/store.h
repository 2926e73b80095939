/* Reads logins from claimsvc's SQLite file.
 *
 * The file may be missing, damaged, or replaced by another one. Then nothing is found, `trouble` says why, and the store
 * recovers by itself. Never writes, never decides about a login, never logs.
 */
#ifndef CLAIMSVC_STORE_H
#define CLAIMSVC_STORE_H

#include <stdbool.h>
#include <stdint.h>

enum trouble {
	TROUBLE_NONE = 0,
	TROUBLE_MISSING,    /* the file does not exist (yet) */
	TROUBLE_UNREADABLE, /* the file cannot be opened: permissions, directory, I/O */
	TROUBLE_BUSY,       /* another process has locked it for longer than BUSY_TIMEOUT_MS */
	TROUBLE_DAMAGED,    /* the file is no database, or a damaged one */
	TROUBLE_FOREIGN,    /* a database without claimsvc's tables */
};

enum found {
	FOUND_NOTHING = 0,
	FOUND_IT,
	FOUND_TROUBLE, /* the store cannot be read */
};

struct credential {
	char *principal;
	char *secret_hash;
};

struct store;

struct store *store_new(const char *path);
void store_free(struct store *store);

/* Look up an unrevoked login of this kind. On FOUND_IT, free `credential` with credential_free(). */
enum found store_find(struct store *store, const char *kind, const char *login, int64_t now_ms,
		      struct credential *credential);
void credential_free(struct credential *credential);

/* Look up the hashes of a login's former passwords that are still valid. Free them; unused entries are NULL. The service
 * keeps at most FORMERS_MAX. */
#define FORMERS_MAX 3
enum found store_find_formers(struct store *store, const char *login, int64_t now_ms, char *hashes[FORMERS_MAX]);

/* FOUND_IT if the principal has an unrevoked login. */
enum found store_find_principal(struct store *store, const char *principal, int64_t now_ms);

/* The reason why the last look-up failed, and the error text of SQLite or the system. */
enum trouble store_trouble(const struct store *store);
const char *store_trouble_text(const struct store *store);

#endif
