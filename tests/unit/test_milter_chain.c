/* Conversations with scripted filters: cut, broken off and silent everywhere, one filter after the other. */
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "milter_chain.h"

#define FILTERS_MAX 2u
#define NEVER SIZE_MAX
#define PACKET(literal) { (literal), sizeof(literal) - 1 }

#define NEGOTIATED "\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\0\0\0"
#define CONTINUED "\0\0\0\1c"
#define BUSY "\0\0\0\1p"

/* What a filter says to a command; CONTINUE where nothing is said of it. */
struct line {
	char command;
	struct span reply;
};

struct filter {
	struct loop_io *io;
	struct loop_timer *pause, *chatter;
	int fd;
	struct buf in, out;
	const struct line *script; /* ends with command 0 */
	size_t sent, pause_at, die_at; /* bytes of all it says */
	bool is_chatting; /* says that it is busy, and nothing else, from the command chat_at on */
	char chat_at;
	char ticks_at; /* the turns of the loop are counted from there on */
};

static struct world {
	struct loop *loop;
	struct filter filters[FILTERS_MAX];
	size_t count;
	struct milter_chain *chain;
	struct loop_task opened;
	int opened_fd;
	struct loop_timer *stop;
	struct content_image image;

	unsigned speak, rcpt_answers, rcpt_code, judged, code, reports;
	enum milter_outcome outcome;
	const char *stage, *limit; /* of the last report; of one that has a limit */
	const char *who; /* has decided */
	struct loop_task ticking;
	unsigned ticks; /* turns of the loop while something waited for one */
	char message[4096];
	size_t message_len, added;
	bool is_changed, is_held;
} w;

/* ---- the filter's side */

static void filter_flush(struct filter *f)
{
	size_t until = f->sent < f->pause_at ? f->pause_at : f->die_at;
	size_t len = f->out.len < until - f->sent ? f->out.len : until - f->sent;
	if (f->fd < 0)
		return;
	if (len)
		assert_int_equal(send(f->fd, f->out.data, len, MSG_NOSIGNAL), (ssize_t)len);
	buf_consume(&f->out, len);
	f->sent += len;
	if (f->sent == f->die_at) {
		loop_io_destroy(&f->io);
		(void)close(f->fd);
		f->fd = -1;
	} else if (f->out.len) {
		/* What was said is read before the rest comes. */
		loop_timer_start(f->pause, 1);
	}
}

static void pause_over(void *ctx)
{
	filter_flush(ctx);
}

static void chatter(void *ctx)
{
	struct filter *f = ctx;
	if (f->fd >= 0)
		(void)!send(f->fd, BUSY, sizeof BUSY - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	loop_timer_start(f->chatter, 1);
}

static void filter_hears(struct filter *f, char command)
{
	struct span reply = command == MILTER_NEGOTIATE ? (struct span)PACKET(NEGOTIATED) : (struct span)PACKET(CONTINUED);
	if (command == MILTER_MACRO || command == MILTER_ABORT || command == MILTER_QUIT)
		return;
	if (command == f->chat_at) {
		chatter(f);
		return;
	}
	for (const struct line *line = f->script; line && line->command; line++)
		if (line->command == command)
			reply = line->reply;
	assert_int_equal(buf_append_span(&f->out, reply), 0);
}

static void filter_ready(void *ctx, unsigned events)
{
	struct filter *f = ctx;
	struct milter_packet packet;
	size_t used;
	(void)events;
	assert_int_equal(buf_reserve(&f->in, 4096), 0);
	ssize_t n = recv(f->fd, f->in.data + f->in.len, 4096, MSG_DONTWAIT);
	if (n <= 0) {
		loop_io_destroy(&f->io);
		return;
	}
	f->in.len += (size_t)n;
	while (milter_packet_read(buf_span(&f->in), &packet, &used) == 0) {
		filter_hears(f, packet.command);
		buf_consume(&f->in, used);
	}
	filter_flush(f);
	if (f->ticks_at && packet.command == f->ticks_at)
		loop_task_post(w.loop, &w.ticking);
}

static void tick(void *ctx)
{
	struct world *world = ctx;
	world->ticks++;
	loop_task_post(world->loop, &world->ticking);
}

/* ---- ours */

static void give_connection(void *ctx)
{
	(void)ctx;
	int fd = w.opened_fd;
	w.opened_fd = -1;
	milter_chain_opened(w.chain, 0, fd);
}

static int open_filter(void *ctx, size_t peer)
{
	struct filter *f = &w.filters[peer];
	int fds[2];
	(void)ctx;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	f->fd = fds[1];
	assert_int_equal(loop_io_create(w.loop, f->fd, filter_ready, f, &f->io), 0);
	assert_int_equal(loop_io_want(f->io, LOOP_READ), 0);
	w.opened_fd = fds[0];
	w.opened = (struct loop_task){ .fn = give_connection };
	loop_task_post(w.loop, &w.opened);
	return 0;
}

static void cancel_open(void *ctx)
{
	(void)ctx;
	loop_task_cancel(&w.opened);
	(void)close(w.opened_fd);
}

static void speaks(void *ctx, size_t peer)
{
	(void)ctx;
	assert_in_range(peer, 0, w.count - 1);
	w.speak++;
}

static void reported(void *ctx, const struct milter_report *report)
{
	(void)ctx;
	w.reports++;
	w.stage = report->answer->stage;
	w.limit = report->answer->limit ? report->answer->limit : w.limit;
}

static void message_judged(void *ctx, enum milter_outcome outcome, const struct milter_refusal *refusal, const char *who,
			   const struct content_change *change)
{
	(void)ctx;
	loop_task_cancel(&w.ticking);
	w.judged++;
	w.who = who;
	w.outcome = outcome;
	w.code = refusal ? refusal->code : 0;
	if (change && change->fd >= 0) {
		w.is_changed = true;
		w.message_len = (size_t)pread(change->fd, w.message, sizeof w.message, 0);
		(void)close(change->fd);
	}
	w.added = change ? change->added_count : 0;
	w.is_changed = w.is_changed || (change && (change->added_count || change->has_sender));
	w.is_held = change && change->hold_reason.ptr;
	/* A little longer, for what must not come any more. */
	loop_timer_start(w.stop, 2);
}

static void rcpt_answered(void *ctx, const struct milter_refusal *refusal, const char *who)
{
	(void)ctx;
	(void)who;
	w.rcpt_answers++;
	w.rcpt_code = refusal ? refusal->code : 0;
	milter_chain_message(w.chain, &w.image, 1000, message_judged, NULL);
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

#define WIRE "A: 1\r\nB: 2\r\na: 3\r\n\r\nbody\r\n.\r\n"

static void begin(const struct line *script, const struct line *second)
{
	memset(&w, 0, sizeof w);
	assert_int_equal(loop_create(&w.loop), 0);
	assert_int_equal(loop_timer_create(w.loop, stop, w.loop, &w.stop), 0);
	w.opened_fd = -1;
	w.ticking = (struct loop_task){ .fn = tick, .ctx = &w };
	w.image = (struct content_image){ .memory = SPAN_LIT(WIRE), .fd = -1, .len = sizeof WIRE - 1 };
	w.count = second ? 2 : 1;
	for (size_t i = 0; i < FILTERS_MAX; i++) {
		struct filter *f = &w.filters[i];
		*f = (struct filter){ .fd = -1, .script = i ? second : script, .die_at = NEVER };
		assert_int_equal(loop_timer_create(w.loop, pause_over, f, &f->pause), 0);
		assert_int_equal(loop_timer_create(w.loop, chatter, f, &f->chatter), 0);
	}
}

/* A recipient, and the message. */
static void run(enum milter_fail fail, uint64_t deadline_ms)
{
	static const struct milter_hooks hooks = { { open_filter, cancel_open }, speaks, reported };
	const struct milter_times times = { 20000, 20000, 20000 };
	const struct milter_peer peers[FILTERS_MAX] = { { "one", fail, times }, { "two", fail, times } };
	const struct milter_facts facts = { .hostname = SPAN_LIT("fw.example"), .helo = SPAN_LIT("c.example"), .from = SPAN_LIT("s@c.example") };
	const struct milter_rcpt rcpt = { SPAN_LIT("r@d.example"), SPAN_LIT(""), SPAN_LIT("") };
	assert_int_equal(milter_chain_create(w.loop, peers, w.count, &facts, &hooks, NULL, deadline_ms, &w.chain), 0);
	assert_int_equal(milter_chain_rcpt(w.chain, &rcpt, rcpt_answered, NULL), 0);
	loop_run(w.loop);
	milter_chain_destroy(&w.chain);
	for (size_t i = 0; i < FILTERS_MAX; i++) {
		struct filter *f = &w.filters[i];
		loop_io_destroy(&f->io);
		loop_timer_destroy(&f->pause);
		loop_timer_destroy(&f->chatter);
		if (f->fd >= 0)
			(void)close(f->fd);
		buf_free(&f->in);
		buf_free(&f->out);
	}
	loop_timer_destroy(&w.stop);
	loop_destroy(&w.loop);
	assert_int_equal(w.rcpt_answers, 1);
	assert_int_equal(w.judged, 1);
}

/* ---- */

static const char edits[] = "\0\0\0\5hX\0y\0"
			    "\0\0\0\x14" "ba\r\n.\r\n.\rMAIL\r\r\nb\0c\r"
			    BUSY
			    "\0\0\0\x0f+<t@d.example>\0"
			    "\0\0\0\5qwhy\0"
			    "\0\0\0\1a";

static const struct line changes[] = { { MILTER_MAIL, PACKET(BUSY CONTINUED) }, { MILTER_BODY_END, { edits, sizeof edits - 1 } }, { 0 } };

static void expect_changed(void)
{
	static const char expected[] = "A: 1\r\nB: 2\r\na: 3\r\nX: y\r\n\r\na\r\n..\r\n..MAIL\r\nbc\r\n.\r\n";
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_true(w.is_held);
	assert_int_equal(w.message_len, sizeof expected - 1);
	assert_memory_equal(w.message, expected, sizeof expected - 1);
}

static size_t length_of_all(void)
{
	begin(changes, NULL);
	run(MILTER_FAIL_TEMPFAIL, 20000);
	expect_changed();
	return w.filters[0].sent;
}

static void test_cut_everywhere(void **unused)
{
	size_t all = length_of_all();
	(void)unused;
	for (size_t at = 1; at < all; at++) {
		begin(changes, NULL);
		w.filters[0].pause_at = at;
		run(MILTER_FAIL_TEMPFAIL, 20000);
		expect_changed();
	}
}

static void test_broken_off_everywhere(void **unused)
{
	static const struct {
		enum milter_fail fail;
		enum milter_outcome outcome;
		unsigned code;
	} cases[] = { { MILTER_FAIL_TEMPFAIL, MILTER_REFUSE, 451 }, { MILTER_FAIL_REJECT, MILTER_REFUSE, 550 }, { MILTER_FAIL_ACCEPT, MILTER_PASS, 0 } };
	size_t all = length_of_all();
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		for (size_t at = 1; at < all; at++) {
			begin(changes, NULL);
			w.filters[0].die_at = at;
			run(cases[i].fail, 20000);
			assert_int_equal(w.outcome, cases[i].outcome);
			assert_int_equal(w.code, cases[i].code);
			assert_false(w.is_changed);
			assert_false(w.is_held);
			assert_int_equal(w.reports, 1);
		}
	}
}

static void test_nonsense_is_a_failure(void **unused)
{
	static const struct line cases[] = {
		{ MILTER_NEGOTIATE, PACKET(CONTINUED) },
		{ MILTER_NEGOTIATE, PACKET("\0\0\0\x0dO\0\0\0\7\0\0\1\xff\0\0\0\0") },
		{ MILTER_CONNECT, PACKET("\0\0\0\0") },
		{ MILTER_CONNECT, PACKET("\xff\xff\xff\xff") },
		{ MILTER_HELO, PACKET(CONTINUED CONTINUED) },
		{ MILTER_MAIL, PACKET("\0\0\0\5hX\0y\0") },
		{ MILTER_MAIL, PACKET("\0\0\0\1s") },
		{ MILTER_MAIL, PACKET("\0\0\0\2cc") },
		{ MILTER_MAIL, PACKET("\0\0\0\1Z") },
		{ MILTER_MAIL, PACKET("\0\0\0\x08y250 ok\0") },
		{ MILTER_RCPT, PACKET("\0\0\0\x05y550 ") },
		{ MILTER_RCPT, PACKET(CONTINUED CONTINUED) },
		{ MILTER_BODY_END, PACKET("\0\0\0\5hX y\0" CONTINUED) },
		{ MILTER_BODY_END, PACKET("\0\0\0\5h:\0y\0" CONTINUED) },
		{ MILTER_BODY_END, PACKET("\0\0\0\x0c+a@b>\r\nRCPT\0" CONTINUED) },
	};
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct line script[] = { cases[i], { 0 } };
		begin(script, NULL);
		run(MILTER_FAIL_TEMPFAIL, 20000);
		assert_int_equal(w.outcome, MILTER_REFUSE);
		assert_int_equal(w.code, 451);
		assert_false(w.is_changed);
	}
}

/* A filter counts the fields that it was shown. */
static void test_deleted_before_the_next_filter(void **unused)
{
	static const struct line deletes[] = { { MILTER_BODY_END, PACKET("\0\0\0\x08m\0\0\0\1A\0\0" CONTINUED) }, { 0 } };
	static const struct line sets[] = { { MILTER_BODY_END, PACKET("\0\0\0\x0am\0\0\0\1A\0ok\0" CONTINUED) }, { 0 } };
	static const char expected[] = "B: 2\r\na: ok\r\n\r\nbody\r\n.\r\n";
	(void)unused;
	begin(deletes, sets);
	run(MILTER_FAIL_TEMPFAIL, 20000);
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_int_equal(w.message_len, sizeof expected - 1);
	assert_memory_equal(w.message, expected, sizeof expected - 1);
}

/* "I am busy", for ever: at any stage that ends with the deadline, and the next filter is heard. */
static void test_busy_for_ever(void **unused)
{
	static const char stages[] = { MILTER_NEGOTIATE, MILTER_CONNECT, MILTER_MAIL, MILTER_RCPT, MILTER_DATA, MILTER_BODY_END };
	static const struct line refuses[] = { { MILTER_BODY_END, PACKET("\0\0\0\1r") }, { 0 } };
	(void)unused;
	for (size_t i = 0; i < sizeof stages; i++) {
		bool is_before_message = i < 4;
		begin(NULL, refuses);
		w.filters[0].chat_at = stages[i];
		run(MILTER_FAIL_ACCEPT, 30);
		/* At the end of the message the time is over for all. */
		assert_int_equal(w.outcome, is_before_message ? MILTER_REFUSE : MILTER_PASS);
		assert_int_equal(w.rcpt_code, 0);
		begin(NULL, NULL);
		w.filters[0].chat_at = stages[i];
		run(MILTER_FAIL_TEMPFAIL, 30);
		assert_int_equal(w.outcome, MILTER_REFUSE);
		assert_int_equal(w.rcpt_code, is_before_message ? 451 : 0);
		assert_int_equal(w.code, 451);
		assert_string_equal(w.stage, "deadline");
	}
}

/* The time is over while the message is still being read: one answer, and nothing of the image is touched after it. */
static void test_deadline_while_loading(void **unused)
{
	(void)unused;
	begin(NULL, NULL);
	/* Shorter than it says: reading fails. */
	w.image = (struct content_image){ .fd = memfd_create("image", MFD_CLOEXEC), .len = 100 };
	assert_true(w.image.fd >= 0);
	run(MILTER_FAIL_ACCEPT, 20000);
	assert_int_equal(w.code, 451);
	begin(NULL, NULL);
	w.image = (struct content_image){ .fd = memfd_create("image", MFD_CLOEXEC), .len = 100 };
	w.filters[0].chat_at = 0;
	run(MILTER_FAIL_ACCEPT, 0);
	assert_int_equal(w.outcome, MILTER_REFUSE);
	assert_int_equal(w.code, 451);
}

/* ---- large ones */

static void put_packet(struct buf *out, const char *data, size_t len)
{
	const char head[] = { 0, 0, (char)(len >> 8), (char)(len & 0xff) };
	assert_int_equal(buf_append(out, head, sizeof head), 0);
	assert_int_equal(buf_append(out, data, len), 0);
}

/* A message with so many fields "A: 1", in memory. */
static struct buf long_message(size_t fields)
{
	struct buf wire = { .cap = 1u << 20 };
	for (size_t i = 0; i < fields; i++)
		assert_int_equal(buf_append_span(&wire, SPAN_LIT("A: 0123456789\r\n")), 0);
	assert_int_equal(buf_append_span(&wire, SPAN_LIT("B: 2\r\n\r\nbody\r\n.\r\n")), 0);
	return wire;
}

/* What a filter does not answer goes out in portions, all of it. */
static void test_a_long_header_without_answers(void **unused)
{
	static const struct line silent[] = { { MILTER_NEGOTIATE, PACKET("\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\x08\0\x80") }, { MILTER_HEADER, SPAN_NONE },
					      { MILTER_BODY, SPAN_NONE }, { MILTER_BODY_END, PACKET("\0\0\0\5hX\0y\0" CONTINUED) }, { 0 } };
	struct buf wire = long_message(20000 - 2);
	(void)unused;
	begin(silent, NULL);
	w.image.memory = buf_span(&wire);
	w.image.len = wire.len;
	run(MILTER_FAIL_TEMPFAIL, 5000);
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_true(w.is_changed);
	buf_free(&wire);
}

/* Who makes a filter want too much does not get round it. */
static void test_more_changes_than_there_may_be(void **unused)
{
	struct buf reply = { .cap = 1u << 20 };
	const struct line script[] = { { MILTER_BODY_END, { NULL, 0 } }, { 0 } };
	struct line all[2];
	(void)unused;
	for (unsigned i = 0; i < 2001; i++)
		put_packet(&reply, "hX\0y", 5);
	assert_int_equal(buf_append_span(&reply, SPAN_LIT(CONTINUED)), 0);
	memcpy(all, script, sizeof all);
	all[0].reply = buf_span(&reply);
	begin(all, NULL);
	run(MILTER_FAIL_ACCEPT, 20000);
	assert_int_equal(w.outcome, MILTER_REFUSE);
	assert_int_equal(w.code, 451);
	assert_string_equal(w.who, "one");
	assert_string_equal(w.limit, "2000 changes");
	assert_false(w.is_changed);
	/* One less, and all is well. */
	all[0].reply = span_sub(buf_span(&reply), 9, reply.len);
	begin(all, NULL);
	run(MILTER_FAIL_ACCEPT, 20000);
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_true(w.is_changed);
	buf_free(&reply);
}

/* The bound is for all filters together. */
static void test_more_recipients_than_there_may_be(void **unused)
{
	struct buf replies[2] = { { .cap = 1u << 20 }, { .cap = 1u << 20 } };
	struct line scripts[2][2] = { { { MILTER_BODY_END, { NULL, 0 } }, { 0 } }, { { MILTER_BODY_END, { NULL, 0 } }, { 0 } } };
	char text[40];
	(void)unused;
	for (unsigned i = 0; i < 2002; i++) {
		(void)snprintf(text, sizeof text, "+<%04u@d.example>", i);
		put_packet(&replies[i % 2], text, strlen(text) + 1);
	}
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(buf_append_span(&replies[i], SPAN_LIT(CONTINUED)), 0);
		scripts[i][0].reply = buf_span(&replies[i]);
	}
	begin(scripts[0], scripts[1]);
	run(MILTER_FAIL_ACCEPT, 20000);
	assert_int_equal(w.outcome, MILTER_REFUSE);
	assert_string_equal(w.who, "two");
	assert_string_equal(w.limit, "2000 recipients added or removed");
	begin(scripts[0], NULL);
	run(MILTER_FAIL_ACCEPT, 20000);
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_int_equal(w.added, 1001);
	buf_free(&replies[0]);
	buf_free(&replies[1]);
}

/* Changes in a long header are looked for again and again: others have their turn meanwhile. */
static void test_changes_leave_others_their_turn(void **unused)
{
	struct buf wire = long_message(18000), reply = { .cap = 1u << 20 };
	struct line script[] = { { MILTER_BODY_END, { NULL, 0 } }, { 0 } };
	(void)unused;
	for (unsigned i = 0; i < 2000; i++)
		put_packet(&reply, "m\0\0\0\1B\0x", 9);
	assert_int_equal(buf_append_span(&reply, SPAN_LIT(CONTINUED)), 0);
	script[0].reply = buf_span(&reply);
	begin(script, NULL);
	w.image.memory = buf_span(&wire);
	w.image.len = wire.len;
	w.filters[0].ticks_at = MILTER_BODY_END;
	run(MILTER_FAIL_TEMPFAIL, 20000);
	assert_int_equal(w.outcome, MILTER_PASS);
	assert_true(w.is_changed);
	assert_in_range(w.ticks, 2000 * 18000 / 100000 / 2, UINT32_MAX);
	buf_free(&wire);
	buf_free(&reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_broken_off_everywhere),
		cmocka_unit_test(test_nonsense_is_a_failure),
		cmocka_unit_test(test_deleted_before_the_next_filter),
		cmocka_unit_test(test_busy_for_ever),
		cmocka_unit_test(test_deadline_while_loading),
		cmocka_unit_test(test_a_long_header_without_answers),
		cmocka_unit_test(test_more_changes_than_there_may_be),
		cmocka_unit_test(test_more_recipients_than_there_may_be),
		cmocka_unit_test(test_changes_leave_others_their_turn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
