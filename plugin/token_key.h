/* The key file of access tokens. It is read on first use, and again after it has changed.
 *
 * Never logs a key, never creates one.
 */
#ifndef CLAIMSVC_TOKEN_KEY_H
#define CLAIMSVC_TOKEN_KEY_H

#include "password.h"

struct token_key;

struct token_key *token_key_new(const char *path);
void token_key_free(struct token_key *key);

/* The key, or NULL if there is none; then token_key_trouble() says why. */
const unsigned char *token_key_get(struct token_key *key);
const char *token_key_trouble(const struct token_key *key);

#endif
