#include "index.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64

bool hash_key_make(struct hash_key *key)
{
	return RAND_bytes((unsigned char *)key, sizeof(*key)) == 1;
}

static uint64_t rotated(uint64_t value, int by)
{
	return (value << by) | (value >> (64 - by));
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotated(v[1], 13) ^ v[0];
	v[0] = rotated(v[0], 32);
	v[2] += v[3];
	v[3] = rotated(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotated(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotated(v[1], 17) ^ v[2];
	v[2] = rotated(v[2], 32);
}

static uint64_t little_endian(const unsigned char *bytes, size_t length)
{
	uint64_t word = 0;
	for (size_t i = 0; i < length; i++) {
		word |= (uint64_t)bytes[i] << (8 * i);
	}
	return word;
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

uint64_t hash_bytes(const struct hash_key *key, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;
	uint64_t v[4] = {
		key->low ^ 0x736f6d6570736575ULL,
		key->high ^ 0x646f72616e646f6dULL,
		key->low ^ 0x6c7967656e657261ULL,
		key->high ^ 0x7465646279746573ULL,
	};
	size_t whole = length / 8;
	for (size_t i = 0; i < whole; i++, at += 8) {
		sip_word(v, little_endian(at, 8));
	}
	sip_word(v, little_endian(at, length % 8) | (uint64_t)length << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++) {
		sip_round(v);
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_text(const struct hash_key *key, const char *text)
{
	return hash_bytes(key, text, strlen(text));
}

bool index_init(struct index *index)
{
	*index = (struct index){.buckets = calloc(FIRST_SIZE, sizeof(struct link *)), .size = FIRST_SIZE};
	return index->buckets != NULL;
}

void index_clear(struct index *index)
{
	free(index->buckets);
	*index = (struct index){0};
}

static struct link **bucket_of(const struct index *index, uint64_t hash)
{
	return &index->buckets[hash & (index->size - 1)];
}

/* Double the number of buckets. If out of memory, the chains get longer instead. */
static void grow(struct index *index)
{
	struct index larger = {.size = index->size * 2};
	larger.buckets = calloc(larger.size, sizeof(struct link *));
	if (!larger.buckets) {
		return;
	}
	for (size_t i = 0; i < index->size; i++) {
		for (struct link *link = index->buckets[i], *next; link; link = next) {
			next = link->next;
			index_add(&larger, link, link->hash);
		}
	}
	free(index->buckets);
	*index = larger;
}

void index_add(struct index *index, struct link *link, uint64_t hash)
{
	if (index->count == index->size) {
		grow(index);
	}
	struct link **bucket = bucket_of(index, hash);
	*link = (struct link){.next = *bucket, .hash = hash};
	*bucket = link;
	index->count++;
}

void index_remove(struct index *index, struct link *link)
{
	for (struct link **at = bucket_of(index, link->hash); *at; at = &(*at)->next) {
		if (*at == link) {
			*at = link->next;
			index->count--;
			return;
		}
	}
}

static struct link *of_hash(struct link *link, uint64_t hash)
{
	while (link && link->hash != hash) {
		link = link->next;
	}
	return link;
}

struct link *index_first(const struct index *index, uint64_t hash)
{
	return of_hash(*bucket_of(index, hash), hash);
}

struct link *index_next(const struct link *link)
{
	return of_hash(link->next, link->hash);
}
