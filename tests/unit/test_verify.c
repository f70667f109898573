/* verify-recipients: the packets between worker and forwarder, and the cache with its file.  Strangers' bytes: whole, cut at every
 * position, and one bit wrong at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "verify_cache.h"
#include "verify_packet.h"

static struct span bytes_of(const void *packet, size_t len)
{
	return (struct span){ packet, len };
}

static void questions(void **state)
{
	(void)state;
	struct endpoint dst;
	struct verify_ask ask, back;
	char long_path[VERIFY_PATH_CAP + 1];
	assert_int_equal(endpoint_parse(SPAN_LIT("203.0.113.25:25"), &dst), 0);
	assert_int_equal(verify_ask_make(7, "wan", &dst, SPAN_LIT("b@example.org"), &ask), 0);
	assert_int_equal(verify_ask_check(bytes_of(&ask, sizeof ask), &back), 0);
	assert_int_equal(back.id, 7);
	assert_string_equal(back.listener, "wan");
	assert_string_equal(back.path, "b@example.org");
	assert_int_equal(back.dst.port, 25);
	for (size_t len = 0; len < sizeof ask; len++)
		assert_int_equal(verify_ask_check(bytes_of(&ask, len), &back), ERR_PROTO);
	memset(long_path, 'a', sizeof long_path);
	assert_int_equal(verify_ask_make(7, "wan", &dst, bytes_of(long_path, VERIFY_PATH_CAP), &back), ERR_TOOLONG);
	assert_int_equal(verify_ask_make(7, "wan", &dst, bytes_of(long_path, VERIFY_PATH_CAP - 1), &back), 0);
	assert_int_equal(verify_ask_make(7, "an-interface-too-long", &dst, SPAN_LIT("b@x"), &back), ERR_TOOLONG);
	static const char *const bad[] = { "", "a b@x", "a\r\nRSET", "a>@x", "\xc3\xa4@x", "a\t@x" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(verify_ask_make(7, "wan", &dst, span_of(bad[i]), &back), ERR_INVAL);
	struct verify_ask broken = ask;
	memset(broken.path, 'a', sizeof broken.path); /* no end */
	assert_int_equal(verify_ask_check(bytes_of(&broken, sizeof broken), &back), ERR_PROTO);
	broken = ask;
	memset(broken.listener, 'a', sizeof broken.listener);
	assert_int_equal(verify_ask_check(bytes_of(&broken, sizeof broken), &back), ERR_PROTO);
	broken = ask;
	broken.dst.addr.family = 99;
	assert_int_equal(verify_ask_check(bytes_of(&broken, sizeof broken), &back), ERR_PROTO);
	broken = ask;
	memcpy(broken.path, "a>\r\nDATA", 9);
	assert_int_equal(verify_ask_check(bytes_of(&broken, sizeof broken), &back), ERR_PROTO);
}

static void answers(void **state)
{
	(void)state;
	struct verify_answer answer, back;
	memset(&answer, 0, sizeof answer);
	answer.id = 7;
	answer.result = VERIFY_NO;
	assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), ERR_PROTO);
	assert_int_equal(verify_line_make(SPAN_LIT("550 5.1.1 no\r\nsuch \xe4"), answer.line), 0);
	assert_string_equal(answer.line, "550 5.1.1 no??such ?");
	assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), 0);
	for (size_t len = 0; len < sizeof answer; len++)
		assert_int_equal(verify_answer_check(bytes_of(&answer, len), &back), ERR_PROTO);
	answer.result = VERIFY_YES; /* a yes says nothing */
	assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), ERR_PROTO);
	answer.result = VERIFY_NO + 1;
	assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), ERR_PROTO);
	answer.result = VERIFY_NO;
	static const char *const bad[] = { "250 ok", "450 later", "550-more", "5x0 no", "550", "550 ", "\r\n550 x" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(verify_line_make(span_of(bad[i]), answer.line), ERR_INVAL);
		memset(answer.line, 0, sizeof answer.line);
		memcpy(answer.line, bad[i], strlen(bad[i]));
		assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), ERR_PROTO);
	}
	memset(answer.line, 'x', sizeof answer.line); /* no end */
	memcpy(answer.line, "550 ", 4);
	assert_int_equal(verify_answer_check(bytes_of(&answer, sizeof answer), &back), ERR_PROTO);
	char reply[1000];
	memset(reply, 'x', sizeof reply);
	memcpy(reply, "550 ", 4);
	assert_int_equal(verify_line_make(bytes_of(reply, sizeof reply), answer.line), 0);
	assert_int_equal(strlen(answer.line), VERIFY_LINE_CAP - 1);
}

static void put(struct verify_cache *c, const char *server, const char *path, int64_t until, const char *line)
{
	const struct verify_entry e = { span_of(server), span_of(path), until, span_of(line) };
	assert_int_equal(verify_cache_put(c, &e), 0);
}

static bool knows(struct verify_cache *c, const char *server, const char *path, int64_t now, struct verify_entry *out)
{
	return verify_cache_find(c, span_of(server), span_of(path), now, out);
}

static void memory(void **state)
{
	(void)state;
	struct verify_cache *c;
	struct verify_entry e;
	char path[40];
	assert_int_equal(verify_cache_create(1000, &c), 0);
	put(c, "smtp:mx:25", "Joe@Example.org", 100, "");
	put(c, "smtp:mx:25", "nobody@example.org", 100, "550 no");
	assert_true(knows(c, "smtp:mx:25", "Joe@example.ORG", 99, &e) && e.line.len == 0);
	assert_false(knows(c, "smtp:mx:25", "joe@example.org", 99, &e));
	assert_false(knows(c, "smtp:mx2:25", "Joe@example.org", 99, &e));
	assert_true(knows(c, "smtp:mx:25", "nobody@example.org", 99, &e) && span_eq(e.line, SPAN_LIT("550 no")));
	put(c, "smtp:mx:25", "nobody@example.org", 200, ""); /* now there is one */
	assert_int_equal(verify_cache_count(c), 2);
	assert_true(knows(c, "smtp:mx:25", "nobody@example.org", 150, &e) && e.line.len == 0);
	assert_false(knows(c, "smtp:mx:25", "Joe@example.org", 100, &e)); /* its time is over */
	assert_int_equal(verify_cache_count(c), 1);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(path, sizeof path, "u%d@example.org", i);
		put(c, "smtp:mx:25", path, 1000 + i, i % 2 ? "550 no" : "");
	}
	assert_int_equal(verify_cache_count(c), 1000);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(path, sizeof path, "u%d@example.org", i);
		assert_int_equal(knows(c, "smtp:mx:25", path, 1, &e), i >= 4000);
	}
	put(c, "smtp:mx2:25", "u4999@Example.org", 9999, "");
	assert_int_equal(verify_cache_forget(c, SPAN_LIT("u4999@example.org")), 2);
	assert_false(knows(c, "smtp:mx2:25", "u4999@example.org", 1, &e));
	assert_int_equal(verify_cache_count(c), 998);
	verify_cache_clear(c);
	assert_int_equal(verify_cache_count(c), 0);
	verify_cache_destroy(&c);
	assert_null(c);
}

/* Between two pieces anything may come and go, also the entry that is next. */
static void cache_file_in_pieces(void **state)
{
	(void)state;
	struct verify_cache *c, *back;
	struct verify_entry e;
	struct buf text = { 0 };
	char path[32];
	assert_int_equal(verify_cache_create(100, &c), 0);
	assert_int_equal(verify_cache_create(100, &back), 0);
	for (unsigned i = 0; i < 10; i++) {
		(void)snprintf(path, sizeof path, "u%u@example.org", i);
		put(c, "x", path, 100, "");
	}
	verify_cache_write_begin(c);
	assert_int_equal(verify_cache_write_some(c, 50, 3, &text), STEP_WAIT);
	(void)verify_cache_forget(c, SPAN_LIT("u3@example.org"));
	(void)verify_cache_forget(c, SPAN_LIT("u1@example.org")); /* is written already */
	put(c, "x", "u4@example.org", 200, ""); /* now the youngest */
	assert_int_equal(verify_cache_write_some(c, 50, 3, &text), STEP_WAIT);
	assert_int_equal(verify_cache_write_some(c, 50, 3, &text), STEP_DONE);
	assert_int_equal(verify_cache_read(back, buf_span(&text), 50), 0);
	assert_int_equal(verify_cache_count(back), 9);
	assert_true(!knows(back, "x", "u3@example.org", 99, &e));
	assert_true(knows(back, "x", "u4@example.org", 99, &e) && e.until == 200);

	/* Nothing is left of what was to come. */
	buf_clear(&text);
	verify_cache_clear(back);
	verify_cache_write_begin(c);
	assert_int_equal(verify_cache_write_some(c, 50, 3, &text), STEP_WAIT);
	verify_cache_clear(c);
	assert_int_equal(verify_cache_write_some(c, 50, 3, &text), STEP_DONE);
	assert_int_equal(verify_cache_read(back, buf_span(&text), 50), 0);
	assert_int_equal(verify_cache_count(back), 3);
	buf_free(&text);
	verify_cache_destroy(&c);
	verify_cache_destroy(&back);
}

static void file(void **state)
{
	(void)state;
	struct verify_cache *c, *back;
	struct verify_entry e;
	struct buf text = { 0 };
	char huge[400];
	assert_int_equal(verify_cache_create(100, &c), 0);
	assert_int_equal(verify_cache_create(100, &back), 0);
	put(c, "smtp:mx:25 tls=verify", "a b\"\\\n@example.org", 100, "");
	put(c, "[2001:db8::1]:25", "nobody@example.org", 200, "550 5.1.1 \"no\" such user");
	put(c, "x", "old@example.org", 10, "");
	memset(huge, 'h', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	put(c, huge, "u@example.org", 100, ""); /* would not come back as it is: not written */
	verify_cache_write_begin(c);
	assert_int_equal(verify_cache_write_some(c, 50, 10, &text), STEP_DONE);
	assert_int_equal(verify_cache_read(back, buf_span(&text), 50), 0);
	assert_int_equal(verify_cache_count(back), 2);
	assert_true(knows(back, "smtp:mx:25 tls=verify", "a b\"\\\n@example.org", 99, &e) && e.until == 100 && e.line.len == 0);
	assert_true(knows(back, "[2001:db8::1]:25", "nobody@example.org", 99, &e) && span_eq(e.line, SPAN_LIT("550 5.1.1 \"no\" such user")));
	for (size_t len = 0; len < text.len; len++) {
		verify_cache_clear(back);
		assert_int_equal(verify_cache_read(back, span_sub(buf_span(&text), 0, len), 50), ERR_CORRUPT);
		assert_int_equal(verify_cache_count(back), 0);
	}
	for (size_t at = 0; at < text.len; at++) {
		/* Anything may come of it but a crash. */
		verify_cache_clear(back);
		text.data[at] ^= 0x04;
		int err = verify_cache_read(back, buf_span(&text), 50);
		assert_true(err == 0 || (err == ERR_CORRUPT && verify_cache_count(back) == 0));
		text.data[at] ^= 0x04;
	}
	buf_free(&text);
	verify_cache_destroy(&c);
	verify_cache_destroy(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(questions),
		cmocka_unit_test(answers),
		cmocka_unit_test(memory),
		cmocka_unit_test(file), cmocka_unit_test(cache_file_in_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
