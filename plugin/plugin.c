/* claimsvc's plugin for Mosquitto 2.0 and 2.1: lanes for plain topics, private answers, logins from the store.
 *
 * This file reads the options and registers the callbacks. entering.c and events.c handle the events. Decides nothing.
 *
 * Options, as `plugin_opt_<name> <value>` after `plugin <path of claimsvc.so>` in mosquitto.conf:
 *
 *   name              default                meaning
 *   store             (required)             claimsvc's SQLite file; it may be created after the broker's start
 *   token_key         token.key beside it    file with the key for access tokens, 64 hexadecimal digits
 *   root              claimsvc               first level of the lanes
 *   service_username  claimsvc               username of the service
 *   user_topics       v1/devices/me/claim v1/gateway/claim v2/c v2/c/j v1/devices/me/rpc/request/+
 *                                            plain topics that are moved to the lane of the user; the last level may
 *                                            be `+`
 *   client_topics     s/ucr /provision/request
 *                                            plain topics that are moved to the lane of the login and client id
 *   open_logins       (none)                 logins without a password; they have the lane of the client id only
 *   max_failures      10                     wrong passwords per address and login ...
 *   failure_window_s  60                     ... within this many seconds lock a login with a human-chosen password for
 *                                            that address (auth.c)
 *
 * Set an acl_file: it decides about all other topics. Set per_listener_settings to false.
 */
#include "plugin.h"

#include <stdlib.h>

#define EXPORTED __attribute__((visibility("default")))

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

static void unregister_callbacks(struct plugin *plugin, size_t count)
{
	while (count--) {
		mosquitto_callback_unregister(plugin->identifier, CALLBACKS[count].event, CALLBACKS[count].callback,
					      CALLBACKS[count].topic);
	}
}

static bool register_callbacks(struct plugin *plugin)
{
	for (size_t i = 0; i < CALLBACK_COUNT; i++) {
		int rc = mosquitto_callback_register(plugin->identifier, CALLBACKS[i].event, CALLBACKS[i].callback,
						     CALLBACKS[i].topic, plugin);
		if (rc != MOSQ_ERR_SUCCESS && CALLBACKS[i].is_needed) {
			mosquitto_log_printf(MOSQ_LOG_ERR,
					     "claimsvc: the broker refuses event %d (%d): is the plugin loaded twice?",
					     CALLBACKS[i].event, rc);
			unregister_callbacks(plugin, i);
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
	unregister_callbacks(plugin, CALLBACK_COUNT);
	plugin_free(plugin);
	return MOSQ_ERR_SUCCESS;
}
