/* The plugin's options (plugin_opt_*): names, defaults, checks. plugin.c documents them.
 *
 * Pure. An unknown name or an invalid value is an error, so that the broker does not start with wrong options.
 */
#ifndef CLAIMSVC_OPTIONS_H
#define CLAIMSVC_OPTIONS_H

#include "rules.h"

#include <stddef.h>
#include <stdint.h>

struct options {
	char *store;
	char *token_key;
	char *root;
	char *service_username;
	char *user_topics;
	char *client_topics;
	char *open_logins;
	char *max_failures;
	char *failure_window_s;
	struct rules rules; /* set by options_finish() from the options above */
	unsigned failures;
	int64_t window_s;
};

/* Set one option. Return false, with a text in `error`, if it is unknown, set twice, or out of memory. */
bool options_set(struct options *options, const char *name, const char *value, char *error, size_t size);

/* Set the defaults and check all options. Return false, with a text in `error`, if one is invalid. */
bool options_finish(struct options *options, char *error, size_t size);

void options_free(struct options *options);

#endif
