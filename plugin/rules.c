#include "rules.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE_ID_PREFIX "claimsvc-"
#define SERVICE_ID_DIGITS 32

static char *const USER_ANSWERS[] = {
	"v1/devices/me/claim/response",
	"v1/devices/me/claim/state",
	"v1/gateway/claim/response",
	"v1/devices/me/rpc/response/+",
};
static char *const CLIENT_ANSWERS[] = {"s/dcr", "/provision/response"};
static char *const SHARED_PRINCIPALS[] = {"bootstrap", "provision"};

#define LIST_OF(array)                                                                                                 \
	{                                                                                                              \
		(char **)(array), sizeof(array) / sizeof((array)[0])                                                   \
	}
static const struct topic_list ANSWERS[LANES] = {
	[LANE_USER] = LIST_OF(USER_ANSWERS),
	[LANE_CLIENT] = LIST_OF(CLIENT_ANSWERS),
};
static const struct topic_list SHARED = LIST_OF(SHARED_PRINCIPALS);

/* What a cell of the table below says. */
enum rule {
	DEFER = 0,
	ALLOW,
	DENY,
	NEEDS_LANE,     /* whoever has the lane the request goes to */
	OWN_SESSION,    /* delivery is direct and asks nobody: only a session taken up again is asked about */
	NO_WILL,        /* a will is never shown to the plugin, so it could not be stamped */
	PLAIN_ID,       /* no lane of the client id for ids that look different in it */
	PLAIN_ID_NO_WILL,
	SERVICE_ONLY,
};

/* An unsubscription harms nobody. Nobody reads requests on plain topics: those never stay there. Nobody writes
 * answers there: a client would believe them. */
static const enum rule TABLE[TOPIC_KINDS][ACCESSES] = {
	/*                        READ         WRITE             SUBSCRIBE UNSUBSCRIBE */
	[TOPIC_OTHER] =          {DEFER,       DEFER,            DEFER,    ALLOW},
	[TOPIC_USER_REQUEST] =   {DENY,        NEEDS_LANE,       DENY,     ALLOW},
	[TOPIC_CLIENT_REQUEST] = {DENY,        NEEDS_LANE,       DENY,     ALLOW},
	[TOPIC_USER_ANSWER] =    {OWN_SESSION, DENY,             ALLOW,    ALLOW},
	[TOPIC_CLIENT_ANSWER] =  {OWN_SESSION, DENY,             ALLOW,    ALLOW},
	[TOPIC_IN_USER_LANE] =   {DEFER,       NO_WILL,          DEFER,    ALLOW},
	[TOPIC_IN_CLIENT_LANE] = {PLAIN_ID,    PLAIN_ID_NO_WILL, PLAIN_ID, ALLOW},
	[TOPIC_CONTROL] =        {DENY,        SERVICE_ONLY,     DENY,     ALLOW},
};

enum topic_kind rules_kind(const struct rules *rules, const char *topic)
{
	struct lane_topic parts;
	if (lane_topic_split(&parts, rules->root, topic)) {
		return parts.lane == LANE_USER ? TOPIC_IN_USER_LANE : TOPIC_IN_CLIENT_LANE;
	}
	const struct {
		const struct topic_list *topics;
		enum topic_kind kind;
	} lists[] = {
		{&rules->user_topics, TOPIC_USER_REQUEST},
		{&rules->client_topics, TOPIC_CLIENT_REQUEST},
		{&ANSWERS[LANE_USER], TOPIC_USER_ANSWER},
		{&ANSWERS[LANE_CLIENT], TOPIC_CLIENT_ANSWER},
	};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (topic_list_has(lists[i].topics, topic)) {
			return lists[i].kind;
		}
	}
	return strcmp(topic, CONTROL_TOPIC) == 0 ? TOPIC_CONTROL : TOPIC_OTHER;
}

bool rules_is_service(const struct rules *rules, const char *principal)
{
	return principal && strcmp(principal, rules->service) == 0;
}

static bool has_name(const struct topic_list *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++) {
		if (strcmp(names->topics[i], name) == 0) {
			return true;
		}
	}
	return false;
}

bool rules_is_open(const struct rules *rules, const char *login)
{
	return has_name(&rules->open_logins, login);
}

bool rules_is_shared(const struct rules *rules, const char *principal)
{
	return principal && (has_name(&SHARED, principal) || rules_is_open(rules, principal));
}

bool rules_is_reserved_id(const char *id)
{
	size_t prefix = strlen(SERVICE_ID_PREFIX);
	return strncmp(id, SERVICE_ID_PREFIX, prefix) == 0 && strlen(id) == prefix + SERVICE_ID_DIGITS
	       && strspn(id + prefix, "0123456789abcdefABCDEF") == SERVICE_ID_DIGITS;
}

bool rules_is_answer(enum lane lane, const char *topic)
{
	return topic_list_has(&ANSWERS[lane], topic);
}

static bool has_user_lane(const struct rules *rules, const char *principal)
{
	return principal && *principal && !strpbrk(principal, "/+#") && !rules_is_shared(rules, principal)
	       && !rules_is_service(rules, principal);
}

enum lane rules_request_lane(const struct rules *rules, const char *principal, enum topic_kind kind)
{
	switch (kind) {
	case TOPIC_USER_REQUEST:
		return has_user_lane(rules, principal) ? LANE_USER : LANE_NONE;
	case TOPIC_CLIENT_REQUEST:
		return LANE_CLIENT;
	default:
		return LANE_NONE;
	}
}

/* The whole topic with its lane has to fit, too. A principal with a lane is a level as it stands. */
static bool lane_takes(const struct rules *rules, const struct caller *caller, enum topic_kind kind, const char *topic)
{
	enum lane lane = rules_request_lane(rules, caller->principal, kind);
	if (lane == LANE_NONE) {
		return false;
	}
	char *encoded = lane == LANE_CLIENT ? level_encode(caller->id) : NULL;
	const char *level = lane == LANE_CLIENT ? encoded : caller->principal;
	bool fits = level && lane_topic_size(rules->root, level, topic) - 1 <= TOPIC_MAX;
	free(encoded);
	return fits;
}

enum verdict rules_access(const struct rules *rules, const struct caller *caller, enum access access, const char *topic)
{
	enum topic_kind kind = rules_kind(rules, topic);
	bool is_service = rules_is_service(rules, caller->principal);
	bool has_plain_id = is_service || level_is_plain(caller->id);
	switch (TABLE[kind][access]) {
	case DEFER:
		return VERDICT_DEFER;
	case ALLOW:
		return VERDICT_ALLOW;
	case DENY:
		return VERDICT_DENY;
	case NEEDS_LANE:
		return !caller->leaving && lane_takes(rules, caller, kind, topic) ? VERDICT_ALLOW : VERDICT_DENY;
	case OWN_SESSION:
		return caller->resumes ? VERDICT_ALLOW : VERDICT_DENY;
	case NO_WILL:
		return caller->leaving ? VERDICT_DENY : VERDICT_DEFER;
	case PLAIN_ID:
		return has_plain_id ? VERDICT_DEFER : VERDICT_DENY;
	case PLAIN_ID_NO_WILL:
		return has_plain_id && !caller->leaving ? VERDICT_DEFER : VERDICT_DENY;
	case SERVICE_ONLY:
		return is_service ? VERDICT_ALLOW : VERDICT_DENY;
	}
	return VERDICT_DENY;
}
