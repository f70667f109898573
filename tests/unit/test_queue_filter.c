/* The filters of `postern queue`: every key, alone and together, and lines that make no sense. */
#include "queue_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct queue_filter *parse(const char *line)
{
	static struct queue_filter filter;
	struct reason why = { "" };
	int err = queue_filter_parse(span_of(line), &filter, &why);
	if (err)
		print_error("%s: %s\n", line, why.text);
	assert_int_equal(err, 0);
	return &filter;
}

static bool facts(const char *line, int64_t age_s, uint64_t size, const char *state, const char *destination)
{
	struct queue_filter_facts known = { age_s, size, span_of(state), span_of(destination) };
	return queue_filter_takes(parse(line), &known);
}

static bool envelope(const char *line, const char *from, const char *client, const char *name, const char *error)
{
	struct spool_envelope e = { .from = span_of(from), .client_name = span_of(name) };
	(void)addr_parse(span_of(client), &e.client.addr);
	return queue_filter_takes_envelope(parse(line), &e, span_of(error));
}

static bool recipient(const char *line, const char *path)
{
	return queue_filter_takes_recipient(parse(line), span_of(path));
}

static void test_memory(void **unused)
{
	(void)unused;
	assert_true(facts("", 5, 5, "ready", "x"));
	assert_true(facts("older=60", 60, 0, "ready", ""));
	assert_false(facts("older=60", 59, 0, "ready", ""));
	assert_true(facts("younger=60", 59, 0, "ready", ""));
	assert_false(facts("younger=60", 60, 0, "ready", ""));
	assert_true(facts("larger=10 smaller=20", 0, 10, "ready", ""));
	assert_false(facts("larger=10 smaller=20", 0, 20, "ready", ""));
	assert_true(facts("destination=192.0.2.*:25", 0, 0, "ready", "192.0.2.7:25"));
	assert_false(facts("destination=192.0.2.*:25", 0, 0, "ready", "192.0.2.7:2525"));
	assert_true(facts("destination=192.0.2.7", 0, 0, "ready", "192.0.2.7:25") && facts("destination=192.0.2.7:25", 0, 0, "ready", "192.0.2.7:25"));
	assert_true(facts("destination=192.0.2.7", 0, 0, "ready", "192.0.2.7:25 from 198.51.100.1"));
	assert_true(facts("destination=\"*from 198.51.*\"", 0, 0, "ready", "192.0.2.7:25 from 198.51.100.1"));
	assert_false(facts("destination=192.0.2", 0, 0, "ready", "192.0.2.7:25 from 198.51.100.1"));
	assert_true(facts("state=held state=waiting", 0, 0, "waiting", "") && facts("state=WAIT*", 0, 0, "waiting", ""));
	assert_false(facts("state=held", 0, 0, "waiting", ""));
	assert_true(facts("verb=release", 0, 0, "held", "") && !facts("verb=release", 0, 0, "waiting", ""));
	assert_true(facts("verb=hold", 0, 0, "ready", "") && !facts("verb=hold", 0, 0, "held", ""));
	assert_true(facts("verb=retry", 0, 0, "ready", "") && !facts("verb=retry", 0, 0, "held", ""));
	assert_true(facts("verb=delete", 0, 0, "held", "") && facts("verb=delete", 0, 0, "ready", ""));
	assert_false(facts("older=60 state=ready destination=a*", 61, 0, "ready", "b"));
}

static void test_envelope(void **unused)
{
	(void)unused;
	assert_false(queue_filter_needs_envelope(parse("older=5 state=held destination=x")));
	assert_true(queue_filter_needs_envelope(parse("to=x")) && queue_filter_needs_envelope(parse("error=*x*")));
	assert_true(envelope("from=a@example.net", "A@Example.NET", "192.0.2.1", "", ""));
	assert_false(envelope("from=a@example.net", "aa@example.net", "192.0.2.1", "", ""));
	assert_true(envelope("from=example.net", "x@y@example.net", "192.0.2.1", "", ""));
	assert_true(envelope("from=*.net", "x@example.net", "192.0.2.1", "", ""));
	assert_true(envelope("from=*@*", "x@example.net", "192.0.2.1", "", "") && !envelope("from=*@*", "", "192.0.2.1", "", ""));
	assert_true(envelope("from=<>", "", "192.0.2.1", "", "") && !envelope("from=<>", "a@b", "192.0.2.1", "", ""));
	assert_true(envelope("from=<> from=?@b", "a@b", "192.0.2.1", "", ""));
	assert_true(envelope("client=192.0.2.1", "", "192.0.2.1", "", "") && !envelope("client=192.0.2.1", "", "192.0.2.10", "", ""));
	assert_true(envelope("client=192.0.2.0/24", "", "192.0.2.99", "", "") && !envelope("client=192.0.2.0/24", "", "192.0.3.1", "", ""));
	assert_true(envelope("client=2001:db8::/32", "", "2001:db8::1", "", "") && !envelope("client=2001:db8::/32", "", "192.0.2.1", "", ""));
	assert_true(envelope("client=*.example.net", "", "192.0.2.1", "mx.example.net", ""));
	assert_false(envelope("client=*.example.net", "", "192.0.2.1", "", ""));
	assert_true(envelope("error=\"*timed out*\"", "", "192.0.2.1", "", "connect to x: Timed out (later)"));
	assert_false(envelope("error=* from=a@b", "c@d", "192.0.2.1", "", "x"));
	assert_true(recipient("", "x") && recipient("to=*b*@e*", "abc@example") && !recipient("to=b@*", "abc@example"));
	assert_true(recipient("to=postmaster", "postmaster") && !recipient("to=postmaster", "postmaster@example.net"));
}

/* Many stars in the pattern, none of which helps: it must not take for ever. */
static void test_cost(void **unused)
{
	(void)unused;
	char line[300] = "to=", text[1024];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (int i = 0; i < 100; i++)
		strcat(line, "*a");
	strcat(line, "b@*");
	for (int i = 0; i < 1000; i++)
		assert_false(recipient(line, text));
}

static void test_nonsense(void **unused)
{
	(void)unused;
	static const char *const lines[] = { "x", "=", "unknown=1", "from=", "older=-1", "older=5m", "larger=x", "verb=eat", "from=\"a", "from=a  =",
					     "state=hold", "client=192.0.2.0/33", "client=2001:db8::/129", "client=mx/24" };
	struct queue_filter filter;
	struct reason why;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		why.text[0] = '\0';
		assert_true(queue_filter_parse(span_of(lines[i]), &filter, &why) < 0);
		assert_true(why.text[0] != '\0');
	}
	char many[QUEUE_FILTER_ITEMS_CAP * 8 + 16] = "";
	for (int i = 0; i <= QUEUE_FILTER_ITEMS_CAP; i++)
		strcat(many, "from=a ");
	assert_int_equal(queue_filter_parse(span_of(many), &filter, &why), ERR_TOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_envelope),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
