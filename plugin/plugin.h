/* What the callbacks share. Each is called by the broker's only thread.
 *
 * entering.c: who gets in. events.c: what those who are in may do, and do. plugin.c: start, options, end.
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

	bool has_ticked;          /* the broker tells us when its loop turns */
	bool is_reloading;        /* it checks again, now, the logins of those that are connected */
	enum trouble logged_trouble;
	const char *logged_key_trouble;

	const void *gone;         /* who has just been disconnected: what it writes now is its will */
	const void *entering;     /* who has just logged in ... */
	bool entering_may_resume; /* ... and may have the answers in the session it takes up */
};

/* The events, as the broker calls them. */
int on_basic_auth(int event_number, void *event_data, void *userdata);
int on_reload(int event_number, void *event_data, void *userdata);
int on_disconnect(int event_number, void *event_data, void *userdata);
int on_tick(int event_number, void *event_data, void *userdata);
int on_acl_check(int event_number, void *event_data, void *userdata);
int on_message(int event_number, void *event_data, void *userdata);
int on_control(int event_number, void *event_data, void *userdata);

#endif
