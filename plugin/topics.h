/* Topics as text: lists of them, one percent-encoded level, and plain topic <-> lane.
 *
 * Pure. Knows nothing of who may do what (rules.h) and nothing of the broker.
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

/* Read topics divided by blanks. False, and the list is empty, when one is no topic whose last level may be `+`. */
bool topic_list_read(struct topic_list *list, const char *text);
void topic_list_free(struct topic_list *list);

/* Whether a topic, or a filter of one level's width such as `a/+`, is covered by the list. */
bool topic_list_has(const struct topic_list *list, const char *topic);

enum lane {
	LANE_NONE = 0,
	LANE_USER,
	LANE_CLIENT,
	LANES,
};

/* `name` as one topic level: `%`, `/`, `+`, `#` and control characters percent-encoded as the service does it.
 * To be freed. NULL without memory. */
char *level_encode(const char *name);

/* Whether `name` is its own encoding. */
bool level_is_plain(const char *name);

/* Bytes of the topic `topic` in a lane, the terminating NUL included. `login` is the shared login of a client's lane,
 * NULL for a user's lane; `level` is the encoded client id or the principal. */
size_t lane_topic_size(const char *root, const char *login, const char *level, const char *topic);
/* Write it; `out` has lane_topic_size() bytes. */
void lane_topic_write(char *out, const char *root, const char *login, const char *level, const char *topic);

struct lane_topic {
	enum lane lane;
	const char *login; /* of a client's lane, not terminated; NULL in a user's lane */
	size_t login_length;
	const char *level; /* not terminated */
	size_t level_length;
	const char *topic; /* the part after the level; empty when there is none */
};

/* Take apart `<root>/u/<level>/<topic>` or `<root>/c/<login>/<level>/<topic>`. False when `topic` is not in a lane. */
bool lane_topic_split(struct lane_topic *parts, const char *root, const char *topic);

#endif
