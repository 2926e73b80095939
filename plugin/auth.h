/* Who gets in: the decision about one login, from the store, the failures so far and the time.
 *
 * Knows neither the broker nor client ids. Never logs: a result says what there is to tell.
 */
#ifndef CLAIMSVC_AUTH_H
#define CLAIMSVC_AUTH_H

#include "failures.h"
#include "rules.h"
#include "store.h"
#include "token_key.h"

struct auth {
	const struct rules *rules;
	struct store *store;
	struct token_key *token_key;
	struct failures *failures;
	unsigned max_failures;
	struct hash_key *chance;  /* decides how long an unknown login takes */
	int people_iterations;    /* of the last password that was made by a person */
};

struct login {
	const char *address;
	const char *username;
	const char *password; /* NULL or empty: none */
	int64_t now_ms;       /* since 1970 */
	int64_t now_s;        /* of a clock that never jumps */
};

enum auth_result {
	AUTH_ADMITTED = 0,
	AUTH_UNKNOWN,   /* not ours: somebody else may know it */
	AUTH_TROUBLE,   /* the store cannot be read, or the token key: as unknown */
	AUTH_WRONG,     /* refused */
	AUTH_LOCKED,    /* refused without a comparison: too many failures */
	AUTH_UNREADABLE, /* refused: the row's hash is none */
	AUTH_TOO_COSTLY, /* refused: the row's hash takes too long */
};

/* `principal` is set, to be freed, when the login is admitted. */
enum auth_result auth_check(struct auth *auth, const struct login *login, char **principal);

#endif
