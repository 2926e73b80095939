/* The broker's events of connected clients: presence, access, messages, and the service's control messages.
 *
 * Translates between the broker's events and rules.c, clients.c and messages.c; decides nothing itself.
 */
#include "plugin.h"

#include <stdlib.h>
#include <string.h>

/* --- presence */

/* Return the client of a connection. Its action proves that a pending login was accepted, so the client now gets its
 * id. A connection without a login event was authenticated by a certificate. */
static struct client *known(struct plugin *plugin, struct mosquitto *connection)
{
	struct client *client = clients_of_connection(plugin->clients, connection);
	if (!client) {
		const char *principal = broker_user(connection);
		bool is_shared = rules_is_shared(&plugin->options.rules, principal);
		return clients_add(plugin->clients, connection, mosquitto_client_id(connection), principal, is_shared);
	}
	if (client->is_pending) {
		clients_admit(plugin->clients, client);
	}
	return client;
}

/* True while another client logs in with this client's id: the broker publishes this client's will before it
 * disconnects it. */
static bool is_being_replaced(const struct plugin *plugin, const struct client *client)
{
	const struct client *entering =
		plugin->entering ? clients_of_connection(plugin->clients, plugin->entering) : NULL;
	return entering && entering != client && entering->is_pending && strcmp(entering->id, client->id) == 0;
}

/* A message from a client that is not connected is its will, published at once or after a delay. By then its login may
 * have been revoked or belong to another device. */
static bool is_leaving(const struct plugin *plugin, const struct mosquitto *connection)
{
	const struct client *client = clients_of_connection(plugin->clients, connection);
	if (!client) {
		return plugin->gone == connection || !broker_has_certificate(connection);
	}
	return client->is_superseded || is_being_replaced(plugin, client);
}

int on_disconnect(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_disconnect *event = event_data;
	(void)event_number;
	clients_remove(plugin->clients, event->client);
	plugin->gone = event->client;
	if (plugin->entering == event->client) {
		plugin->entering = NULL;
	}
	return MOSQ_ERR_SUCCESS;
}

/* After this event, both 2.0 and 2.1 deliver messages published by plugins before they handle another packet. */
int on_tick(int event_number, void *event_data, void *userdata)
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

/* --- access and messages */

/* Log a refused request, once per connection. Without this line a request with the wrong login would leave no trace. */
static void log_refused_request(struct plugin *plugin, const struct caller *caller, const struct mosquitto *connection,
				const char *topic)
{
	static const char *const NEEDED[TOPIC_KINDS] = {
		[TOPIC_POLL] = "only the login bootstrap may request credentials",
		[TOPIC_PROVISION_REQUEST] = "only the login provision may request provisioning",
		[TOPIC_IN_CLIENT_LANE] = "the lane or topic does not belong to this login and client id",
	};
	struct client *client = clients_of_connection(plugin->clients, connection);
	const char *reason = NEEDED[rules_kind(&plugin->options.rules, topic)];
	if (!reason || !client || client->is_logged || caller->leaving) {
		return;
	}
	client->is_logged = true;
	mosquitto_log_printf(MOSQ_LOG_NOTICE, "claimsvc: request of %s with the client id %s refused: %s.",
			     caller->principal ? caller->principal : "a client without a login", caller->id, reason);
}

int on_acl_check(int event_number, void *event_data, void *userdata)
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
	enum verdict verdict = rules_access(&plugin->options.rules, &caller, ACCESS[event->access], event->topic);
	if (event->access == MOSQ_ACL_WRITE && verdict == VERDICT_DENY) {
		log_refused_request(plugin, &caller, event->client, event->topic);
	}
	return ANSWERS[verdict];
}

int on_message(int event_number, void *event_data, void *userdata)
{
	struct plugin *plugin = userdata;
	struct mosquitto_evt_message *event = event_data;
	(void)event_number;
	struct client *client = known(plugin, event->client);
	return client ? messages_handle(&plugin->messages, client, event) : MOSQ_ERR_NOMEM;
}

/* --- control messages of the service */

static void disconnect_principal(const struct plugin *plugin, const char *line, size_t length)
{
	static const char WORD[] = "disconnect ";
	size_t word = sizeof(WORD) - 1;
	if (length <= word || memcmp(line, WORD, word) != 0) {
		mosquitto_log_printf(MOSQ_LOG_WARNING, "claimsvc: unknown command on %s.", CONTROL_TOPIC);
		return;
	}
	char *principal = strndup(line + word, length - word);
	if (principal && !rules_is_service(&plugin->options.rules, principal)) {
		mosquitto_kick_client_by_username(principal, true);
	}
	free(principal);
}

/* Check the sender again, because another plugin may have allowed the message before this plugin's ACL check. Never
 * return an error: it would disconnect the service. */
int on_control(int event_number, void *event_data, void *userdata)
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
