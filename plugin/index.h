/* A hash index over structures that contain its links, and its keyed hash function.
 *
 * Keys come from untrusted clients (client ids, logins). The hash has a random key, so that no client can choose keys of
 * one bucket. The index owns no entries and compares no keys; the caller does.
 */
#ifndef CLAIMSVC_INDEX_H
#define CLAIMSVC_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t low, high;
};

struct link {
	struct link *next;
	uint64_t hash;
};

struct index {
	struct link **buckets;
	size_t size; /* a power of two */
	size_t count;
};

/* The structure of `type` that contains `link` as `member`. */
#define INDEX_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Fill `key` with random bytes. False if there are none. */
bool hash_key_make(struct hash_key *key);

/* SipHash-2-4 of these bytes. */
uint64_t hash_bytes(const struct hash_key *key, const void *bytes, size_t length);
uint64_t hash_text(const struct hash_key *key, const char *text);

bool index_init(struct index *index);
void index_clear(struct index *index);
void index_add(struct index *index, struct link *link, uint64_t hash);
void index_remove(struct index *index, struct link *link);

/* Iterate over the links of one hash until NULL. */
struct link *index_first(const struct index *index, uint64_t hash);
struct link *index_next(const struct link *link);

#endif
