/* Access rules for topics, and the lanes of logins. Tables without state.
 *
 * Pure: never calls the broker, never reads a payload.
 */
#ifndef CLAIMSVC_RULES_H
#define CLAIMSVC_RULES_H

#include "topics.h"

struct rules {
	const char *root;
	const char *service;             /* the service's username */
	struct topic_list user_topics;   /* plain requests that are moved to the user's lane */
	struct topic_list client_topics; /* plain requests that are moved to the lane of a shared login and client id */
	struct topic_list open_logins;   /* logins that need no password; each is one topic level */
};

/* The client whose access is checked. `principal` is NULL for a client without a name. */
struct caller {
	const char *principal;
	const char *id;
	bool resumes; /* is resuming its own session at this moment */
	bool leaving; /* has disconnected: the message is its will */
};

enum topic_kind {
	TOPIC_OTHER = 0, /* left to the ACL file, for own logins */
	TOPIC_STATUS,
	TOPIC_USER_REQUEST,
	TOPIC_USER_ANSWER,
	TOPIC_POLL,        /* a new device requests its credentials */
	TOPIC_CREDENTIALS, /* the answer to a poll */
	TOPIC_ERRORS,      /* agents subscribe to it; nothing is ever published */
	TOPIC_PROVISION_REQUEST,
	TOPIC_PROVISION_ANSWER,
	TOPIC_IN_USER_LANE,
	TOPIC_IN_CLIENT_LANE,
	TOPIC_CONTROL,
	TOPIC_KINDS,
};

/* The kind of a client's login. Only LOGIN_OWN has a user's lane. */
enum login_kind {
	LOGIN_NAMELESS = 0, /* without a name, or with a name that is no topic level */
	LOGIN_OWN,
	LOGIN_SERVICE,
	LOGIN_BOOTSTRAP,
	LOGIN_PROVISION,
	LOGIN_OPEN, /* an open login with any other name */
	LOGIN_KINDS,
};

enum access {
	ACCESS_READ = 0,
	ACCESS_WRITE,
	ACCESS_SUBSCRIBE,
	ACCESS_UNSUBSCRIBE,
	ACCESSES,
};

enum verdict {
	VERDICT_DEFER = 0, /* the ACL file decides */
	VERDICT_ALLOW,
	VERDICT_DENY,
};

#define CONTROL_TOPIC "$CONTROL/claimsvc/v1"

enum topic_kind rules_kind(const struct rules *rules, const char *topic);
enum login_kind rules_login_kind(const struct rules *rules, const char *principal);
enum verdict rules_access(const struct rules *rules, const struct caller *caller, enum access access, const char *topic);

/* The lane that a plain request of this kind is moved to; LANE_NONE if the caller has none. */
enum lane rules_request_lane(const struct rules *rules, const char *principal, enum topic_kind kind);

/* True if this plain topic is a request in the lanes of a shared login. */
bool rules_is_client_request(const char *topic);

/* True if this plain topic is an answer to requests of this lane. */
bool rules_is_answer(enum lane lane, const char *topic);

bool rules_is_service(const struct rules *rules, const char *principal);

/* True if many devices share this principal, until they get credentials of their own. */
bool rules_is_shared(const struct rules *rules, const char *principal);
bool rules_is_open(const struct rules *rules, const char *login);

/* True if this client id is reserved for the service. */
bool rules_is_reserved_id(const char *id);

#endif
