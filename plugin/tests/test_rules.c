#include "check.h"
#include "rules.h"

static struct rules rules = {.root = "claimsvc", .service = "claimsvc"};

static void setup(void)
{
	topic_list_read(&rules.user_topics, "v1/devices/me/claim v1/devices/me/rpc/request/+");
	topic_list_read(&rules.client_topics, "s/ucr /provision/request");
	topic_list_read(&rules.open_logins, "provision guest");
}

static void teardown(void)
{
	topic_list_free(&rules.user_topics);
	topic_list_free(&rules.client_topics);
	topic_list_free(&rules.open_logins);
}

#define CLAIM "v1/devices/me/claim"
#define DEFER_ VERDICT_DEFER
#define ALLOW_ VERDICT_ALLOW
#define DENY_ VERDICT_DENY

static void test_access(void)
{
	static const struct {
		const char *name, *principal, *id, *topic;
		enum verdict read, write, subscribe;
	} cases[] = {
		{"other topics", "dev", "id", "telemetry", DEFER_, DEFER_, DEFER_},
		{"everything", "dev", "id", "#", DEFER_, DEFER_, DEFER_},
		{"a shared answer", "dev", "id", "$share/g/s/dcr", DEFER_, DEFER_, DEFER_},
		{"a request", "dev", "id", CLAIM, DENY_, ALLOW_, DENY_},
		{"a numbered request", "dev", "id", "v1/devices/me/rpc/request/7", DENY_, ALLOW_, DENY_},
		{"a filter of requests", "dev", "id", "v1/devices/me/rpc/request/+", DENY_, ALLOW_, DENY_},
		{"a request without a name", NULL, "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of an empty name", "", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of a slash", "a/b", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of a plus", "+", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of a hash", "a#", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of an encoded name", "t%2Fa", "id", CLAIM, DENY_, ALLOW_, DENY_},
		{"a request of bootstrap", "bootstrap", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of provision", "provision", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of an open login", "guest", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a request of the service", "claimsvc", "id", CLAIM, DENY_, DENY_, DENY_},
		{"a poll", "dev", "id", "s/ucr", DENY_, ALLOW_, DENY_},
		{"a poll without a name", NULL, "id", "s/ucr", DENY_, ALLOW_, DENY_},
		{"a poll of an odd id", "bootstrap", "a/+#%", "s/ucr", DENY_, ALLOW_, DENY_},
		{"a provisioning", "provision", "id", "/provision/request", DENY_, ALLOW_, DENY_},
		{"a user's answer", "dev", "id", "v1/devices/me/claim/response", DENY_, DENY_, ALLOW_},
		{"a state", "dev", "id", "v1/devices/me/claim/state", DENY_, DENY_, ALLOW_},
		{"a gateway's answer", "dev", "id", "v1/gateway/claim/response", DENY_, DENY_, ALLOW_},
		{"answers by number", "dev", "id", "v1/devices/me/rpc/response/+", DENY_, DENY_, ALLOW_},
		{"a client's answer", NULL, "id", "s/dcr", DENY_, DENY_, ALLOW_},
		{"a provisioning's answer", "dev", "id", "/provision/response", DENY_, DENY_, ALLOW_},
		{"an answer by the service", "claimsvc", "id", "s/dcr", DENY_, DENY_, ALLOW_},
		{"a user's lane", "dev", "id", "claimsvc/u/dev/" CLAIM, DEFER_, DEFER_, DEFER_},
		{"a client's lane", "dev", "id", "claimsvc/c/id/s/ucr", DEFER_, DEFER_, DEFER_},
		{"a lane of a slash", "dev", "a/b", "claimsvc/c/a/b/s/ucr", DENY_, DENY_, DENY_},
		{"the lane of another's encoding", "dev", "a%2Fb", "claimsvc/c/a%2Fb/s/ucr", DENY_, DENY_, DENY_},
		{"the service with an odd id", "claimsvc", "a/b", "claimsvc/c/+/s/ucr", DEFER_, DEFER_, DEFER_},
		{"the control topic", "dev", "id", CONTROL_TOPIC, DENY_, DENY_, DENY_},
		{"the control topic without a name", NULL, "id", CONTROL_TOPIC, DENY_, DENY_, DENY_},
		{"the control topic of the service", "claimsvc", "id", CONTROL_TOPIC, DENY_, ALLOW_, DENY_},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct caller caller = {.principal = cases[i].principal, .id = cases[i].id};
		const char *name = cases[i].name, *topic = cases[i].topic;
		CHECK(rules_access(&rules, &caller, ACCESS_READ, topic) == cases[i].read, name);
		CHECK(rules_access(&rules, &caller, ACCESS_WRITE, topic) == cases[i].write, name);
		CHECK(rules_access(&rules, &caller, ACCESS_SUBSCRIBE, topic) == cases[i].subscribe, name);
		CHECK(rules_access(&rules, &caller, ACCESS_UNSUBSCRIBE, topic) == VERDICT_ALLOW, name);
	}
}

static void test_wills(void)
{
	struct caller caller = {.principal = "dev", .id = "id", .leaving = true};
	static const char *const denied[] = {CLAIM, "s/ucr", "claimsvc/u/dev/" CLAIM, "claimsvc/c/id/s/ucr", "s/dcr"};
	for (size_t i = 0; i < COUNT_OF(denied); i++) {
		CHECK(rules_access(&rules, &caller, ACCESS_WRITE, denied[i]) == VERDICT_DENY, denied[i]);
	}
	CHECK(rules_access(&rules, &caller, ACCESS_WRITE, "telemetry") == VERDICT_DEFER, "a will elsewhere");
}

static void test_resuming(void)
{
	struct caller caller = {.principal = "dev", .id = "id", .resumes = true};
	CHECK(rules_access(&rules, &caller, ACCESS_READ, "s/dcr") == VERDICT_ALLOW, "an answer in its session");
	CHECK(rules_access(&rules, &caller, ACCESS_READ, CLAIM) == VERDICT_DENY, "a request in its session");
}

static void test_too_long(void)
{
	struct caller caller = {.principal = "dev"};
	char *topic_id = text_of('a', TOPIC_MAX - strlen("claimsvc/c//s/ucr"));
	char *longer_id = text_of('a', TOPIC_MAX - strlen("claimsvc/c//s/ucr") + 1);
	char *slashes = text_of('/', TOPIC_MAX / 3);
	caller.id = topic_id;
	CHECK(rules_access(&rules, &caller, ACCESS_WRITE, "s/ucr") == VERDICT_ALLOW, "the longest id");
	caller.id = longer_id;
	CHECK(rules_access(&rules, &caller, ACCESS_WRITE, "s/ucr") == VERDICT_DENY, "one longer");
	caller.id = slashes;
	CHECK(rules_access(&rules, &caller, ACCESS_WRITE, "s/ucr") == VERDICT_DENY, "encoded three times as long");
	caller = (struct caller){.principal = longer_id, .id = "id"};
	CHECK(rules_access(&rules, &caller, ACCESS_WRITE, CLAIM) == VERDICT_DENY, "a long name");
	free(topic_id);
	free(longer_id);
	free(slashes);
}

static void test_reserved_ids(void)
{
	static const struct {
		const char *id;
		bool is_reserved;
	} cases[] = {
		{"claimsvc-0123456789abcdef0123456789abcdef", true}, {"claimsvc-0123456789ABCDEF0123456789abcdef", true},
		{"claimsvc-0123456789abcdef0123456789abcde", false}, {"claimsvc-0123456789abcdef0123456789abcdef0", false},
		{"claimsvc-0123456789abcdef0123456789abcdeg", false}, {"claimsvc-", false}, {"claimsvc", false}, {"", false},
		{"xclaimsvc-0123456789abcdef0123456789abcdef", false},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CHECK(rules_is_reserved_id(cases[i].id) == cases[i].is_reserved, cases[i].id);
	}
}

int main(void)
{
	setup();
	test_access();
	test_wills();
	test_resuming();
	test_too_long();
	test_reserved_ids();
	teardown();
	return check_end("rules");
}
