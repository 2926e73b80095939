/* A hash index over structures that carry its links, and the keyed hash behind it.
 *
 * Keys come from strangers (client ids, logins), so the hash is keyed with chance: nobody can aim at one bucket.
 * Never owns what it links, never compares keys: the caller does.
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

/* The structure of `type` that carries `link` in `member`. */
#define INDEX_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* Fill `key` with chance. False when there is none to be had. */
bool hash_key_make(struct hash_key *key);

/* SipHash-2-4 of these bytes. */
uint64_t hash_bytes(const struct hash_key *key, const void *bytes, size_t length);
uint64_t hash_text(const struct hash_key *key, const char *text);

bool index_init(struct index *index);
void index_clear(struct index *index);
void index_add(struct index *index, struct link *link, uint64_t hash);
void index_remove(struct index *index, struct link *link);

/* Walk the links of one hash: first, then next until NULL. */
struct link *index_first(const struct index *index, uint64_t hash);
struct link *index_next(const struct link *link);

#endif
