/* Password hashes in Mosquitto's `$7$` form and the keyed hash of access tokens.
 *
 * Pure: no row, no file, no log. Compares in constant time.
 */
#ifndef CLAIMSVC_PASSWORD_H
#define CLAIMSVC_PASSWORD_H

#include <stdbool.h>

/* What the broker's only thread can bear. A row that wants more is refused. */
#define ITERATIONS_MAX 20000

#define TOKEN_KEY_BYTES 32
#define TOKEN_HASH_SIZE 45 /* base64 of 32 bytes, and its end */

enum password_result {
	PASSWORD_RIGHT = 0,
	PASSWORD_WRONG,
	PASSWORD_UNREADABLE, /* the stored text is no hash of this form */
	PASSWORD_TOO_COSTLY, /* more than ITERATIONS_MAX */
};

/* Compare with `$7$<iterations>$<salt, base64>$<hash, base64>`: PBKDF2-SHA512. */
enum password_result password_check(const char *stored, const char *password);

/* The iterations a stored hash asks for, 0 when it is unreadable. */
int password_iterations(const char *stored);

/* Take the time of a comparison with a hash of so many iterations. */
void password_take_time(int iterations, const char *password);

/* base64(HMAC-SHA-256(key, token)), by which an access token is looked up. False when the library fails. */
bool token_hash(const unsigned char key[TOKEN_KEY_BYTES], const char *token, char hash[TOKEN_HASH_SIZE]);

/* Read TOKEN_KEY_BYTES as hexadecimal digits, blanks around them allowed. */
bool token_key_read(const char *text, unsigned char key[TOKEN_KEY_BYTES]);

#endif
