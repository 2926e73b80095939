#include "check.h"
#include "topics.h"

static void test_encoding(void)
{
	static const struct {
		const char *name, *level;
	} cases[] = {
		{"", ""},
		{"device", "device"},
		{"a b.c~d", "a b.c~d"},
		{"victim/s", "victim%2Fs"},
		{"%", "%25"},
		{"a%2Fb", "a%252Fb"},
		{"+#", "%2B%23"},
		{"\x01\x1f\x7f", "%01%1F%7F"},
		{"\xc2\x80\xc2\x9f", "%C2%80%C2%9F"},
		{"\xc2\xa0", "\xc2\xa0"},
		{"\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac"},
		{"\xc2", "\xc2"},
		{"/provision", "%2Fprovision"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *level = level_encode(cases[i].name);
		CHECK(strcmp(level, cases[i].level) == 0, cases[i].name);
		CHECK(level_is_plain(cases[i].name) == (strcmp(cases[i].name, cases[i].level) == 0), cases[i].name);
		free(level);
	}
}

static void test_longest_id(void)
{
	char *id = text_of('/', TOPIC_MAX), *level = level_encode(id);
	CHECK(strlen(level) == 3 * TOPIC_MAX, "65 535 slashes");
	CHECK(lane_topic_size("claimsvc", "bootstrap", level, "s/ucr") - 1 > TOPIC_MAX, "65 535 slashes");
	free(level);
	free(id);
}

static void test_lane_topics(void)
{
	static const struct {
		const char *login, *level, *topic, *whole;
	} cases[] = {
		{NULL, "Device A", "v1/devices/me/claim", "claimsvc/u/Device A/v1/devices/me/claim"},
		{"bootstrap", "id", "s/ucr", "claimsvc/c/bootstrap/id/s/ucr"},
		{"provision", "id", "/provision/request", "claimsvc/c/provision/id//provision/request"},
		{"bootstrap", "", "s/ucr", "claimsvc/c/bootstrap//s/ucr"},
		{"", "id", "s/ucr", "claimsvc/c//id/s/ucr"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct lane_topic parts;
		size_t size = lane_topic_size("claimsvc", cases[i].login, cases[i].level, cases[i].topic);
		char *whole = malloc(size);
		lane_topic_write(whole, "claimsvc", cases[i].login, cases[i].level, cases[i].topic);
		CHECK(strcmp(whole, cases[i].whole) == 0 && strlen(whole) + 1 == size, cases[i].whole);
		CHECK(lane_topic_split(&parts, "claimsvc", whole), cases[i].whole);
		const char *login = cases[i].login ? cases[i].login : "";
		CHECK(parts.lane == (cases[i].login ? LANE_CLIENT : LANE_USER), cases[i].whole);
		CHECK(parts.login_length == strlen(login), cases[i].whole);
		CHECK(!parts.login || memcmp(parts.login, login, parts.login_length) == 0, cases[i].whole);
		CHECK(parts.level_length == strlen(cases[i].level), cases[i].whole);
		CHECK(memcmp(parts.level, cases[i].level, parts.level_length) == 0, cases[i].whole);
		CHECK(strcmp(parts.topic, cases[i].topic) == 0, cases[i].whole);
		free(whole);
	}
}

static void test_no_lanes(void)
{
	static const char *const cases[] = {
		"", "claimsvc", "claimsvc/", "claimsvc/u", "claimsvc/c", "claimsvc/status", "claimsvc/x/a/b", "claimsvcx/u/a/b",
		"/claimsvc/u/a/b", "claimsvc/uu/a/b", "claimsvc//u/a",
	};
	struct lane_topic parts;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CHECK(!lane_topic_split(&parts, "claimsvc", cases[i]), cases[i]);
	}
	CHECK(lane_topic_split(&parts, "claimsvc", "claimsvc/u/") && !*parts.topic, "an empty name");
	CHECK(lane_topic_split(&parts, "claimsvc", "claimsvc/u/a") && !*parts.topic, "a name alone");
	CHECK(lane_topic_split(&parts, "claimsvc", "claimsvc/c/x") && !*parts.level && !*parts.topic, "a login alone");
	CHECK(lane_topic_split(&parts, "a/b", "a/b/c/x/id/s/ucr") && parts.lane == LANE_CLIENT, "a root of two levels");
}

static void test_lists(void)
{
	static const struct {
		const char *list, *topic;
		bool has;
	} cases[] = {
		{"a/b c/+", "a/b", true},    {"a/b c/+", "c/1", true},     {"a/b c/+", "c/", true},
		{"a/b c/+", "c/+", true},    {"a/b c/+", "c", false},      {"a/b c/+", "c/1/2", false},
		{"a/b c/+", "c/#", false},   {"a/b c/+", "a/b/", false},   {"a/b c/+", "a", false},
		{"a/b c/+", "", false},      {"  a/b \t c/+ ", "a/b", true}, {"", "a", false},
		{"a/b", "A/b", false},       {"a/b", "a/+", false},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct topic_list list;
		CHECK(topic_list_read(&list, cases[i].list), cases[i].list);
		CHECK(topic_list_has(&list, cases[i].topic) == cases[i].has, cases[i].topic);
		topic_list_free(&list);
	}
}

static void test_bad_lists(void)
{
	static const char *const cases[] = {"a/#", "#", "+", "a/+/b", "a/b+", "a a/+b", "ok +"};
	struct topic_list list;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CHECK(!topic_list_read(&list, cases[i]) && list.count == 0 && !list.topics, cases[i]);
	}
	char *longest = text_of('a', TOPIC_MAX), *longer = text_of('a', TOPIC_MAX + 1);
	CHECK(topic_list_read(&list, longest), "65 535 bytes");
	topic_list_free(&list);
	CHECK(!topic_list_read(&list, longer), "65 536 bytes");
	free(longest);
	free(longer);
}

int main(void)
{
	test_encoding();
	test_longest_id();
	test_lane_topics();
	test_no_lanes();
	test_lists();
	test_bad_lists();
	return check_end("topics");
}
