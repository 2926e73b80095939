/* Who may do what with which topic, and who has which lane. Tables, no state.
 *
 * Pure: never asks the broker, never looks at a payload.
 */
#ifndef CLAIMSVC_RULES_H
#define CLAIMSVC_RULES_H

#include "topics.h"

struct rules {
	const char *root;
	const char *service;             /* the service's user */
	struct topic_list user_topics;   /* plain requests that go to the user's lane */
	struct topic_list client_topics; /* plain requests that go to the lane of a shared login's client */
	struct topic_list open_logins;   /* logins that need no password; one level each */
};

/* Whoever asks. `principal` is NULL for a client without a name. */
struct caller {
	const char *principal;
	const char *id;
	bool resumes; /* takes up its own earlier session right now */
	bool leaving; /* is disconnected: what it writes now is its will */
};

enum topic_kind {
	TOPIC_OTHER = 0, /* for own logins, left to the ACL file */
	TOPIC_STATUS,
	TOPIC_USER_REQUEST,
	TOPIC_USER_ANSWER,
	TOPIC_POLL,        /* a new device asks for its credentials */
	TOPIC_CREDENTIALS, /* and gets them */
	TOPIC_ERRORS,      /* agents listen there too, and nothing is ever published */
	TOPIC_PROVISION_REQUEST,
	TOPIC_PROVISION_ANSWER,
	TOPIC_IN_USER_LANE,
	TOPIC_IN_CLIENT_LANE,
	TOPIC_CONTROL,
	TOPIC_KINDS,
};

/* What a client logged in as. Only LOGIN_OWN has a user's lane. */
enum login_kind {
	LOGIN_NAMELESS = 0, /* without a name, or with one that is no topic level */
	LOGIN_OWN,
	LOGIN_SERVICE,
	LOGIN_BOOTSTRAP,
	LOGIN_PROVISION,
	LOGIN_OPEN, /* an open login of any other name */
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

/* The lane a plain request of this kind goes to, LANE_NONE when the caller has none. */
enum lane rules_request_lane(const struct rules *rules, const char *principal, enum topic_kind kind);

/* Whether the service serves this plain request topic in the lanes of a shared login. */
bool rules_is_client_request(const char *topic);

/* Whether this plain topic is an answer to requests of this lane. */
bool rules_is_answer(enum lane lane, const char *topic);

bool rules_is_service(const struct rules *rules, const char *principal);

/* Whether many devices log in as this principal, one after the other having credentials of its own. */
bool rules_is_shared(const struct rules *rules, const char *principal);
bool rules_is_open(const struct rules *rules, const char *login);

/* Whether only the service may have this client id. */
bool rules_is_reserved_id(const char *id);

#endif
