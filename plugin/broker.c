#include "broker.h"

#include <ctype.h>
#include <fcntl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *broker_user(const struct mosquitto *client)
{
	const char *user = mosquitto_client_username(client);
	return user ? user : "";
}

/* The broker frees the TLS session, and so the certificate, when the connection closes. */
bool broker_has_certificate(const struct mosquitto *client)
{
	X509 *certificate = mosquitto_client_certificate(client);
	X509_free(certificate);
	return certificate != NULL;
}

#if LIBMOSQUITTO_VERSION_NUMBER < 2001000
void broker_free_text(void *text)
{
	free(text);
}
#else
void broker_free_text(void *text)
{
	mosquitto_free(text);
}
#endif

#if LIBMOSQUITTO_VERSION_NUMBER < 2000015

#define FIRST_THAT_FREES 15

/* Return n if the whole string at `at` is `2.0.n`, otherwise -1. */
static int revision_at(const char *at, const char *end)
{
	int revision = -1;
	for (at += strlen("2.0."); at < end && isdigit((unsigned char)*at) && revision < 1000; at++) {
		revision = (revision < 0 ? 0 : revision * 10) + (*at - '0');
	}
	return at < end && *at == '\0' ? revision : -1;
}

/* True if the program contains a version below 2.0.15 and no newer one. In doubt, a leak is better than a crash. */
static bool is_proof(const char *program, size_t length)
{
	const char *end = program + length, *at = program;
	bool is_old = false;
	while ((at = memmem(at, (size_t)(end - at), "2.0.", 4))) {
		int revision = revision_at(at, end);
		bool is_whole = at == program || at[-1] == '\0';
		if (is_whole && revision >= FIRST_THAT_FREES) {
			return false;
		}
		is_old = is_old || (is_whole && revision >= 0);
		at++;
	}
	return is_old;
}

/* The plugin interface does not report the broker's version, and the headers of the build may differ from the running
 * broker. The broker's executable contains its version as a string. */
bool broker_frees_replaced(void)
{
	struct stat file;
	bool is_old = false;
	int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (program < 0) {
		return true;
	}
	if (fstat(program, &file) == 0 && file.st_size > 0) {
		size_t length = (size_t)file.st_size;
		char *bytes = mmap(NULL, length, PROT_READ, MAP_PRIVATE, program, 0);
		if (bytes != MAP_FAILED) {
			is_old = is_proof(bytes, length);
			munmap(bytes, length);
		}
	}
	close(program);
	return !is_old;
}

#else

/* Built for a broker that frees them. */
bool broker_frees_replaced(void)
{
	return true;
}

#endif
