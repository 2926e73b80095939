#include "check.h"
#include "failures.h"

#define WINDOW_S 60

static void test_counting(void)
{
	struct failures *failures = failures_new(WINDOW_S);
	for (unsigned i = 1; i <= 12; i++) {
		failures_add(failures, "10.0.0.1", "alice", 100);
		CHECK(failures_of(failures, "10.0.0.1", "alice", 100) == i, "each counts");
	}
	CHECK(failures_of(failures, "10.0.0.2", "alice", 100) == 0, "another address");
	CHECK(failures_of(failures, "10.0.0.1", "bob", 100) == 0, "another login");
	CHECK(failures_of(failures, "10.0.0.1a", "lice", 100) == 0, "the same letters cut elsewhere");
	CHECK(failures_of(failures, "10.0.0.1", "alice", 100 + WINDOW_S - 1) == 12, "until the window ends");
	CHECK(failures_of(failures, "10.0.0.1", "alice", 100 + WINDOW_S) == 0, "not after");
	failures_add(failures, "10.0.0.1", "alice", 100 + WINDOW_S);
	CHECK(failures_of(failures, "10.0.0.1", "alice", 100 + WINDOW_S) == 1, "then from the start");
	failures_forget(failures, "10.0.0.1", "alice");
	CHECK(failures_of(failures, "10.0.0.1", "alice", 100 + WINDOW_S) == 0, "forgotten");
	failures_free(failures);
}

/* A flood of unknown logins from the same address does not evict a locked login. */
static void test_flood(void)
{
	struct failures *failures = failures_new(WINDOW_S);
	char login[32];
	for (int i = 0; i < 10; i++) {
		failures_add(failures, "10.0.0.1", "locked", 1);
	}
	for (int i = 0; i < 200000; i++) {
		snprintf(login, sizeof(login), "stranger-%d", i);
		failures_add(failures, "10.0.0.1", login, 2);
	}
	CHECK(failures_of(failures, "10.0.0.1", "locked", 3) == 10, "still locked");
	CHECK(failures_of(failures, "10.0.0.1", "a neighbour", 3) == 0, "a neighbour is not");
	failures_free(failures);
}

static void test_hostile_texts(void)
{
	struct failures *failures = failures_new(WINDOW_S);
	char *login = text_of('\x01', 65535);
	failures_add(failures, "", login, 0);
	failures_add(failures, "", "", 0);
	CHECK(failures_of(failures, "", login, 0) == 1, "65 535 bytes");
	CHECK(failures_of(failures, "", "", 0) == 1, "nothing");
	free(login);
	failures_free(failures);
}

int main(void)
{
	test_counting();
	test_flood();
	test_hostile_texts();
	return check_end("failures");
}
