/* The broker's login event: gets the decision from auth.c and clients.c, and logs it.
 *
 * Decides nothing about topics.
 */
#include "plugin.h"

#include <stdlib.h>
#include <time.h>

/* --- the log: a lasting problem is logged once, and its end */

static void log_store(struct plugin *plugin)
{
	enum trouble trouble = store_trouble(plugin->auth.store);
	if (trouble == plugin->logged_trouble) {
		return;
	}
	plugin->logged_trouble = trouble;
	if (trouble == TROUBLE_NONE) {
		mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: the store can be read again.");
		return;
	}
	mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: cannot read the store %s, its logins cannot connect: %s.",
			     plugin->options.store, store_trouble_text(plugin->auth.store));
}

static void log_token_key(struct plugin *plugin)
{
	const char *trouble = token_key_trouble(plugin->auth.token_key);
	if (trouble && trouble != plugin->logged_key_trouble) {
		mosquitto_log_printf(MOSQ_LOG_ERR,
				     "claimsvc: cannot read the token key %s, access tokens cannot connect: %s.",
				     plugin->options.token_key, trouble);
	}
	plugin->logged_key_trouble = trouble;
}

static void log_refusal(const struct login *login, enum auth_result result)
{
	static const char *const REASONS[] = {
		[AUTH_WRONG] = "wrong password",
		[AUTH_LOCKED] = "too many failures",
		[AUTH_UNREADABLE] = "its password hash in the store cannot be read",
		[AUTH_TOO_COSTLY] = "its password hash in the store has too many iterations",
	};
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: login %s from %s refused: %s.", login->username, login->address,
			     REASONS[result]);
}

/* --- the decision */

static bool may_enter(const struct plugin *plugin, const char *id, const char *principal)
{
	const char *reason = NULL;
	if (rules_is_reserved_id(id) && !rules_is_service(&plugin->options.rules, principal)) {
		reason = "it is reserved for the service";
	} else if (!clients_may_have(plugin->clients, id, principal)) {
		reason = "a client of another login uses it";
	}
	if (reason) {
		mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: client id %s refused to %s: %s.", id, principal, reason);
	}
	return !reason;
}

/* Replace the client's username by its principal and register the client. */
static int admit(struct plugin *plugin, struct mosquitto *client, const char *principal)
{
	if (mosquitto_set_username(client, principal) != MOSQ_ERR_SUCCESS) {
		return MOSQ_ERR_AUTH;
	}
	bool is_shared = rules_is_shared(&plugin->options.rules, principal);
	return clients_add(plugin->clients, client, mosquitto_client_id(client), principal, is_shared) ? MOSQ_ERR_SUCCESS
												       : MOSQ_ERR_NOMEM;
}

static int enter(struct plugin *plugin, struct mosquitto *client, const char *principal, bool is_ours)
{
	const char *id = mosquitto_client_id(client);
	if (!may_enter(plugin, id, principal)) {
		return MOSQ_ERR_AUTH;
	}
	plugin->entering = client;
	plugin->entering_may_resume = clients_may_resume(plugin->clients, id, principal);
	if (is_ours) {
		return admit(plugin, client, principal);
	}
	bool is_shared = rules_is_shared(&plugin->options.rules, principal);
	return clients_ask(plugin->clients, client, id, principal, is_shared) ? MOSQ_ERR_PLUGIN_DEFER : MOSQ_ERR_NOMEM;
}

static struct login login_of(const struct mosquitto_evt_basic_auth *event)
{
	struct timespec real, steady;
	const char *address = mosquitto_client_address(event->client);
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &steady);
	return (struct login){
		.address = address ? address : "",
		.username = event->username,
		.password = event->password,
		.now_ms = (int64_t)real.tv_sec * 1000 + real.tv_nsec / 1000000,
		.now_s = steady.tv_sec,
	};
}

/* After SIGHUP Mosquitto repeats the login event for every client, connected or not, with the username set by the plugin
 * and the password of the connection. A client whose principal still has a login stays. */
static int check_again(struct plugin *plugin, const struct mosquitto_evt_basic_auth *event)
{
	struct login login = login_of(event);
	if (!login.username) {
		return MOSQ_ERR_PLUGIN_DEFER;
	}
	if (rules_is_open(&plugin->options.rules, login.username)) {
		return MOSQ_ERR_SUCCESS;
	}
	enum found found = store_find_principal(plugin->auth.store, login.username, login.now_ms);
	log_store(plugin);
	return found == FOUND_NOTHING ? MOSQ_ERR_PLUGIN_DEFER : MOSQ_ERR_SUCCESS;
}

/* Between SIGHUP and the next loop iteration no client logs in, except by websockets in 2.0. */
static bool is_asked_again(const struct plugin *plugin, const struct mosquitto *client)
{
	return plugin->is_reloading
	       && (mosquitto_client_protocol(client) != mp_websockets || clients_of_connection(plugin->clients, client));
}

int on_basic_auth(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_basic_auth *event = event_data;
	(void)event_number;
	plugin->gone = plugin->entering = NULL;
	if (!mosquitto_client_id(event->client)) {
		return MOSQ_ERR_PLUGIN_DEFER; /* not an MQTT client but the HTTP interface of 2.1 */
	}
	if (is_asked_again(plugin, event->client)) {
		return check_again(plugin, event);
	}
	if (!plugin->has_ticked) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: all logins are refused: set per_listener_settings to false.");
		return MOSQ_ERR_AUTH;
	}
	char *principal;
	struct login login = login_of(event);
	enum auth_result result = auth_check(&plugin->auth, &login, &principal);
	log_store(plugin);
	log_token_key(plugin);
	int rc = MOSQ_ERR_AUTH;
	if (result == AUTH_ADMITTED) {
		rc = enter(plugin, event->client, principal, true);
	} else if (result == AUTH_UNKNOWN || result == AUTH_TROUBLE) {
		rc = enter(plugin, event->client, broker_user(event->client), false);
	} else {
		log_refusal(&login, result);
	}
	free(principal);
	return rc;
}

int on_reload(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	(void)event_number;
	(void)event_data;
	plugin->is_reloading = plugin->has_ticked; /* without tick events it would never be reset */
	return MOSQ_ERR_SUCCESS;
}
