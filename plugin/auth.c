#include "auth.h"

#include "index.h"

#include <stdlib.h>
#include <string.h>

/* A generated password takes 2 iterations: hardly more than the look-up. A person's takes thousands. */
#define GENERATED_ITERATIONS 2
#define PEOPLE_ITERATIONS 4000

/* So many times max_failures unknown logins from one address cost time; those after them none. */
#define FLOOD_FACTOR 20

/* As a generated password's, and of none. */
#define NOBODYS_HASH                                                                                                   \
	"$7$2$AAAAAAAAAAAAAAAA$"                                                                                       \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

/* Whether the password is one that the login had before and may still use. Whatever it has had, this takes the time of
 * FORMERS_MAX comparisons with a generated one, so that nobody learns of a rotation, or of the login, by waiting. Only
 * the one before the first rotation may be a person's: then it takes a person's time, as the login did until then. */
static enum found is_former(struct auth *auth, const struct login *login)
{
	char *hashes[FORMERS_MAX];
	enum found found = store_find_formers(auth->store, login->username, login->now_ms, hashes);
	bool is_right = false;
	for (size_t i = 0; i < FORMERS_MAX; i++) {
		const char *stored = hashes[i] ? hashes[i] : NOBODYS_HASH;
		is_right |= password_check(stored, login->password) == PASSWORD_RIGHT && hashes[i];
		free(hashes[i]);
	}
	return found == FOUND_TROUBLE ? found : is_right ? FOUND_IT : FOUND_NOTHING;
}

static enum auth_result refused(struct auth *auth, const struct login *login, enum auth_result result)
{
	failures_add(auth->failures, login->address, login->username, login->now_s);
	return result;
}

/* An unknown login takes the time of a wrong password: of a device's or of a person's, as a keyed hash of the login
 * decides, the same at every try. So a fast refusal says no more than a slow one. What remains: whoever tries
 * hundreds of unknown logins a minute from one address is answered fast from then on, and can tell slow ones apart;
 * the broker's only thread is worth more than that.
 *
 * The login itself is not counted as failed: whether a password file admits it afterwards is not told to us, and
 * its user must not be locked out for being somebody else's. */
static enum auth_result unknown(struct auth *auth, const struct login *login)
{
	int people = auth->people_iterations ? auth->people_iterations : PEOPLE_ITERATIONS;
	bool is_slow = hash_text(auth->chance, login->username) & 1;
	unsigned strangers = failures_of(auth->failures, login->address, "", login->now_s);
	bool is_flood = strangers >= auth->max_failures * FLOOD_FACTOR;
	failures_add(auth->failures, login->address, "", login->now_s);
	password_take_time(is_slow && !is_flood ? people : GENERATED_ITERATIONS, login->password);
	(void)is_former(auth, login);
	return AUTH_UNKNOWN;
}

static enum auth_result compare(struct auth *auth, const struct login *login, const char *stored)
{
	static const enum auth_result RESULTS[] = {
		[PASSWORD_RIGHT] = AUTH_ADMITTED,
		[PASSWORD_WRONG] = AUTH_WRONG,
		[PASSWORD_UNREADABLE] = AUTH_UNREADABLE,
		[PASSWORD_TOO_COSTLY] = AUTH_TOO_COSTLY,
	};
	enum auth_result result = RESULTS[password_check(stored, login->password)];
	if (result == AUTH_ADMITTED) {
		int iterations = password_iterations(stored);
		auth->people_iterations = iterations > GENERATED_ITERATIONS ? iterations : auth->people_iterations;
		return result;
	}
	enum found former = is_former(auth, login);
	return former == FOUND_IT ? AUTH_ADMITTED : former == FOUND_TROUBLE ? AUTH_TROUBLE : result;
}

static enum auth_result check_password(struct auth *auth, const struct login *login, char **principal)
{
	struct credential row;
	if (failures_of(auth->failures, login->address, login->username, login->now_s) >= auth->max_failures) {
		return AUTH_LOCKED;
	}
	enum found found = store_find(auth->store, "password", login->username, login->now_ms, &row);
	if (found != FOUND_IT) {
		return found == FOUND_TROUBLE ? AUTH_TROUBLE : unknown(auth, login);
	}
	enum auth_result result = compare(auth, login, row.secret_hash);
	if (result == AUTH_ADMITTED) {
		failures_forget(auth->failures, login->address, login->username);
		*principal = row.principal;
		row.principal = NULL;
	}
	credential_free(&row);
	return result == AUTH_ADMITTED || result == AUTH_TROUBLE ? result : refused(auth, login, result);
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
