/* The logins in claimsvc's SQLite file, read only.
 *
 * The file may be missing, be replaced under the same name, or be damaged: then nothing is found, `trouble` says
 * why, and the store recovers by itself. Never writes, never decides who gets in, never logs.
 */
#ifndef CLAIMSVC_STORE_H
#define CLAIMSVC_STORE_H

#include <stdbool.h>
#include <stdint.h>

enum trouble {
	TROUBLE_NONE = 0,
	TROUBLE_MISSING,    /* there is no such file (yet) */
	TROUBLE_UNREADABLE, /* it cannot be opened: permissions, directory, I/O */
	TROUBLE_BUSY,       /* somebody has locked it for longer than we may wait */
	TROUBLE_DAMAGED,    /* it is no database, or a broken one */
	TROUBLE_FOREIGN,    /* a database without our table */
};

enum found {
	FOUND_NOTHING = 0,
	FOUND_IT,
	FOUND_TROUBLE, /* nobody knows */
};

struct credential {
	char *principal;
	char *secret_hash;
};

struct store;

struct store *store_new(const char *path);
void store_free(struct store *store);

/* Look up an unrevoked login of this kind. `credential` is to be freed when it was found. */
enum found store_find(struct store *store, const char *kind, const char *login, int64_t now_ms,
		      struct credential *credential);
void credential_free(struct credential *credential);

/* The passwords a login had before and may still use: their hashes, to be freed, the others NULL. The service lets no
 * more be than FORMERS_MAX. */
#define FORMERS_MAX 3
enum found store_find_formers(struct store *store, const char *login, int64_t now_ms, char *hashes[FORMERS_MAX]);

/* Whether the principal still has an unrevoked login. */
enum found store_find_principal(struct store *store, const char *principal, int64_t now_ms);

/* Why the last look failed, and SQLite's or the system's own words for it. */
enum trouble store_trouble(const struct store *store);
const char *store_trouble_text(const struct store *store);

#endif
