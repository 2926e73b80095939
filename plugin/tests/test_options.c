#include "check.h"
#include "options.h"

struct given {
	const char *name, *value;
};

static bool reads(struct options *options, const struct given *given, size_t count)
{
	char error[200] = "";
	*options = (struct options){0};
	for (size_t i = 0; i < count && given[i].name; i++) {
		if (!options_set(options, given[i].name, given[i].value, error, sizeof(error))) {
			return *error == '\0';
		}
	}
	return options_finish(options, error, sizeof(error)) || *error == '\0';
}

static void test_defaults(void)
{
	struct options options;
	CHECK(reads(&options, &(struct given){"store", "/var/lib/claimsvc/claimsvc.db"}, 1), "the store alone");
	CHECK(strcmp(options.token_key, "/var/lib/claimsvc/token.key") == 0, "the key beside it");
	CHECK(strcmp(options.rules.root, "claimsvc") == 0 && rules_is_service(&options.rules, "claimsvc"), "the root");
	CHECK(options.rules.user_topics.count == 5 && options.rules.client_topics.count == 2, "the topics");
	CHECK(options.rules.open_logins.count == 0 && options.failures == 10 && options.window_s == 60, "the rest");
	options_free(&options);
	CHECK(reads(&options, &(struct given){"store", "claimsvc.db"}, 1), "a store without a directory");
	CHECK(strcmp(options.token_key, "token.key") == 0, "its key");
	options_free(&options);
}

static void test_values(void)
{
	static const struct {
		const char *name, *value;
		bool is_good;
	} cases[] = {
		{"token_key", "/k", true},
		{"token_key", "", false},
		{"root", "a/b", true},
		{"root", "", false},
		{"root", "a/", false},
		{"root", "/a", false},
		{"root", "$SYS", false},
		{"root", "a/+", false},
		{"root", "#", false},
		{"service_username", "service", true},
		{"service_username", "", false},
		{"service_username", "a/b", false},
		{"user_topics", "a b/+", true},
		{"user_topics", "", true},
		{"user_topics", "a/#", false},
		{"user_topics", "claimsvc/u/a/b", false},
		{"user_topics", "v1/devices/me/claim/response", false},
		{"client_topics", "s/ucr", true},
		{"client_topics", "", true},
		{"client_topics", "poll", false},
		{"client_topics", "s/dcr", false},
		{"client_topics", "$CONTROL/claimsvc/v1", false},
		{"client_topics", "$SYS/x", false},
		{"open_logins", "provision guest", true},
		{"open_logins", "a/b", false},
		{"open_logins", "guest claimsvc", false},
		{"max_failures", "1", true},
		{"max_failures", "0", false},
		{"max_failures", "-1", false},
		{"max_failures", "ten", false},
		{"max_failures", "10x", false},
		{"max_failures", "99999999999999999999", false},
		{"max_failures", "", false},
		{"failure_window_s", "86400", true},
		{"failure_window_s", "86401", false},
		{"store", "twice", false},
		{"stor", "x", false},
		{"", "x", false},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct options options;
		struct given given[] = {{"store", "/s"}, {cases[i].name, cases[i].value}};
		CHECK(reads(&options, given, 2) == cases[i].is_good, cases[i].value);
		options_free(&options);
	}
}

static void test_nothing(void)
{
	struct options options;
	CHECK(!reads(&options, NULL, 0), "no store");
	options_free(&options);
	CHECK(!reads(&options, &(struct given){"store", NULL}, 1), "a store without a value");
	options_free(&options);
}

int main(void)
{
	test_defaults();
	test_values();
	test_nothing();
	return check_end("options");
}
