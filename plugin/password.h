/* Password hashes in Mosquitto's `$7$` format, and the keyed hash of access tokens.
 *
 * Pure: no database, no files, no log. Compares in constant time.
 */
#ifndef CLAIMSVC_PASSWORD_H
#define CLAIMSVC_PASSWORD_H

#include <stdbool.h>

/* Limit that protects the broker's only thread. A hash with more iterations is refused. */
#define ITERATIONS_MAX 20000

#define TOKEN_KEY_BYTES 32
#define TOKEN_HASH_SIZE 45 /* base64 of 32 bytes, and NUL */

enum password_result {
	PASSWORD_RIGHT = 0,
	PASSWORD_WRONG,
	PASSWORD_UNREADABLE, /* the stored text is no hash of this format */
	PASSWORD_TOO_COSTLY, /* more than ITERATIONS_MAX */
};

/* Compare with `$7$<iterations>$<salt, base64>$<hash, base64>`: PBKDF2-SHA512. */
enum password_result password_check(const char *stored, const char *password);

/* The iterations of a stored hash, 0 if it is unreadable. */
int password_iterations(const char *stored);

/* Spend the time of a comparison with a hash of this many iterations. */
void password_take_time(int iterations, const char *password);

/* base64(HMAC-SHA-256(key, token)), the key to look up an access token. False if the library fails. */
bool token_hash(const unsigned char key[TOKEN_KEY_BYTES], const char *token, char hash[TOKEN_HASH_SIZE]);

/* Read TOKEN_KEY_BYTES hexadecimal bytes; white space around them is allowed. */
bool token_key_read(const char *text, unsigned char key[TOKEN_KEY_BYTES]);

#endif
