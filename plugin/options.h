/* The plugin's options (plugin_opt_*): names, defaults, checks. plugin.c explains them to operators.
 *
 * Pure. An unknown name or a bad value is an error: the broker must not start on half of what was meant.
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
	struct rules rules; /* made of those above by options_finish() */
	unsigned failures;
	int64_t window_s;
};

/* Set one option. False with a sentence in `error` when it is unknown, given twice, or there is no memory. */
bool options_set(struct options *options, const char *name, const char *value, char *error, size_t size);

/* Fill in the defaults and check everything. False with a sentence in `error`. */
bool options_finish(struct options *options, char *error, size_t size);

void options_free(struct options *options);

#endif
