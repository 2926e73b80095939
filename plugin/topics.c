#include "topics.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The only wildcard allowed is `+` as the whole last level. */
static bool is_listed_topic(const char *topic, size_t length)
{
	if (length == 0 || length > TOPIC_MAX) {
		return false;
	}
	for (size_t i = 0; i < length; i++) {
		bool is_last_level = i + 1 == length && i > 0 && topic[i - 1] == '/';
		if (topic[i] == '#' || (topic[i] == '+' && !is_last_level)) {
			return false;
		}
	}
	return true;
}

static bool topic_list_append(struct topic_list *list, const char *topic, size_t length)
{
	char **grown = realloc(list->topics, (list->count + 1) * sizeof(char *));
	if (!grown) {
		return false;
	}
	list->topics = grown;
	list->topics[list->count] = strndup(topic, length);
	if (!list->topics[list->count]) {
		return false;
	}
	list->count++;
	return true;
}

bool topic_list_read(struct topic_list *list, const char *text)
{
	*list = (struct topic_list){0};
	while (*(text += strspn(text, " \t"))) {
		size_t length = strcspn(text, " \t");
		if (!is_listed_topic(text, length) || !topic_list_append(list, text, length)) {
			topic_list_free(list);
			return false;
		}
		text += length;
	}
	return true;
}

void topic_list_free(struct topic_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->topics[i]);
	}
	free(list->topics);
	*list = (struct topic_list){0};
}

static bool covers(const char *listed, const char *topic)
{
	size_t length = strlen(listed);
	if (listed[length - 1] != '+') {
		return strcmp(listed, topic) == 0;
	}
	return strncmp(listed, topic, length - 1) == 0 && !strpbrk(topic + length - 1, "/#");
}

bool topic_list_has(const struct topic_list *list, const char *topic)
{
	for (size_t i = 0; i < list->count; i++) {
		if (covers(list->topics[i], topic)) {
			return true;
		}
	}
	return false;
}

/* Number of bytes of the character at `at` if it must be encoded, otherwise 0. U+0080 to U+009F are C2 80 to C2 9F. */
static size_t encoded_bytes(const char *at)
{
	unsigned char byte = (unsigned char)at[0], next = byte ? (unsigned char)at[1] : 0;
	if (byte < 0x20 || byte == 0x7f || strchr("%/+#", byte)) {
		return 1;
	}
	return byte == 0xc2 && next >= 0x80 && next <= 0x9f ? 2 : 0;
}

bool level_is_plain(const char *name)
{
	for (; *name; name++) {
		if (encoded_bytes(name)) {
			return false;
		}
	}
	return true;
}

char *level_encode(const char *name)
{
	static const char HEX[] = "0123456789ABCDEF";
	size_t length = strlen(name);
	if (length > SIZE_MAX / 3 - 1) {
		return NULL;
	}
	char *level = malloc(3 * length + 1), *out = level;
	if (!level) {
		return NULL;
	}
	while (*name) {
		size_t encoded = encoded_bytes(name);
		if (!encoded) {
			*out++ = *name++;
		}
		for (; encoded; encoded--, name++) {
			*out++ = '%';
			*out++ = HEX[(unsigned char)*name >> 4];
			*out++ = HEX[(unsigned char)*name & 15];
		}
	}
	*out = '\0';
	return level;
}

size_t lane_topic_size(const char *root, const char *login, const char *level, const char *topic)
{
	size_t login_size = login ? strlen(login) + 1 : 0;
	return strlen(root) + sizeof("/u/") + login_size + strlen(level) + sizeof("/") + strlen(topic) - 1;
}

static char *appended(char *out, const char *text)
{
	size_t length = strlen(text);
	memcpy(out, text, length + 1);
	return out + length;
}

void lane_topic_write(char *out, const char *root, const char *login, const char *level, const char *topic)
{
	const char *const parts[] = {root, login ? "/c/" : "/u/", login ? login : "", login ? "/" : "", level, "/", topic};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		out = appended(out, parts[i]);
	}
}

/* Set one level and return the text after it. */
static const char *take_level(const char *text, const char **level, size_t *length)
{
	*level = text;
	*length = strcspn(text, "/");
	return text[*length] ? text + *length + 1 : text + *length;
}

bool lane_topic_split(struct lane_topic *parts, const char *root, const char *topic)
{
	size_t length = strlen(root);
	if (strncmp(topic, root, length) != 0 || topic[length] != '/') {
		return false;
	}
	const char *kind = topic + length + 1, *rest = kind + 2;
	if ((kind[0] != 'u' && kind[0] != 'c') || kind[1] != '/') {
		return false;
	}
	*parts = (struct lane_topic){.lane = kind[0] == 'u' ? LANE_USER : LANE_CLIENT};
	if (parts->lane == LANE_CLIENT) {
		rest = take_level(rest, &parts->login, &parts->login_length);
	}
	parts->topic = take_level(rest, &parts->level, &parts->level_length);
	return true;
}
