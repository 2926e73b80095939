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
#define BOOT "claimsvc/c/bootstrap/"
#define POLL "POST/devicecontrol/deviceCredentials"
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
		{"a poll", "bootstrap", "id", "s/ucr", DENY_, ALLOW_, DENY_},
		{"a poll of an odd id", "bootstrap", "a/+#%", "s/ucr", DENY_, ALLOW_, DENY_},
		{"a poll of a device", "dev", "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a poll of provision", "provision", "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a poll of an open login", "guest", "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a poll without a name", NULL, "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a poll of the service", "claimsvc", "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a poll of a name around it", "bootstrap/", "id", "s/ucr", DENY_, DENY_, DENY_},
		{"a provisioning", "provision", "id", "/provision/request", DENY_, ALLOW_, DENY_},
		{"a provisioning of bootstrap", "bootstrap", "id", "/provision/request", DENY_, DENY_, DENY_},
		{"a provisioning of a device", "dev", "id", "/provision/request", DENY_, DENY_, DENY_},
		{"other topics of bootstrap", "bootstrap", "id", "telemetry", DENY_, DENY_, DENY_},
		{"other topics of provision", "provision", "id", "telemetry", DENY_, DENY_, DENY_},
		{"other topics of an open login", "guest", "id", "telemetry", DENY_, DENY_, DENY_},
		{"everything for bootstrap", "bootstrap", "id", "#", DENY_, DENY_, DENY_},
		{"a shared answer for bootstrap", "bootstrap", "id", "$share/g/s/dcr", DENY_, DENY_, DENY_},
		{"the status for bootstrap", "bootstrap", "id", "claimsvc/status", ALLOW_, DENY_, ALLOW_},
		{"the status for provision", "provision", "id", "claimsvc/status", ALLOW_, DENY_, ALLOW_},
		{"the status for an open login", "guest", "id", "claimsvc/status", ALLOW_, DENY_, ALLOW_},
		{"the status for others", "dev", "id", "claimsvc/status", DEFER_, DEFER_, DEFER_},
		{"credentials for bootstrap", "bootstrap", "id", "s/dcr", DENY_, DENY_, ALLOW_},
		{"credentials for provision", "provision", "id", "s/dcr", DENY_, DENY_, DENY_},
		{"errors, where agents listen", "bootstrap", "id", "s/e", DENY_, DENY_, ALLOW_},
		{"provision's answer", "provision", "id", "/provision/response", DENY_, DENY_, ALLOW_},
		{"provision's answer for bootstrap", "bootstrap", "id", "/provision/response", DENY_, DENY_, DENY_},
		{"a user's answer for provision", "provision", "id", "v1/devices/me/claim/response", DENY_, DENY_, DENY_},
		{"a user's answer", "dev", "id", "v1/devices/me/claim/response", DENY_, DENY_, ALLOW_},
		{"a state", "dev", "id", "v1/devices/me/claim/state", DENY_, DENY_, ALLOW_},
		{"a gateway's answer", "dev", "id", "v1/gateway/claim/response", DENY_, DENY_, ALLOW_},
		{"answers by number", "dev", "id", "v1/devices/me/rpc/response/+", DENY_, DENY_, ALLOW_},
		{"a client's answer", NULL, "id", "s/dcr", DENY_, DENY_, ALLOW_},
		{"a provisioning's answer", "dev", "id", "/provision/response", DENY_, DENY_, ALLOW_},
		{"an answer by the service", "claimsvc", "id", "s/dcr", DENY_, DENY_, ALLOW_},
		{"a user's lane", "dev", "id", "claimsvc/u/dev/" CLAIM, DEFER_, DEFER_, DEFER_},
		{"a user's lane for bootstrap", "bootstrap", "id", "claimsvc/u/bootstrap/" CLAIM, DENY_, DENY_, DENY_},
		{"bootstrap's poll in its lane", "bootstrap", "id", BOOT "id/s/ucr", DENY_, ALLOW_, DENY_},
		{"its credentials there", "bootstrap", "id", BOOT "id/s/dcr", ALLOW_, DENY_, ALLOW_},
		{"its poll by REST", "bootstrap", "id", BOOT "id/request/1/" POLL, DENY_, ALLOW_, DENY_},
		{"its answer by REST", "bootstrap", "id", BOOT "id/response/1", ALLOW_, DENY_, ALLOW_},
		{"its answers by REST", "bootstrap", "id", BOOT "id/response/+", ALLOW_, DENY_, ALLOW_},
		{"any call by REST", "bootstrap", "id", BOOT "id/request/1/GET/claimsvc/events", DENY_, DENY_, DENY_},
		{"all of its lane", "bootstrap", "id", BOOT "id/#", DENY_, DENY_, DENY_},
		{"all of its answers", "bootstrap", "id", BOOT "id/response/#", DENY_, DENY_, DENY_},
		{"provisioning in its lane", "bootstrap", "id", BOOT "id//provision/request", DENY_, DENY_, DENY_},
		{"another id's lane", "bootstrap", "id2", BOOT "id/s/dcr", DENY_, DENY_, DENY_},
		{"another login's lane", "bootstrap", "id", "claimsvc/c/provision/id//provision/request", DENY_, DENY_, DENY_},
		{"a lane of a slash", "bootstrap", "a/b", BOOT "a/b/s/ucr", DENY_, DENY_, DENY_},
		{"the lane of another's encoding", "bootstrap", "a%2Fb", BOOT "a%2Fb/s/ucr", DENY_, DENY_, DENY_},
		{"provision's lane", "provision", "id", "claimsvc/c/provision/id//provision/request", DENY_, ALLOW_, DENY_},
		{"its answer there", "provision", "id", "claimsvc/c/provision/id//provision/response", ALLOW_, DENY_, ALLOW_},
		{"a poll in provision's lane", "provision", "id", "claimsvc/c/provision/id/s/ucr", DENY_, DENY_, DENY_},
		{"bootstrap's lane for provision", "provision", "id", BOOT "id/s/ucr", DENY_, DENY_, DENY_},
		{"bootstrap's lane for a device", "dev", "id", BOOT "id/s/ucr", DENY_, DENY_, DENY_},
		{"a client's lane of a device", "dev", "id", "claimsvc/c/dev/id/s/ucr", DENY_, DENY_, DENY_},
		{"a client's lane of an open login", "guest", "id", "claimsvc/c/guest/id/s/ucr", DENY_, DENY_, DENY_},
		{"a client's lane of a path", "bootstrap/x", "id", BOOT "x/id/s/ucr", DENY_, DENY_, DENY_},
		{"the service with an odd id", "claimsvc", "a/b", BOOT "+/s/ucr", DEFER_, DEFER_, DEFER_},
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
	static const char *const logins[] = {"dev", "bootstrap", "provision", "guest", "claimsvc"};
	static const char *const denied[] = {CLAIM,   "s/ucr", "/provision/request", "claimsvc/u/dev/" CLAIM,
					     "s/dcr", BOOT "id/s/ucr", BOOT "id/s/dcr"};
	for (size_t login = 0; login < COUNT_OF(logins); login++) {
		struct caller caller = {.principal = logins[login], .id = "id", .leaving = true};
		for (size_t i = 0; i < COUNT_OF(denied); i++) {
			CHECK(rules_access(&rules, &caller, ACCESS_WRITE, denied[i]) == VERDICT_DENY, denied[i]);
		}
	}
	struct caller device = {.principal = "dev", .id = "id", .leaving = true};
	struct caller service = {.principal = "claimsvc", .id = "id", .leaving = true};
	CHECK(rules_access(&rules, &device, ACCESS_WRITE, "telemetry") == VERDICT_DEFER, "a will elsewhere");
	CHECK(rules_access(&rules, &service, ACCESS_WRITE, "claimsvc/status") == VERDICT_DEFER, "the service's own");
}

static void test_resuming(void)
{
	struct caller device = {.principal = "dev", .id = "id", .resumes = true};
	struct caller bootstrap = {.principal = "bootstrap", .id = "id", .resumes = true};
	CHECK(rules_access(&rules, &device, ACCESS_READ, CLAIM "/response") == VERDICT_ALLOW, "an answer in its session");
	CHECK(rules_access(&rules, &device, ACCESS_READ, "s/dcr") == VERDICT_DENY, "not credentials");
	CHECK(rules_access(&rules, &bootstrap, ACCESS_READ, "s/dcr") == VERDICT_ALLOW, "credentials in its session");
	CHECK(rules_access(&rules, &device, ACCESS_READ, CLAIM) == VERDICT_DENY, "a request in its session");
}

static void test_too_long(void)
{
	struct caller caller = {.principal = "bootstrap"};
	char *topic_id = text_of('a', TOPIC_MAX - strlen(BOOT "/s/ucr"));
	char *longer_id = text_of('a', TOPIC_MAX - strlen(BOOT "/s/ucr") + 1);
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
