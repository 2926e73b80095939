/* claimsvc's plugin for Mosquitto 2.0 and 2.1: wires the broker's events to the decisions in the files beside it.
 *
 * Never decides by itself who may do what (rules.c), who gets in (auth.c), or what becomes of a message (messages.c).
 *
 * Options, as `plugin_opt_<name> <value>` below `plugin <path of claimsvc.so>` in mosquitto.conf:
 *
 *   name              default                meaning
 *   store             (required)             claimsvc's SQLite file; it may come later than the broker
 *   token_key         token.key beside it    file with the key of access tokens, 64 hexadecimal digits
 *   root              claimsvc               first level of the lanes
 *   service_username  claimsvc               the service's own user
 *   user_topics       v1/devices/me/claim v1/gateway/claim v2/c v2/c/j v1/devices/me/rpc/request/+
 *                                            plain topics moved to the lane of the user; a last level may be `+`
 *   client_topics     s/ucr /provision/request
 *                                            plain topics moved to the lane of the client id
 *   open_logins       (none)                 logins that need no password and have the lane of the client id only
 *   max_failures      10                     wrong passwords per address and login ...
 *   failure_window_s  60                     ... within this time, before the login is refused unseen
 *
 * An acl_file is needed: it decides about every topic the plugin leaves alone. per_listener_settings must be false.
 */
#include "auth.h"
#include "broker.h"
#include "clients.h"
#include "messages.h"
#include "options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORTED __attribute__((visibility("default")))

struct plugin {
	mosquitto_plugin_id_t *identifier;
	struct options options;
	struct hash_key chance;
	struct auth auth;
	struct messages messages;
	struct clients *clients;

	bool has_ticked;          /* the broker tells us when its loop turns */
	bool is_reloading;        /* it checks again, now, the logins of those that are connected */
	enum trouble logged_trouble;
	const char *logged_key_trouble;

	const void *gone;         /* who has just been disconnected: what it writes now is its will */
	const void *entering;     /* who has just logged in ... */
	bool entering_may_resume; /* ... and may have the answers in the session it takes up */
};

/* --- the log: trouble is told once, and its end */

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
	mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: cannot read the store %s, so its logins have to wait: %s.",
			     plugin->options.store, store_trouble_text(plugin->auth.store));
}

static void log_token_key(struct plugin *plugin)
{
	const char *trouble = token_key_trouble(plugin->auth.token_key);
	if (trouble && trouble != plugin->logged_key_trouble) {
		mosquitto_log_printf(MOSQ_LOG_ERR,
				     "claimsvc: cannot read the token key %s, so access tokens have to wait: %s.",
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
		[AUTH_TOO_COSTLY] = "its password hash in the store asks for too many iterations",
	};
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: login %s from %s refused: %s.", login->username, login->address,
			     REASONS[result]);
}

/* --- who gets in */

static const char *name_of(const struct mosquitto *client)
{
	const char *name = mosquitto_client_username(client);
	return name ? name : "";
}

static bool may_enter(const struct plugin *plugin, const char *id, const char *principal)
{
	const char *reason = NULL;
	if (rules_is_reserved_id(id) && !rules_is_service(&plugin->options.rules, principal)) {
		reason = "only the service may have it";
	} else if (!clients_may_have(plugin->clients, id, principal)) {
		reason = "somebody else has it";
	}
	if (reason) {
		mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: client id %s refused to %s: %s.", id, principal, reason);
	}
	return !reason;
}

/* Make the client what it is: its user is the principal from here on. */
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
	return is_ours ? admit(plugin, client, principal) : MOSQ_ERR_PLUGIN_DEFER;
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

/* After SIGHUP Mosquitto asks again about every client, connected or not, with the user we gave it and the password it
 * came with: whoever still has a login stays. */
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

/* Between SIGHUP and the next turn of the loop nobody logs in, but for websockets in 2.0. */
static bool is_asked_again(const struct plugin *plugin, const struct mosquitto *client)
{
	return plugin->is_reloading
	       && (mosquitto_client_protocol(client) != mp_websockets || clients_of_connection(plugin->clients, client));
}

static int on_basic_auth(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_basic_auth *event = event_data;
	(void)event_number;
	plugin->gone = plugin->entering = NULL;
	if (!mosquitto_client_id(event->client)) {
		return MOSQ_ERR_PLUGIN_DEFER; /* no MQTT client: the HTTP interface of 2.1 */
	}
	if (is_asked_again(plugin, event->client)) {
		return check_again(plugin, event);
	}
	if (!plugin->has_ticked) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: nobody gets in: set per_listener_settings to false.");
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
		rc = enter(plugin, event->client, name_of(event->client), false);
	} else {
		log_refusal(&login, result);
	}
	free(principal);
	return rc;
}

/* --- who is there */

/* A client that somebody else has admitted shows by what it does that it was: only then it can hold an id. */
static struct client *known(struct plugin *plugin, struct mosquitto *client)
{
	struct client *known = clients_of_connection(plugin->clients, client);
	if (known) {
		return known;
	}
	const char *principal = name_of(client);
	bool is_shared = rules_is_shared(&plugin->options.rules, principal);
	return clients_add(plugin->clients, client, mosquitto_client_id(client), principal, is_shared);
}

static bool is_leaving(const struct plugin *plugin, const struct mosquitto *client)
{
	const struct client *known = clients_of_connection(plugin->clients, client);
	return known ? known->is_superseded : plugin->gone == client;
}

static int on_disconnect(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_disconnect *event = event_data;
	(void)event_number;
	clients_remove(plugin->clients, event->client);
	plugin->gone = event->client;
	return MOSQ_ERR_SUCCESS;
}

/* Both brokers hand over what was published by a plugin before they handle another packet after this. */
static int on_tick(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	(void)event_number;
	(void)event_data;
	clients_turn(plugin->clients);
	plugin->has_ticked = true;
	plugin->is_reloading = false;
	plugin->gone = plugin->entering = NULL;
	return MOSQ_ERR_SUCCESS;
}

static int on_reload(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	(void)event_number;
	(void)event_data;
	plugin->is_reloading = plugin->has_ticked; /* without ticks it would never end */
	return MOSQ_ERR_SUCCESS;
}

/* --- what they may do, and what they do */

static int on_acl_check(int event_number, void *event_data, void *userdata)
{
	static const int ANSWERS[] = {
		[VERDICT_DEFER] = MOSQ_ERR_PLUGIN_DEFER,
		[VERDICT_ALLOW] = MOSQ_ERR_SUCCESS,
		[VERDICT_DENY] = MOSQ_ERR_ACL_DENIED,
	};
	static const enum access ACCESS[] = {
		[MOSQ_ACL_READ] = ACCESS_READ,
		[MOSQ_ACL_WRITE] = ACCESS_WRITE,
		[MOSQ_ACL_SUBSCRIBE] = ACCESS_SUBSCRIBE,
		[MOSQ_ACL_UNSUBSCRIBE] = ACCESS_UNSUBSCRIBE,
	};
	struct plugin *plugin = userdata;
	struct mosquitto_evt_acl_check *event = event_data;
	(void)event_number;
	if (event->access == MOSQ_ACL_SUBSCRIBE && !known(plugin, event->client)) {
		return MOSQ_ERR_NOMEM;
	}
	struct caller caller = {
		.principal = mosquitto_client_username(event->client),
		.id = mosquitto_client_id(event->client),
		.resumes = plugin->entering == event->client && plugin->entering_may_resume,
		.leaving = is_leaving(plugin, event->client),
	};
	return ANSWERS[rules_access(&plugin->options.rules, &caller, ACCESS[event->access], event->topic)];
}

static int on_message(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_message *event = event_data;
	(void)event_number;
	struct client *client = known(plugin, event->client);
	return client ? messages_handle(&plugin->messages, client, event) : MOSQ_ERR_NOMEM;
}

/* --- the service's wishes */

static void disconnect_principal(const struct plugin *plugin, const char *line, size_t length)
{
	static const char WORD[] = "disconnect ";
	size_t word = sizeof(WORD) - 1;
	if (length <= word || memcmp(line, WORD, word) != 0) {
		mosquitto_log_printf(MOSQ_LOG_WARNING, "claimsvc: a line on %s is not understood.", CONTROL_TOPIC);
		return;
	}
	char *principal = strndup(line + word, length - word);
	if (principal && !rules_is_service(&plugin->options.rules, principal)) {
		mosquitto_kick_client_by_username(principal, true);
	}
	free(principal);
}

/* The ACL check has let only the service through, but it may have been asked before us by another plugin. An error
 * would disconnect the service. */
static int on_control(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_control *event = event_data;
	const char *line = event->payload, *end = line + event->payloadlen;
	(void)event_number;
	if (!rules_is_service(&plugin->options.rules, mosquitto_client_username(event->client))) {
		return MOSQ_ERR_SUCCESS;
	}
	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *line_end = newline ? newline : end;
		if (line_end > line) {
			disconnect_principal(plugin, line, (size_t)(line_end - line));
		}
		line = line_end + 1;
	}
	return MOSQ_ERR_SUCCESS;
}

/* --- starting and ending */

static const struct {
	int event;
	MOSQ_FUNC_generic_callback callback;
	const char *topic;
	bool is_needed;
} CALLBACKS[] = {
	{MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL, true},
	{MOSQ_EVT_ACL_CHECK, on_acl_check, NULL, true},
	{MOSQ_EVT_MESSAGE, on_message, NULL, true},
	{MOSQ_EVT_DISCONNECT, on_disconnect, NULL, true},
	{MOSQ_EVT_TICK, on_tick, NULL, true},
	{MOSQ_EVT_RELOAD, on_reload, NULL, true},
	{MOSQ_EVT_CONTROL, on_control, CONTROL_TOPIC, true},
	{EVENT_CLIENT_OFFLINE, on_disconnect, NULL, false},
};
#define CALLBACK_COUNT (sizeof(CALLBACKS) / sizeof(CALLBACKS[0]))

static void plugin_free(struct plugin *plugin)
{
	if (plugin->clients) {
		clients_free(plugin->clients);
	}
	failures_free(plugin->auth.failures);
	token_key_free(plugin->auth.token_key);
	store_free(plugin->auth.store);
	options_free(&plugin->options);
	free(plugin);
}

static bool read_options(struct plugin *plugin, const struct mosquitto_opt *options, int count)
{
	char error[200] = "out of memory";
	for (int i = 0; i < count; i++) {
		if (!options_set(&plugin->options, options[i].key, options[i].value, error, sizeof(error))) {
			mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: %s.", error);
			return false;
		}
	}
	if (!options_finish(&plugin->options, error, sizeof(error))) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: %s.", error);
		return false;
	}
	return true;
}

static bool make_parts(struct plugin *plugin)
{
	const struct options *options = &plugin->options;
	plugin->clients = clients_new();
	plugin->auth = (struct auth){
		.rules = &options->rules,
		.store = store_new(options->store),
		.token_key = token_key_new(options->token_key),
		.failures = failures_new(options->window_s),
		.max_failures = options->failures,
		.chance = &plugin->chance,
	};
	plugin->messages = (struct messages){
		.rules = &options->rules,
		.clients = plugin->clients,
		.frees_replaced = broker_frees_replaced(),
	};
	return hash_key_make(&plugin->chance) && plugin->clients && plugin->auth.store && plugin->auth.token_key
	       && plugin->auth.failures;
}

static bool register_callbacks(struct plugin *plugin)
{
	for (size_t i = 0; i < CALLBACK_COUNT; i++) {
		int rc = mosquitto_callback_register(plugin->identifier, CALLBACKS[i].event, CALLBACKS[i].callback,
						     CALLBACKS[i].topic, plugin);
		if (rc != MOSQ_ERR_SUCCESS && CALLBACKS[i].is_needed) {
			mosquitto_log_printf(MOSQ_LOG_ERR, "claimsvc: the broker refuses event %d (%d): is the plugin loaded twice?",
					     CALLBACKS[i].event, rc);
			return false;
		}
	}
	return true;
}

EXPORTED int mosquitto_plugin_version(int count, const int *versions)
{
	for (int i = 0; i < count; i++) {
		if (versions[i] == MOSQ_PLUGIN_VERSION) {
			return MOSQ_PLUGIN_VERSION;
		}
	}
	return -1;
}

EXPORTED int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata, struct mosquitto_opt *options,
				   int count)
{
	struct plugin *plugin = calloc(1, sizeof(*plugin));
	if (!plugin) {
		return MOSQ_ERR_NOMEM;
	}
	plugin->identifier = identifier;
	if (!read_options(plugin, options, count) || !make_parts(plugin) || !register_callbacks(plugin)) {
		plugin_free(plugin);
		return MOSQ_ERR_INVAL;
	}
	*userdata = plugin;
	return MOSQ_ERR_SUCCESS;
}

EXPORTED int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int count)
{
	struct plugin *plugin = userdata;
	(void)options;
	(void)count;
	if (!plugin) {
		return MOSQ_ERR_SUCCESS;
	}
	for (size_t i = 0; i < CALLBACK_COUNT; i++) {
		mosquitto_callback_unregister(plugin->identifier, CALLBACKS[i].event, CALLBACKS[i].callback,
					      CALLBACKS[i].topic);
	}
	plugin_free(plugin);
	return MOSQ_ERR_SUCCESS;
}
