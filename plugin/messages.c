#include "messages.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STAMP "received-at"

/* --- properties */

/* True if this is a user property with the name of the time stamp. */
static bool is_stamp(const mosquitto_property *property)
{
	char *name = NULL, *value = NULL;
	if (mosquitto_property_identifier(property) != MQTT_PROP_USER_PROPERTY
	    || !mosquitto_property_read_string_pair(property, MQTT_PROP_USER_PROPERTY, &name, &value, false)) {
		return false;
	}
	bool is_stamp = strcmp(name, STAMP) == 0;
	broker_free_text(name);
	broker_free_text(value);
	return is_stamp;
}

static bool has_stamp(const mosquitto_property *properties)
{
	for (; properties; properties = mosquitto_property_next(properties)) {
		if (is_stamp(properties)) {
			return true;
		}
	}
	return false;
}

static int append_pair(mosquitto_property **list, const mosquitto_property *from)
{
	char *name = NULL, *value = NULL;
	if (!mosquitto_property_read_string_pair(from, MQTT_PROP_USER_PROPERTY, &name, &value, false)) {
		return MOSQ_ERR_NOMEM;
	}
	int rc = strcmp(name, STAMP) == 0
			 ? MOSQ_ERR_SUCCESS
			 : mosquitto_property_add_string_pair(list, MQTT_PROP_USER_PROPERTY, name, value);
	broker_free_text(name);
	broker_free_text(value);
	return rc;
}

static int append_string(mosquitto_property **list, const mosquitto_property *from, int identifier)
{
	char *text = NULL;
	if (!mosquitto_property_read_string(from, identifier, &text, false)) {
		return MOSQ_ERR_NOMEM;
	}
	int rc = mosquitto_property_add_string(list, identifier, text);
	broker_free_text(text);
	return rc;
}

static int append_binary(mosquitto_property **list, const mosquitto_property *from, int identifier)
{
	void *bytes = NULL;
	uint16_t length = 0;
	if (!mosquitto_property_read_binary(from, identifier, &bytes, &length, false)) {
		return MOSQ_ERR_NOMEM;
	}
	int rc = mosquitto_property_add_binary(list, identifier, bytes, length);
	broker_free_text(bytes);
	return rc;
}

static int append_byte(mosquitto_property **list, const mosquitto_property *from, int identifier)
{
	uint8_t byte = 0;
	mosquitto_property_read_byte(from, identifier, &byte, false);
	return mosquitto_property_add_byte(list, identifier, byte);
}

/* The broker passes on no other properties of a message. */
static int append_unless_stamp(mosquitto_property **list, const mosquitto_property *from)
{
	int identifier = mosquitto_property_identifier(from);
	switch (identifier) {
	case MQTT_PROP_USER_PROPERTY:
		return append_pair(list, from);
	case MQTT_PROP_CONTENT_TYPE:
	case MQTT_PROP_RESPONSE_TOPIC:
		return append_string(list, from, identifier);
	case MQTT_PROP_CORRELATION_DATA:
		return append_binary(list, from, identifier);
	case MQTT_PROP_PAYLOAD_FORMAT_INDICATOR:
		return append_byte(list, from, identifier);
	default:
		return MOSQ_ERR_SUCCESS;
	}
}

/* Copy all properties except time stamps, because no function can remove a property. */
static int without_stamps(mosquitto_property **rest, const mosquitto_property *properties)
{
	*rest = NULL;
	for (; properties; properties = mosquitto_property_next(properties)) {
		int rc = append_unless_stamp(rest, properties);
		if (rc != MOSQ_ERR_SUCCESS) {
			mosquitto_property_free_all(rest);
			return rc;
		}
	}
	return MOSQ_ERR_SUCCESS;
}

static int remove_forged_stamps(const struct messages *messages, struct mosquitto_evt_message *message)
{
	mosquitto_property *rest;
	if (!has_stamp(message->properties)) {
		return MOSQ_ERR_SUCCESS;
	}
	int rc = without_stamps(&rest, message->properties);
	if (rc == MOSQ_ERR_SUCCESS) {
		if (!messages->frees_replaced) {
			mosquitto_property_free_all(&message->properties);
		}
		message->properties = rest;
	}
	return rc;
}

static int stamp(const struct messages *messages, struct mosquitto_evt_message *message)
{
	char text[24];
	struct timespec now;
	int rc = remove_forged_stamps(messages, message);
	if (rc != MOSQ_ERR_SUCCESS) {
		return rc;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(text, sizeof(text), "%" PRId64, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	return mosquitto_property_add_string_pair(&message->properties, MQTT_PROP_USER_PROPERTY, STAMP, text);
}

/* --- requests */

static int move_to_lane(const struct messages *messages, enum lane lane, const struct client *client,
			struct mosquitto_evt_message *message)
{
	const char *root = messages->rules->root;
	const char *login = lane == LANE_USER ? NULL : client->principal;
	const char *level = lane == LANE_USER ? client->principal : client->level;
	size_t size = lane_topic_size(root, login, level, message->topic);
	if (size - 1 > TOPIC_MAX) {
		return MOSQ_ERR_ACL_DENIED;
	}
	char *topic = mosquitto_malloc(size);
	if (!topic) {
		return MOSQ_ERR_NOMEM;
	}
	lane_topic_write(topic, root, login, level, message->topic);
	if (!messages->frees_replaced) {
		mosquitto_free(message->topic);
	}
	message->topic = topic;
	return MOSQ_ERR_SUCCESS;
}

static int handle_plain(const struct messages *messages, enum topic_kind kind, struct client *client,
			struct mosquitto_evt_message *message)
{
	enum lane lane = rules_request_lane(messages->rules, client->principal, kind);
	if (lane == LANE_NONE) {
		return MOSQ_ERR_ACL_DENIED;
	}
	int rc = move_to_lane(messages, lane, client, message);
	if (rc == MOSQ_ERR_SUCCESS) {
		client->plain[lane] = true;
		message->retain = false;
		rc = stamp(messages, message);
	}
	return rc;
}

/* --- answers */

/* Publish a copy of an answer to one client. The broker frees payload and properties later. Not with
 * mosquitto_broker_publish_copy(), because it corrupts the memory accounting of 2.0. */
static int hand_over(const struct mosquitto_evt_message *answer, const char *topic, const struct client *client)
{
	void *payload = NULL;
	mosquitto_property *properties = NULL;
	if (answer->payloadlen && !(payload = mosquitto_malloc(answer->payloadlen))) {
		return MOSQ_ERR_NOMEM;
	}
	if (payload) {
		memcpy(payload, answer->payload, answer->payloadlen);
	}
	int rc = mosquitto_property_copy_all(&properties, answer->properties);
	if (rc == MOSQ_ERR_SUCCESS) {
		rc = mosquitto_broker_publish(client->id, topic, (int)answer->payloadlen, payload, answer->qos, false,
					      properties);
	}
	if (rc != MOSQ_ERR_SUCCESS) {
		mosquitto_free(payload);
		mosquitto_property_free_all(&properties);
	}
	return rc;
}

static int handle_answer(const struct messages *messages, const struct mosquitto_evt_message *message)
{
	struct lane_topic parts;
	if (!lane_topic_split(&parts, messages->rules->root, message->topic)
	    || !rules_is_answer(parts.lane, parts.topic)) {
		return MOSQ_ERR_SUCCESS;
	}
	struct client *client = clients_first(messages->clients, &parts);
	for (; client; client = clients_next(client, &parts)) {
		if (client->plain[parts.lane] && hand_over(message, parts.topic, client) == MOSQ_ERR_SUCCESS) {
			clients_answered(messages->clients, client);
		}
	}
	return MOSQ_ERR_SUCCESS;
}

int messages_handle(const struct messages *messages, struct client *client, struct mosquitto_evt_message *message)
{
	if (rules_is_service(messages->rules, client->principal)) {
		return handle_answer(messages, message);
	}
	enum topic_kind kind = rules_kind(messages->rules, message->topic);
	switch (kind) {
	case TOPIC_USER_REQUEST:
	case TOPIC_POLL:
	case TOPIC_PROVISION_REQUEST:
		return handle_plain(messages, kind, client, message);
	case TOPIC_IN_USER_LANE:
	case TOPIC_IN_CLIENT_LANE:
		message->retain = false;
		return stamp(messages, message);
	default:
		return MOSQ_ERR_SUCCESS;
	}
}
