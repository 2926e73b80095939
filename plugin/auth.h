/* Authentication: decides about one login from the store, the previous failures and the time.
 *
 * Knows neither the broker nor client ids. Never logs; the caller logs the result.
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
	struct hash_key *chance;  /* random key: decides how long an unknown login takes */
	int people_iterations;    /* iterations of the last human-chosen password that was accepted */
};

struct login {
	const char *address;
	const char *username;
	const char *password; /* NULL or empty: none */
	int64_t now_ms;       /* since 1970 */
	int64_t now_s;        /* of the monotonic clock */
};

enum auth_result {
	AUTH_ADMITTED = 0,
	AUTH_UNKNOWN,   /* not in the store: a password file or another plugin may know it */
	AUTH_TROUBLE,   /* the store or the token key cannot be read: treated as unknown */
	AUTH_WRONG,     /* refused: wrong password */
	AUTH_LOCKED,    /* refused without a comparison: too many failures */
	AUTH_UNREADABLE, /* refused: the stored hash is malformed */
	AUTH_TOO_COSTLY, /* refused: the stored hash has too many iterations */
};

/* Check a login. If it is admitted, `principal` is set and must be freed, otherwise it is NULL. */
enum auth_result auth_check(struct auth *auth, const struct login *login, char **principal);

#endif
