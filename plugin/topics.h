/* Topics as text: lists of topics, percent-encoding of a level, conversion between plain topics and lanes.
 *
 * Pure. Knows neither access rules (rules.h) nor the broker.
 */
#ifndef CLAIMSVC_TOPICS_H
#define CLAIMSVC_TOPICS_H

#include <stdbool.h>
#include <stddef.h>

#define TOPIC_MAX 65535

struct topic_list {
	char **topics;
	size_t count;
};

/* Read topics separated by blanks. The last level of a topic may be `+`. Return false, with an empty list, if one is
 * invalid. */
bool topic_list_read(struct topic_list *list, const char *text);
void topic_list_free(struct topic_list *list);

/* True if the list covers a topic, or a filter with one `+` as its last level, such as `a/+`. */
bool topic_list_has(const struct topic_list *list, const char *topic);

enum lane {
	LANE_NONE = 0,
	LANE_USER,
	LANE_CLIENT,
	LANES,
};

/* Return `name` as one topic level: `%`, `/`, `+`, `#` and control characters are percent-encoded as in the service.
 * Free the result. NULL if out of memory. */
char *level_encode(const char *name);

/* True if `name` needs no encoding. */
bool level_is_plain(const char *name);

/* Bytes of the topic `topic` in a lane, including the terminating NUL. `login` is the shared login of a client's lane,
 * NULL for a user's lane; `level` is the encoded client id or the principal. */
size_t lane_topic_size(const char *root, const char *login, const char *level, const char *topic);
/* Write the topic to `out`, which has lane_topic_size() bytes. */
void lane_topic_write(char *out, const char *root, const char *login, const char *level, const char *topic);

struct lane_topic {
	enum lane lane;
	const char *login; /* of a client's lane, not terminated; NULL in a user's lane */
	size_t login_length;
	const char *level; /* not terminated */
	size_t level_length;
	const char *topic; /* the part after the level; empty if there is none */
};

/* Split `<root>/u/<level>/<topic>` or `<root>/c/<login>/<level>/<topic>`. Return false if `topic` is not in a lane. */
bool lane_topic_split(struct lane_topic *parts, const char *root, const char *topic);

#endif
