/* Helpers for unit tests: CHECK, texts of any length, and a summary. */
#ifndef CLAIMSVC_CHECK_H
#define CLAIMSVC_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks, failed_checks;

/* Report a condition that is false, with the name of the test case. */
#define CHECK(condition, name)                                                                                         \
	do {                                                                                                           \
		checks++;                                                                                              \
		if (!(condition)) {                                                                                    \
			failed_checks++;                                                                               \
			fprintf(stderr, "%s:%d: %s: not %s\n", __FILE__, __LINE__, (name), #condition);                \
		}                                                                                                      \
	} while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Return a text of `length` equal bytes; free it. The block has exactly this size, so that AddressSanitizer detects an
 * access after its end. */
__attribute__((unused)) static char *text_of(char byte, size_t length)
{
	char *text = malloc(length + 1);
	if (!text) {
		abort();
	}
	memset(text, byte, length);
	text[length] = '\0';
	return text;
}

static int check_end(const char *name)
{
	printf("%s: %d checks, %d failed\n", name, checks, failed_checks);
	return failed_checks ? 1 : 0;
}

#endif
