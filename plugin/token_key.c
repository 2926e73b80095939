#include "token_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX 256

struct token_key {
	char *path;
	struct stat file; /* as it was when `bytes` were read */
	bool is_read;
	unsigned char bytes[TOKEN_KEY_BYTES];
	const char *trouble;
};

struct token_key *token_key_new(const char *path)
{
	struct token_key *key = calloc(1, sizeof(*key));
	if (key) {
		key->path = strdup(path);
	}
	if (key && !key->path) {
		free(key);
		return NULL;
	}
	return key;
}

void token_key_free(struct token_key *key)
{
	if (key) {
		OPENSSL_cleanse(key->bytes, sizeof(key->bytes));
		free(key->path);
		free(key);
	}
}

static bool is_same_file(const struct stat *one, const struct stat *other)
{
	return one->st_ino == other->st_ino && one->st_dev == other->st_dev && one->st_size == other->st_size
	       && one->st_mtim.tv_sec == other->st_mtim.tv_sec && one->st_mtim.tv_nsec == other->st_mtim.tv_nsec;
}

/* Return NULL if the key was read, otherwise the reason. */
static const char *read_key(struct token_key *key)
{
	char text[FILE_MAX + 1];
	FILE *file = fopen(key->path, "re");
	if (!file) {
		return strerror(errno);
	}
	size_t length = fread(text, 1, FILE_MAX, file);
	fclose(file);
	text[length] = '\0';
	key->is_read = token_key_read(text, key->bytes);
	OPENSSL_cleanse(text, sizeof(text));
	return key->is_read ? NULL : "it does not contain 64 hexadecimal digits";
}

const unsigned char *token_key_get(struct token_key *key)
{
	struct stat file;
	if (stat(key->path, &file) != 0) {
		/* Keep using a key that was read before: the tokens in the database were hashed with it. */
		key->trouble = key->is_read ? NULL : strerror(errno);
	} else if (!key->is_read || !is_same_file(&file, &key->file)) {
		key->trouble = read_key(key);
		key->file = file;
	}
	return key->is_read ? key->bytes : NULL;
}

const char *token_key_trouble(const struct token_key *key)
{
	return key->trouble;
}
