/* How often each (address, login) has failed lately: a table of fixed size, whatever comes.
 *
 * Pure: the time is an argument. What a number means is decided elsewhere (auth.c).
 */
#ifndef CLAIMSVC_FAILURES_H
#define CLAIMSVC_FAILURES_H

#include <stdint.h>

struct failures;

/* Failures count for `window_s` seconds from the first. NULL without memory or chance. */
struct failures *failures_new(int64_t window_s);
void failures_free(struct failures *failures);

unsigned failures_of(const struct failures *failures, const char *address, const char *login, int64_t now_s);
void failures_add(struct failures *failures, const char *address, const char *login, int64_t now_s);
void failures_forget(struct failures *failures, const char *address, const char *login);

#endif
