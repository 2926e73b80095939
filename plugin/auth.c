#include "auth.h"

#include "index.h"

#include <stdlib.h>
#include <string.h>

/* The passwords that are compared, and the effect of a wrong one. Failures are counted per address and login. A login is
 * locked, for this address only, after max_failures failures within failure_window_s.
 *
 *   login                     wrong password counts   while it is locked
 *   the service's own         yes                     compared as usual
 *   generated password        yes                     compared as usual
 *   human-chosen password     yes                     refused without a comparison
 *   unknown                   yes                     left to the broker as usual, in the time of a locked login
 *   access token              no                      (one look-up, never locked)
 *   open login                no                      (nothing to compare)
 *
 * So a correct generated password, or the service's, is always accepted, whatever other clients try from the same
 * address. It has 128 random bits and cannot be guessed, and a comparison costs the broker hardly more than the look-up.
 * A human-chosen password can be guessed, and a comparison takes milliseconds of the broker's only thread; max_failures
 * per window limits both. The rule applies to each stored hash: a login can have former passwords in addition to its
 * current one.
 */

/* The service uses exactly this number of iterations for generated passwords, and never for human-chosen ones. */
#define GENERATED_ITERATIONS 2
#define PEOPLE_ITERATIONS 4000

/* Unknown logins from one address take time up to this many times max_failures; further ones do not. */
#define FLOOD_FACTOR 20

/* Has the form of a generated password's hash, but matches no password. */
#define NOBODYS_HASH                                                                                                   \
	"$7$2$AAAAAAAAAAAAAAAA$"                                                                                       \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

/* True if only cheap hashes may be computed for this login from this address. */
static bool is_locked(const struct auth *auth, const struct login *login)
{
	return failures_of(auth->failures, login->address, login->username, login->now_s) >= auth->max_failures;
}

/* Compare with one hash. With `generated_only`, the hash of a human-chosen password yields AUTH_LOCKED, in the time of a
 * generated one. */
static enum auth_result compare(const struct login *login, const char *stored, bool generated_only)
{
	static const enum auth_result RESULTS[] = {
		[PASSWORD_RIGHT] = AUTH_ADMITTED,
		[PASSWORD_WRONG] = AUTH_WRONG,
		[PASSWORD_UNREADABLE] = AUTH_UNREADABLE,
		[PASSWORD_TOO_COSTLY] = AUTH_TOO_COSTLY,
	};
	if (generated_only && password_iterations(stored) != GENERATED_ITERATIONS) {
		password_take_time(GENERATED_ITERATIONS, login->password);
		return AUTH_LOCKED;
	}
	return RESULTS[password_check(stored, login->password)];
}

/* Compare with the former passwords that are still valid. Return AUTH_WRONG if none matches. However many there are,
 * this takes the time of FORMERS_MAX comparisons with generated passwords, so that the time reveals neither a rotation
 * nor that the login exists. Only the password before the first rotation can be human-chosen; then the comparison takes
 * as long as it did before the rotation. */
static enum auth_result compare_formers(struct auth *auth, const struct login *login, bool generated_only)
{
	char *hashes[FORMERS_MAX];
	enum found found = store_find_formers(auth->store, login->username, login->now_ms, hashes);
	bool is_right = false, is_locked = false;
	for (size_t i = 0; i < FORMERS_MAX; i++) {
		enum auth_result result = compare(login, hashes[i] ? hashes[i] : NOBODYS_HASH, generated_only);
		is_right |= result == AUTH_ADMITTED && hashes[i];
		is_locked |= result == AUTH_LOCKED;
		free(hashes[i]);
	}
	return found == FOUND_TROUBLE ? AUTH_TROUBLE : is_right ? AUTH_ADMITTED : is_locked ? AUTH_LOCKED : AUTH_WRONG;
}

static enum auth_result compare_all(struct auth *auth, const struct login *login, const char *stored, bool generated_only)
{
	enum auth_result result = compare(login, stored, generated_only);
	if (result == AUTH_ADMITTED) {
		int iterations = password_iterations(stored);
		auth->people_iterations = iterations > GENERATED_ITERATIONS ? iterations : auth->people_iterations;
		return result;
	}
	enum auth_result former = compare_formers(auth, login, generated_only);
	return former == AUTH_WRONG ? result : former;
}

/* An unknown login takes the time of a wrong password, either a generated or a human-chosen one. A keyed hash of the
 * login decides which, the same at every attempt. The slow case ends when the login is locked, as for a known login. So
 * the time of a refusal does not reveal whether the login exists. Limitation: after hundreds of unknown logins per
 * minute from one address, all unknown logins are answered fast and slow logins stand out. This protects the broker's
 * only thread.
 *
 * An unknown login is never refused here, because a password file may accept it afterwards. The plugin does not see that
 * result, and must not lock out a user of that file. */
static enum auth_result unknown(struct auth *auth, const struct login *login)
{
	int people = auth->people_iterations ? auth->people_iterations : PEOPLE_ITERATIONS;
	bool is_slow = hash_text(auth->chance, login->username) & 1;
	unsigned strangers = failures_of(auth->failures, login->address, "", login->now_s);
	bool is_cheap = is_locked(auth, login) || strangers >= auth->max_failures * FLOOD_FACTOR;
	failures_add(auth->failures, login->address, "", login->now_s);
	failures_add(auth->failures, login->address, login->username, login->now_s);
	password_take_time(is_slow && !is_cheap ? people : GENERATED_ITERATIONS, login->password);
	(void)compare_formers(auth, login, true);
	return AUTH_UNKNOWN;
}

static enum auth_result check_password(struct auth *auth, const struct login *login, char **principal)
{
	struct credential row;
	enum found found = store_find(auth->store, "password", login->username, login->now_ms, &row);
	if (found != FOUND_IT) {
		return found == FOUND_TROUBLE ? AUTH_TROUBLE : unknown(auth, login);
	}
	bool generated_only = is_locked(auth, login) && !rules_is_service(auth->rules, row.principal);
	enum auth_result result = compare_all(auth, login, row.secret_hash, generated_only);
	if (result == AUTH_ADMITTED) {
		failures_forget(auth->failures, login->address, login->username);
		*principal = row.principal;
		row.principal = NULL;
	} else if (result != AUTH_TROUBLE && result != AUTH_LOCKED) {
		failures_add(auth->failures, login->address, login->username, login->now_s);
	}
	credential_free(&row);
	return result;
}

/* A token has 119 random bits and takes one look-up, known or not. So failures are not counted. */
static enum auth_result check_token(struct auth *auth, const struct login *login, char **principal)
{
	char hash[TOKEN_HASH_SIZE];
	struct credential row;
	const unsigned char *key = token_key_get(auth->token_key);
	if (!key || !token_hash(key, login->username, hash)) {
		return AUTH_TROUBLE;
	}
	enum found found = store_find(auth->store, "access_token", hash, login->now_ms, &row);
	if (found != FOUND_IT) {
		return found == FOUND_TROUBLE ? AUTH_TROUBLE : AUTH_UNKNOWN;
	}
	*principal = row.principal;
	row.principal = NULL;
	credential_free(&row);
	return AUTH_ADMITTED;
}

enum auth_result auth_check(struct auth *auth, const struct login *login, char **principal)
{
	*principal = NULL;
	if (!login->username || !*login->username) {
		return AUTH_UNKNOWN;
	}
	if (rules_is_open(auth->rules, login->username)) {
		*principal = strdup(login->username);
		return *principal ? AUTH_ADMITTED : AUTH_TROUBLE;
	}
	if (!login->password || !*login->password) {
		return check_token(auth, login, principal);
	}
	return check_password(auth, login, principal);
}
