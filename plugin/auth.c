#include "auth.h"

#include "index.h"

#include <stdlib.h>
#include <string.h>

/* Which passwords are compared, and what a wrong one does. Failures are counted per address and login; "locked" is a
 * login with max_failures of them within failure_window_s, at that address alone.
 *
 *   login                     wrong password counts   while it is locked
 *   the service's own         yes                     compared as always
 *   generated password        yes                     compared as always
 *   a person's password       yes                     refused without a comparison
 *   unknown                   yes                     left to the broker as always, at the cost of a locked login
 *   access token              no                      (one look-up, never locked)
 *   open login                no                      (nothing to compare)
 *
 * A right generated password, or the service's, therefore always admits, whatever others try from the same address: it
 * has 128 random bits, so guessing it is hopeless, and a comparison costs the broker hardly more than the look-up. A
 * person's password can be guessed, and a comparison takes milliseconds of the broker's only thread: max_failures per
 * window bound both. The rule is about each stored hash: a login has former ones beside its own.
 */

/* The service hashes a generated password with exactly so many iterations, and a person's never. */
#define GENERATED_ITERATIONS 2
#define PEOPLE_ITERATIONS 4000

/* So many times max_failures unknown logins from one address cost time; those after them none. */
#define FLOOD_FACTOR 20

/* As a generated password's, and of none. */
#define NOBODYS_HASH                                                                                                   \
	"$7$2$AAAAAAAAAAAAAAAA$"                                                                                       \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

/* Whether only cheap hashes may be computed for this login from this address. */
static bool is_locked(const struct auth *auth, const struct login *login)
{
	return failures_of(auth->failures, login->address, login->username, login->now_s) >= auth->max_failures;
}

/* Compare with one hash. With `generated_only` a person's is AUTH_LOCKED, in the time a generated one takes. */
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

/* Compare with the passwords the login had before and may still use: AUTH_WRONG when it is none of them. However many
 * there are, this takes the time of FORMERS_MAX comparisons with a generated one, so that nobody learns of a rotation,
 * or of the login, by waiting. Only the one before the first rotation may be a person's: then it takes a person's time,
 * as the login did until then. */
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

/* An unknown login takes the time of a wrong password: of a device's or of a person's, as a keyed hash of the login
 * decides, the same at every try; and like a person's only until it is locked. So a fast refusal says no more than a
 * slow one. What remains: after hundreds of unknown logins a minute from one address all of them are answered fast,
 * and slow ones can be told apart; the broker's only thread is worth more than that.
 *
 * It is never refused here: whether a password file admits it afterwards is not told to us, and its user must not be
 * locked out for being in another list. */
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

/* A token is as good as its 119 random bits and takes one look-up, known or not: nothing is counted. */
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
