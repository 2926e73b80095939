/* The state that the callbacks share. The broker calls them all from its only thread.
 *
 * entering.c: logins. events.c: access and messages of connected clients. plugin.c: start, options, end.
 */
#ifndef CLAIMSVC_PLUGIN_H
#define CLAIMSVC_PLUGIN_H

#include "auth.h"
#include "broker.h"
#include "clients.h"
#include "index.h"
#include "messages.h"
#include "options.h"

struct plugin {
	mosquitto_plugin_id_t *identifier;
	struct options options;
	struct hash_key chance;
	struct auth auth;
	struct messages messages;
	struct clients *clients;

	bool has_ticked;          /* the broker sends tick events */
	bool is_reloading;        /* the broker is checking the logins of connected clients again */
	enum trouble logged_trouble;
	const char *logged_key_trouble;

	const void *gone;         /* the client that has just disconnected: a message from it is its will */
	const void *entering;     /* the client that has just logged in ... */
	bool entering_may_resume; /* ... and whether it may read the answers in the session that it resumes */
};

/* The callbacks for the broker's events. */
int on_basic_auth(int event_number, void *event_data, void *userdata);
int on_reload(int event_number, void *event_data, void *userdata);
int on_disconnect(int event_number, void *event_data, void *userdata);
int on_tick(int event_number, void *event_data, void *userdata);
int on_acl_check(int event_number, void *event_data, void *userdata);
int on_message(int event_number, void *event_data, void *userdata);
int on_control(int event_number, void *event_data, void *userdata);

#endif
