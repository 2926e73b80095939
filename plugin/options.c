#include "options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_FILE "token.key"

static const struct {
	const char *name;
	size_t offset;
	const char *fallback; /* NULL: none */
} OPTIONS[] = {
	{"store", offsetof(struct options, store), NULL},
	{"token_key", offsetof(struct options, token_key), NULL},
	{"root", offsetof(struct options, root), "claimsvc"},
	{"service_username", offsetof(struct options, service_username), "claimsvc"},
	{"user_topics", offsetof(struct options, user_topics),
	 "v1/devices/me/claim v1/gateway/claim v2/c v2/c/j v1/devices/me/rpc/request/+"},
	{"client_topics", offsetof(struct options, client_topics), "s/ucr /provision/request"},
	{"open_logins", offsetof(struct options, open_logins), ""},
	{"max_failures", offsetof(struct options, max_failures), "10"},
	{"failure_window_s", offsetof(struct options, failure_window_s), "60"},
};
#define COUNT (sizeof(OPTIONS) / sizeof(OPTIONS[0]))

static char **field(struct options *options, size_t i)
{
	return (char **)(void *)((char *)options + OPTIONS[i].offset);
}

bool options_set(struct options *options, const char *name, const char *value, char *error, size_t size)
{
	for (size_t i = 0; i < COUNT; i++) {
		if (strcmp(name, OPTIONS[i].name) != 0) {
			continue;
		}
		if (*field(options, i)) {
			snprintf(error, size, "plugin_opt_%s is set twice", name);
			return false;
		}
		*field(options, i) = strdup(value ? value : "");
		return *field(options, i) != NULL;
	}
	snprintf(error, size, "unknown option plugin_opt_%s", name);
	return false;
}

/* Return the path of a file in the directory of `path`. */
static char *beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) + 1 : 0;
	char *beside = malloc(length + strlen(name) + 1);
	if (beside) {
		memcpy(beside, path, length);
		strcpy(beside + length, name);
	}
	return beside;
}

static bool options_default(struct options *options)
{
	for (size_t i = 0; i < COUNT; i++) {
		char **value = field(options, i);
		if (!*value && OPTIONS[i].fallback && !(*value = strdup(OPTIONS[i].fallback))) {
			return false;
		}
	}
	if (!options->token_key && options->store) {
		options->token_key = beside(options->store, KEY_FILE);
	}
	return true;
}

static bool is_root(const char *root)
{
	size_t length = strlen(root);
	for (size_t i = 0; i < length; i++) {
		if (iscntrl((unsigned char)root[i])) {
			return false;
		}
	}
	return length > 0 && length <= 1000 && !strpbrk(root, "+#") && !strchr("/$", root[0])
	       && !strchr("/$", root[length - 1]);
}

static bool is_level(const char *name)
{
	return *name && !strpbrk(name, "/+#");
}

static bool are_levels(const struct topic_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!is_level(list->topics[i])) {
			return false;
		}
	}
	return true;
}

static bool read_number(const char *text, unsigned long max, unsigned long *number)
{
	char *end;
	if (!isdigit((unsigned char)*text)) {
		return false;
	}
	*number = strtoul(text, &end, 10);
	return *end == '\0' && *number >= 1 && *number <= max;
}

/* Reject answer topics, lane topics and the control topic: as request topics they would break the rules. */
static bool are_requests(const struct rules *rules, const struct topic_list *list)
{
	struct rules others = {.root = rules->root, .service = rules->service};
	for (size_t i = 0; i < list->count; i++) {
		if (list->topics[i][0] == '$' || rules_kind(&others, list->topics[i]) != TOPIC_OTHER) {
			return false;
		}
	}
	return true;
}

static bool are_client_requests(const struct topic_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!rules_is_client_request(list->topics[i])) {
			return false;
		}
	}
	return true;
}

bool options_finish(struct options *options, char *error, size_t size)
{
	unsigned long failures = 0, window_s = 0;
	struct rules *rules = &options->rules;
	if (!options_default(options)) {
		snprintf(error, size, "out of memory");
		return false;
	}
	rules->root = options->root;
	rules->service = options->service_username;
	const struct {
		const char *name;
		bool is_good;
	} checks[] = {
		{"store", options->store && *options->store},
		{"token_key", options->token_key && *options->token_key},
		{"root", is_root(options->root)},
		{"service_username", is_level(options->service_username)},
		{"user_topics", topic_list_read(&rules->user_topics, options->user_topics)
					&& are_requests(rules, &rules->user_topics)},
		{"client_topics", topic_list_read(&rules->client_topics, options->client_topics)
					  && are_client_requests(&rules->client_topics)},
		{"open_logins", topic_list_read(&rules->open_logins, options->open_logins)
					&& are_levels(&rules->open_logins)
					&& !rules_is_open(rules, options->service_username)},
		{"max_failures", read_number(options->max_failures, 1000000, &failures)},
		{"failure_window_s", read_number(options->failure_window_s, 86400, &window_s)},
	};
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (!checks[i].is_good) {
			snprintf(error, size, "plugin_opt_%s is missing or invalid", checks[i].name);
			return false;
		}
	}
	options->failures = (unsigned)failures;
	options->window_s = (int64_t)window_s;
	return true;
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < COUNT; i++) {
		free(*field(options, i));
	}
	topic_list_free(&options->rules.user_topics);
	topic_list_free(&options->rules.client_topics);
	topic_list_free(&options->rules.open_logins);
	*options = (struct options){0};
}
