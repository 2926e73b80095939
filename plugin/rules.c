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

#define BOOTSTRAP "bootstrap"
#define PROVISION "provision"

#define LIST_OF(array)                                                                                                 \
	{                                                                                                              \
		(char **)(array), sizeof(array) / sizeof((array)[0])                                                   \
	}
static const struct topic_list USER_LIST = LIST_OF(USER_ANSWERS);

/* The topics in the lanes of shared logins. `+` is one level. */
static const struct {
	const char *topic;
	enum topic_kind kind;
	bool is_plain; /* also valid as a plain topic, without the lane */
} CLIENT_TOPICS[] = {
	{"s/ucr", TOPIC_POLL, true},
	{"s/dcr", TOPIC_CREDENTIALS, true},
	{"request/+/POST/devicecontrol/deviceCredentials", TOPIC_POLL, false},
	{"response/+", TOPIC_CREDENTIALS, false},
	{"/provision/request", TOPIC_PROVISION_REQUEST, true},
	{"/provision/response", TOPIC_PROVISION_ANSWER, true},
};
#define CLIENT_TOPIC_COUNT (sizeof(CLIENT_TOPICS) / sizeof(CLIENT_TOPICS[0]))

/* The values of the table below. */
enum rule {
	DENY = 0,
	DEFER,
	ALLOW,
	TO_LANE,     /* the message is moved to the caller's lane, if its topic fits; never for a will */
	OWN_SESSION, /* for a resumed session only; new answers are delivered directly, without an access check */
	NO_WILL,     /* DEFER, but DENY for a will: the plugin does not get the message and could not stamp it */
	OWN_LANE,    /* in the lane of the caller's own login and client id: the same as for the topic without the lane */
};

/* Own logins: topics of other systems are left to the ACL file. No client may read requests on plain topics, because they
 * are moved from there. No client may publish answers there, because other clients would trust them. Shared logins may
 * use the listed topics only, whatever the ACL file says, because many unknown devices use these logins. */
struct cell {
	enum rule access[ACCESSES];
};
#define CELL(read, write, subscribe) {{read, write, subscribe, ALLOW}} /* unsubscribing is harmless */
#define NOTHING CELL(DENY, DENY, DENY)
#define REST CELL(DEFER, DEFER, DEFER)
#define REQUEST CELL(DENY, TO_LANE, DENY)
#define ANSWER CELL(OWN_SESSION, DENY, ALLOW)
#define SILENT CELL(DENY, DENY, ALLOW) /* a client may subscribe, but receives nothing */
#define LISTEN CELL(ALLOW, DENY, ALLOW)
#define USERS CELL(DEFER, NO_WILL, DEFER)
#define CLIENTS CELL(OWN_LANE, OWN_LANE, OWN_LANE)
#define EAR CELL(DENY, ALLOW, DENY)

static const struct cell TABLE[TOPIC_KINDS][LOGIN_KINDS] = {
	/*                           nameless  own      service  bootstrap provision other open login */
	[TOPIC_OTHER] =             {REST,     REST,    REST,    NOTHING,  NOTHING,  NOTHING},
	[TOPIC_STATUS] =            {REST,     REST,    REST,    LISTEN,   LISTEN,   LISTEN},
	[TOPIC_USER_REQUEST] =      {NOTHING,  REQUEST, NOTHING, NOTHING,  NOTHING,  NOTHING},
	[TOPIC_USER_ANSWER] =       {ANSWER,   ANSWER,  ANSWER,  NOTHING,  NOTHING,  NOTHING},
	[TOPIC_POLL] =              {NOTHING,  NOTHING, NOTHING, REQUEST,  NOTHING,  NOTHING},
	[TOPIC_CREDENTIALS] =       {SILENT,   SILENT,  SILENT,  ANSWER,   NOTHING,  NOTHING},
	[TOPIC_ERRORS] =            {REST,     REST,    REST,    SILENT,   NOTHING,  NOTHING},
	[TOPIC_PROVISION_REQUEST] = {NOTHING,  NOTHING, NOTHING, NOTHING,  REQUEST,  NOTHING},
	[TOPIC_PROVISION_ANSWER] =  {SILENT,   SILENT,  SILENT,  NOTHING,  ANSWER,   NOTHING},
	[TOPIC_IN_USER_LANE] =      {USERS,    USERS,   USERS,   NOTHING,  NOTHING,  NOTHING},
	[TOPIC_IN_CLIENT_LANE] =    {NOTHING,  NOTHING, USERS,   CLIENTS,  CLIENTS,  NOTHING},
	[TOPIC_CONTROL] =           {NOTHING,  NOTHING, EAR,     NOTHING,  NOTHING,  NOTHING},
};

/* --- kinds of topics */

static bool matches(const char *filter, const char *topic)
{
	const char *plus = strchr(filter, '+');
	size_t before = plus ? (size_t)(plus - filter) : strlen(filter);
	if (!plus || strncmp(filter, topic, before) != 0) {
		return strcmp(filter, topic) == 0;
	}
	return strcmp(topic + before + strcspn(topic + before, "/#"), plus + 1) == 0;
}

static enum topic_kind kind_in_client_lane(const char *topic)
{
	for (size_t i = 0; i < CLIENT_TOPIC_COUNT; i++) {
		if (matches(CLIENT_TOPICS[i].topic, topic)) {
			return CLIENT_TOPICS[i].kind;
		}
	}
	return TOPIC_OTHER;
}

static bool is_request(enum topic_kind kind)
{
	return kind == TOPIC_POLL || kind == TOPIC_PROVISION_REQUEST;
}

static enum topic_kind plain_client_kind(const char *topic)
{
	for (size_t i = 0; i < CLIENT_TOPIC_COUNT; i++) {
		if (CLIENT_TOPICS[i].is_plain && strcmp(CLIENT_TOPICS[i].topic, topic) == 0) {
			return CLIENT_TOPICS[i].kind;
		}
	}
	return TOPIC_OTHER;
}

/* Plain request topics count as requests only if they are listed in the option client_topics. */
static enum topic_kind plain_kind(const struct rules *rules, const char *topic)
{
	enum topic_kind kind = plain_client_kind(topic);
	if (is_request(kind) && !topic_list_has(&rules->client_topics, topic)) {
		return TOPIC_OTHER;
	}
	return strcmp(topic, "s/e") == 0 ? TOPIC_ERRORS : kind;
}

static bool is_status(const struct rules *rules, const char *topic)
{
	size_t length = strlen(rules->root);
	return strncmp(topic, rules->root, length) == 0 && strcmp(topic + length, "/status") == 0;
}

enum topic_kind rules_kind(const struct rules *rules, const char *topic)
{
	struct lane_topic parts;
	if (lane_topic_split(&parts, rules->root, topic)) {
		return parts.lane == LANE_USER ? TOPIC_IN_USER_LANE : TOPIC_IN_CLIENT_LANE;
	}
	if (topic_list_has(&rules->user_topics, topic)) {
		return TOPIC_USER_REQUEST;
	}
	if (topic_list_has(&USER_LIST, topic)) {
		return TOPIC_USER_ANSWER;
	}
	if (strcmp(topic, CONTROL_TOPIC) == 0) {
		return TOPIC_CONTROL;
	}
	return is_status(rules, topic) ? TOPIC_STATUS : plain_kind(rules, topic);
}

bool rules_is_client_request(const char *topic)
{
	return is_request(plain_client_kind(topic));
}

/* --- kinds of logins */

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
	return rules_login_kind(rules, principal) >= LOGIN_BOOTSTRAP;
}

bool rules_is_reserved_id(const char *id)
{
	size_t prefix = strlen(SERVICE_ID_PREFIX);
	return strncmp(id, SERVICE_ID_PREFIX, prefix) == 0 && strlen(id) == prefix + SERVICE_ID_DIGITS
	       && strspn(id + prefix, "0123456789abcdefABCDEF") == SERVICE_ID_DIGITS;
}

bool rules_is_answer(enum lane lane, const char *topic)
{
	if (lane == LANE_USER) {
		return topic_list_has(&USER_LIST, topic);
	}
	enum topic_kind kind = plain_client_kind(topic);
	return kind != TOPIC_OTHER && !is_request(kind);
}

enum login_kind rules_login_kind(const struct rules *rules, const char *principal)
{
	if (!principal || !*principal) {
		return LOGIN_NAMELESS;
	}
	if (rules_is_service(rules, principal)) {
		return LOGIN_SERVICE;
	}
	if (strcmp(principal, BOOTSTRAP) == 0) {
		return LOGIN_BOOTSTRAP;
	}
	if (strcmp(principal, PROVISION) == 0) {
		return LOGIN_PROVISION;
	}
	if (rules_is_open(rules, principal)) {
		return LOGIN_OPEN;
	}
	return strpbrk(principal, "/+#") ? LOGIN_NAMELESS : LOGIN_OWN;
}

/* --- access */

enum lane rules_request_lane(const struct rules *rules, const char *principal, enum topic_kind kind)
{
	if (TABLE[kind][rules_login_kind(rules, principal)].access[ACCESS_WRITE] != TO_LANE) {
		return LANE_NONE;
	}
	return kind == TOPIC_USER_REQUEST ? LANE_USER : LANE_CLIENT;
}

/* Return whether the topic with its lane is not too long. A principal with a lane needs no encoding. */
static bool lane_takes(const struct rules *rules, const struct caller *caller, enum lane lane, const char *topic)
{
	char *encoded = lane == LANE_CLIENT ? level_encode(caller->id) : NULL;
	const char *login = lane == LANE_CLIENT ? caller->principal : NULL;
	const char *level = lane == LANE_CLIENT ? encoded : caller->principal;
	bool fits = level && lane_topic_size(rules->root, login, level, topic) - 1 <= TOPIC_MAX;
	free(encoded);
	return fits;
}

static bool is_level(const char *text, const char *level, size_t length)
{
	return strlen(text) == length && memcmp(text, level, length) == 0;
}

/* A client may use in its own lane what it may use on plain topics, and may read its answers there. A client id that
 * needs encoding has no lane for direct use: its literal text could be the encoded id of another client. */
static bool has_in_own_lane(enum login_kind login, const struct caller *caller, enum access access, const char *root,
			    const char *topic)
{
	struct lane_topic parts;
	if (!lane_topic_split(&parts, root, topic) || !level_is_plain(caller->id)
	    || !is_level(caller->principal, parts.login, parts.login_length)
	    || !is_level(caller->id, parts.level, parts.level_length)) {
		return false;
	}
	switch (TABLE[kind_in_client_lane(parts.topic)][login].access[access]) {
	case TO_LANE:
		return !caller->leaving;
	case OWN_SESSION:
	case ALLOW:
		return true;
	default:
		return false;
	}
}

enum verdict rules_access(const struct rules *rules, const struct caller *caller, enum access access, const char *topic)
{
	enum topic_kind kind = rules_kind(rules, topic);
	enum login_kind login = rules_login_kind(rules, caller->principal);
	bool may = false;
	switch (TABLE[kind][login].access[access]) {
	case DEFER:
		return VERDICT_DEFER;
	case NO_WILL:
		return caller->leaving ? VERDICT_DENY : VERDICT_DEFER;
	case DENY:
		break;
	case ALLOW:
		may = true;
		break;
	case TO_LANE:
		may = !caller->leaving
		      && lane_takes(rules, caller, kind == TOPIC_USER_REQUEST ? LANE_USER : LANE_CLIENT, topic);
		break;
	case OWN_SESSION:
		may = caller->resumes;
		break;
	case OWN_LANE:
		may = has_in_own_lane(login, caller, access, rules->root, topic);
		break;
	}
	return may ? VERDICT_ALLOW : VERDICT_DENY;
}
