#include "check.h"
#include "password.h"

/* Hashes created by mosquitto_passwd 2.0.11 and by Python's hashlib.pbkdf2_hmac. */
#define BY_MOSQUITTO                                                                                                   \
	"$7$101$lFcGw2djJ6IHYqTJ$"                                                                                     \
	"DW+vPyoUsTDhwC1goimK7oaWDridbdr7utxNv0ZWj9KF/DS1tpwHq3XgDpAdrjGBpWv67rgmjnCjvDiHDj/5cA=="
#define BY_PYTHON                                                                                                      \
	"$7$2$MDEyMzQ1Njc4OWFi$"                                                                                       \
	"RkT8zcpz5eeaGcG0oCyGYGFp4BIbgcHFV0ORd8zTSPsJ8U2X9yHo5vGHxLVabxv203ItL7s8qyfn3SLJE3KkkA=="
#define LONG_SALT                                                                                                      \
	"$7$4000$eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eA==$"         \
	"bRRY7Y1kBRa+oCEVdcM2VVJoOrUzkQCiVtt6ppAv5gxgEpOJICLcXf4apqG6WVfPnda5KLYCG5FQlhxO+z7oBA=="
#define MOST_ITERATIONS                                                                                                \
	"$7$20000$c2FsdA==$"                                                                                           \
	"gyW1OJDNewgltN1lYVYAkwLv2luX+D4HY8NKqEg+8qZLz3O+opeQt1WqYLTUKianCeUn8nB1UlYzm2vJPAWX7g=="
#define HASH "RkT8zcpz5eeaGcG0oCyGYGFp4BIbgcHFV0ORd8zTSPsJ8U2X9yHo5vGHxLVabxv203ItL7s8qyfn3SLJE3KkkA=="
#define SALT "MDEyMzQ1Njc4OWFi"
#define PASSWORD "p\xc3\xa4ssword"

static void test_passwords(void)
{
	static const struct {
		const char *name, *stored, *password;
		enum password_result result;
	} cases[] = {
		{"mosquitto_passwd's", BY_MOSQUITTO, "correct horse", PASSWORD_RIGHT},
		{"mosquitto_passwd's, wrong", BY_MOSQUITTO, "correct horses", PASSWORD_WRONG},
		{"mosquitto_passwd's, empty", BY_MOSQUITTO, "", PASSWORD_WRONG},
		{"Python's", BY_PYTHON, PASSWORD, PASSWORD_RIGHT},
		{"Python's, wrong", BY_PYTHON, "password", PASSWORD_WRONG},
		{"a salt of 64 bytes", LONG_SALT, "people", PASSWORD_RIGHT},
		{"as many iterations as may be", MOST_ITERATIONS, "limit", PASSWORD_RIGHT},
		{"one more", "$7$20001$" SALT "$" HASH, PASSWORD, PASSWORD_TOO_COSTLY},
		{"as many as an int holds", "$7$2147483647$" SALT "$" HASH, PASSWORD, PASSWORD_TOO_COSTLY},
		{"more than an int holds", "$7$99999999999999999999999$" SALT "$" HASH, PASSWORD, PASSWORD_TOO_COSTLY},
		{"none", "$7$0$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"less than none", "$7$-1$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"with a blank", "$7$ 2$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"without a number", "$7$$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"a word for a number", "$7$two$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"another scheme", "$6$" SALT "$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"nothing", "", PASSWORD, PASSWORD_UNREADABLE},
		{"a dollar", "$", PASSWORD, PASSWORD_UNREADABLE},
		{"the scheme alone", "$7$", PASSWORD, PASSWORD_UNREADABLE},
		{"no salt", "$7$2$$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"no hash", "$7$2$" SALT "$", PASSWORD, PASSWORD_UNREADABLE},
		{"no end of the salt", "$7$2$" SALT, PASSWORD, PASSWORD_UNREADABLE},
		{"a fifth part", "$7$2$" SALT "$" HASH "$", PASSWORD, PASSWORD_UNREADABLE},
		{"a short hash", "$7$2$" SALT "$" SALT, PASSWORD, PASSWORD_UNREADABLE},
		{"a long hash", "$7$2$" SALT "$AAAA" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"no base64", "$7$2$!DEyMzQ1Njc4OWFi$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"blanks in base64", "$7$2$ DEyMzQ1Njc4OWFi$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"padding in the middle", "$7$2$MD==MzQ1Njc4OWFi$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"padding only", "$7$2$====$" HASH, PASSWORD, PASSWORD_UNREADABLE},
		{"half of base64", "$7$2$MDE$" HASH, PASSWORD, PASSWORD_UNREADABLE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *stored = strdup(cases[i].stored); /* a block of its own for AddressSanitizer */
		CHECK(password_check(stored, cases[i].password) == cases[i].result, cases[i].name);
		free(stored);
	}
}

static void test_hostile_length(void)
{
	char *salt = text_of('A', 65532), *password = text_of('p', 65535), *stored = NULL;
	if (asprintf(&stored, "$7$2$%s$%s", salt, HASH) < 0) {
		abort();
	}
	CHECK(password_check(stored, PASSWORD) == PASSWORD_UNREADABLE, "a salt of 48 kB");
	CHECK(password_check(BY_PYTHON, password) == PASSWORD_WRONG, "a password of 65 535 bytes");
	CHECK(password_check(password, password) == PASSWORD_UNREADABLE, "a hash of 65 535 letters");
	free(salt);
	free(password);
	free(stored);
}

static void test_iterations(void)
{
	CHECK(password_iterations(BY_MOSQUITTO) == 101, "mosquitto_passwd's");
	CHECK(password_iterations(LONG_SALT) == 4000, "Python's");
	CHECK(password_iterations("$7$x$y$z") == 0, "unreadable");
}

static void test_tokens(void)
{
	unsigned char key[TOKEN_KEY_BYTES];
	char hash[TOKEN_HASH_SIZE], *longest = text_of('t', 65535);
	for (size_t i = 0; i < sizeof(key); i++) {
		key[i] = (unsigned char)i;
	}
	CHECK(token_hash(key, "Eypdinl1gUF5fSerOPJF", hash), "a token");
	CHECK(strcmp(hash, "zAshJhsSkLKlmhB6YIxN27Vx8qTTVtwvvXsEqeiO288=") == 0, "a token, by Python");
	CHECK(token_hash(key, "", hash), "an empty token");
	CHECK(strcmp(hash, "04tCCW2A9F+Ca0Sp1WB95ySWpBXT9KGoyI47udqNwcs=") == 0, "an empty token, by Python");
	CHECK(token_hash(key, longest, hash) && strlen(hash) == 44, "a token of 65 535 bytes");
	free(longest);
}

#define DIGITS "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

static void test_keys(void)
{
	static const struct {
		const char *text;
		bool is_key;
	} cases[] = {
		{DIGITS, true},       {DIGITS "\n", true},  {" \t" DIGITS "\r\n", true}, {"", false},
		{DIGITS "0", false},  {DIGITS "00", false}, {"00010", false},            {"\n", false},
		{"g" DIGITS, false},  {DIGITS " x", false},
	};
	unsigned char key[TOKEN_KEY_BYTES];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *text = strdup(cases[i].text);
		CHECK(token_key_read(text, key) == cases[i].is_key, cases[i].text);
		free(text);
	}
	CHECK(token_key_read(DIGITS, key) && key[1] == 1 && key[31] == 0x1f, "its bytes");
}

int main(void)
{
	test_passwords();
	test_hostile_length();
	test_iterations();
	test_tokens();
	test_keys();
	return check_end("password");
}
