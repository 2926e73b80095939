/* Counts recent failures of each (address, login) in a table of fixed size.
 *
 * Pure: the time is an argument. auth.c decides about the limits.
 */
#ifndef CLAIMSVC_FAILURES_H
#define CLAIMSVC_FAILURES_H

#include <stdint.h>

struct failures;

/* A count expires `window_s` seconds after its first failure. NULL if out of memory or without random numbers. */
struct failures *failures_new(int64_t window_s);
void failures_free(struct failures *failures);

unsigned failures_of(const struct failures *failures, const char *address, const char *login, int64_t now_s);
void failures_add(struct failures *failures, const char *address, const char *login, int64_t now_s);
void failures_forget(struct failures *failures, const char *address, const char *login);

#endif
