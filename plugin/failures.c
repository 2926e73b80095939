#include "failures.h"

#include "index.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SETS 2048
#define WAYS 8 /* 16 384 entries, 400 kB */

struct entry {
	uint64_t key; /* keyed hash: no client can cause a collision, and logins are not stored */
	int64_t since_s;
	unsigned count; /* 0: free */
};

struct failures {
	struct hash_key key;
	int64_t window_s;
	struct entry sets[SETS][WAYS];
};

struct failures *failures_new(int64_t window_s)
{
	struct failures *failures = calloc(1, sizeof(*failures));
	if (failures && !hash_key_make(&failures->key)) {
		free(failures);
		return NULL;
	}
	if (failures) {
		failures->window_s = window_s;
	}
	return failures;
}

void failures_free(struct failures *failures)
{
	free(failures);
}

/* Hash address and login separately first: otherwise "a" + "bc" and "ab" + "c" would have the same key. */
static uint64_t key_of(const struct failures *failures, const char *address, const char *login)
{
	uint64_t parts[2] = {hash_text(&failures->key, address), hash_text(&failures->key, login)};
	return hash_bytes(&failures->key, parts, sizeof(parts));
}

static bool counts(const struct failures *failures, const struct entry *entry, int64_t now_s)
{
	return entry->count > 0 && now_s - entry->since_s < failures->window_s;
}

unsigned failures_of(const struct failures *failures, const char *address, const char *login, int64_t now_s)
{
	uint64_t key = key_of(failures, address, login);
	const struct entry *set = failures->sets[key % SETS];
	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key && counts(failures, &set[i], now_s)) {
			return set[i].count;
		}
	}
	return 0;
}

/* Return the entry for `key`: its own, otherwise one that has expired, otherwise the one with the fewest failures. So a
 * flood of logins evicts its own entries before it evicts a locked login. */
static struct entry *place_for(struct failures *failures, uint64_t key, int64_t now_s)
{
	struct entry *set = failures->sets[key % SETS], *best = set;
	unsigned fewest = UINT_MAX;
	for (int i = 0; i < WAYS; i++) {
		bool is_live = counts(failures, &set[i], now_s);
		if (is_live && set[i].key == key) {
			return &set[i];
		}
		unsigned count = is_live ? set[i].count : 0;
		if (count < fewest) {
			fewest = count;
			best = &set[i];
		}
	}
	*best = (struct entry){.key = key, .since_s = now_s};
	return best;
}

void failures_add(struct failures *failures, const char *address, const char *login, int64_t now_s)
{
	struct entry *entry = place_for(failures, key_of(failures, address, login), now_s);
	if (entry->count < UINT_MAX) {
		entry->count++;
	}
}

void failures_forget(struct failures *failures, const char *address, const char *login)
{
	uint64_t key = key_of(failures, address, login);
	struct entry *set = failures->sets[key % SETS];
	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key) {
			set[i].count = 0;
		}
	}
}
