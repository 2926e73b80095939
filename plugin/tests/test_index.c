#include "check.h"
#include "index.h"

/* Test vectors of SipHash-2-4's authors: key 00 to 0f, input 00, 01, 02 ... */
static void test_hash(void)
{
	static const struct {
		size_t length;
		uint64_t hash;
	} cases[] = {
		{0, 0x726fdb47dd0e0e31ULL}, {1, 0x74f839c593dc67fdULL},  {7, 0xab0200f58b01d137ULL},
		{8, 0x93f5f5799a932462ULL}, {15, 0xa129ca6149be45e5ULL},
	};
	struct hash_key key = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned char *bytes = malloc(cases[i].length + 1);
		for (size_t at = 0; at < cases[i].length; at++) {
			bytes[at] = (unsigned char)at;
		}
		CHECK(hash_bytes(&key, bytes, cases[i].length) == cases[i].hash, "a vector");
		free(bytes);
	}
}

/* The index finds exactly the links of one hash, whatever else is in the bucket and however often it has grown. */
static void test_links(void)
{
	struct index index;
	struct link links[300];
	CHECK(index_init(&index), "memory");
	for (size_t i = 0; i < COUNT_OF(links); i++) {
		index_add(&index, &links[i], i % 100 * 64);
	}
	size_t count = 0;
	for (struct link *link = index_first(&index, 64); link; link = index_next(link)) {
		count++;
	}
	CHECK(count == 3 && index.count == 300, "three of a hash");
	index_remove(&index, &links[1]);
	index_remove(&index, &links[1]);
	CHECK(index.count == 299, "removed once");
	CHECK(!index_first(&index, 63), "none of another hash");
	index_clear(&index);
}

int main(void)
{
	test_hash();
	test_links();
	return check_end("index");
}
