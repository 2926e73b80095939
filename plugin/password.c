#include "password.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define HASH_BYTES 64
#define SALT_MAX 256
#define BASE64_MAX 344 /* characters of SALT_MAX bytes */

struct stored_hash {
	int iterations;
	unsigned char salt[SALT_MAX];
	int salt_length;
	unsigned char hash[HASH_BYTES];
};

/* Decode a base64 text. Return -1 if it is malformed or longer than `size` bytes. EVP_DecodeBlock counts padding as
 * bytes and ignores blanks, hence the extra checks. */
static int base64_decode(const char *text, size_t length, unsigned char *out, size_t size)
{
	static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char decoded[SALT_MAX + 3];
	if (length == 0 || length % 4 != 0 || length > BASE64_MAX) {
		return -1;
	}
	size_t padding = (text[length - 1] == '=') + (text[length - 1] == '=' && text[length - 2] == '=');
	if (strspn(text, ALPHABET) < length - padding) {
		return -1;
	}
	int bytes = EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)length) - (int)padding;
	if (bytes < 0 || (size_t)bytes > size) {
		return -1;
	}
	memcpy(out, decoded, (size_t)bytes);
	return bytes;
}

/* Read a decimal number without sign or blanks; 0 if malformed, ITERATIONS_MAX + 1 if above the limit. */
static int iterations_read(const char *text, size_t length)
{
	int number = 0;
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i])) {
			return 0;
		}
		if (number <= ITERATIONS_MAX) {
			number = number * 10 + (text[i] - '0');
		}
	}
	return number > ITERATIONS_MAX ? ITERATIONS_MAX + 1 : number;
}

static bool stored_hash_read(struct stored_hash *parts, const char *stored)
{
	if (strncmp(stored, "$7$", 3) != 0) {
		return false;
	}
	const char *iterations = stored + 3;
	const char *salt = strchr(iterations, '$');
	const char *hash = salt ? strchr(salt + 1, '$') : NULL;
	if (!hash) {
		return false;
	}
	parts->iterations = iterations_read(iterations, (size_t)(salt - iterations));
	parts->salt_length = base64_decode(salt + 1, (size_t)(hash - salt - 1), parts->salt, sizeof(parts->salt));
	int length = base64_decode(hash + 1, strlen(hash + 1), parts->hash, sizeof(parts->hash));
	return parts->iterations > 0 && parts->salt_length > 0 && length == HASH_BYTES;
}

static bool derive(const struct stored_hash *parts, const char *password, unsigned char made[HASH_BYTES])
{
	return PKCS5_PBKDF2_HMAC(password, (int)strlen(password), parts->salt, parts->salt_length, parts->iterations,
				 EVP_sha512(), HASH_BYTES, made) == 1;
}

enum password_result password_check(const char *stored, const char *password)
{
	struct stored_hash parts;
	unsigned char made[HASH_BYTES];
	if (!stored_hash_read(&parts, stored)) {
		return PASSWORD_UNREADABLE;
	}
	if (parts.iterations > ITERATIONS_MAX) {
		return PASSWORD_TOO_COSTLY;
	}
	if (!derive(&parts, password, made)) {
		return PASSWORD_WRONG;
	}
	bool same = CRYPTO_memcmp(parts.hash, made, HASH_BYTES) == 0;
	OPENSSL_cleanse(made, sizeof(made));
	return same ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

int password_iterations(const char *stored)
{
	struct stored_hash parts;
	return stored_hash_read(&parts, stored) ? parts.iterations : 0;
}

void password_take_time(int iterations, const char *password)
{
	unsigned char made[HASH_BYTES];
	struct stored_hash parts = {.iterations = iterations, .salt_length = 12};
	(void)derive(&parts, password, made);
}

bool token_hash(const unsigned char key[TOKEN_KEY_BYTES], const char *token, char hash[TOKEN_HASH_SIZE])
{
	unsigned char digest[32];
	unsigned int length = sizeof(digest);
	if (!HMAC(EVP_sha256(), key, TOKEN_KEY_BYTES, (const unsigned char *)token, strlen(token), digest, &length)) {
		return false;
	}
	return EVP_EncodeBlock((unsigned char *)hash, digest, (int)length) == TOKEN_HASH_SIZE - 1;
}

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9') {
		return digit - '0';
	}
	digit = (char)tolower((unsigned char)digit);
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

bool token_key_read(const char *text, unsigned char key[TOKEN_KEY_BYTES])
{
	text += strspn(text, " \t\r\n");
	for (size_t i = 0; i < TOKEN_KEY_BYTES; i++, text += 2) {
		int high = hex_digit(text[0]);
		int low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0) {
			return false;
		}
		key[i] = (unsigned char)(high << 4 | low);
	}
	return text[strspn(text, " \t\r\n")] == '\0';
}
