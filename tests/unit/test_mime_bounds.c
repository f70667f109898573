/* Hostile messages: what the walk may cost, in memory and in time.  Time is only ever compared with that of a message of the same kind. */
#include "mime_walk.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "buf.h"
#include "err.h"
#include "sanitized.h"

/* A factor that noise does not reach and a square does: lengths differ by 16. */
#define LENGTHS_APART 16u
#define TIMES_APART_MAX 6.0
#define ROUNDS 3u
#define MESSAGE_BYTES (1u << 20)

static void add(struct buf *m, const char *text)
{
	assert_int_equal(buf_append(m, text, strlen(text)), 0);
}

static void fill(struct buf *m, const char *text, size_t bytes)
{
	for (size_t end = m->len + bytes; m->len < end;)
		add(m, text);
}

/* --- one header field of the length given --- */

static void names_unquoted(struct buf *m, size_t bytes)
{
	add(m, "Content-Disposition: ");
	fill(m, "name=", bytes);
}

static void names_in_quotes(struct buf *m, size_t bytes)
{
	add(m, "Content-Disposition: x");
	fill(m, ";name=\"'\"", bytes);
}

static void apostrophes(struct buf *m, size_t bytes)
{
	add(m, "Content-Disposition: x");
	fill(m, "; name='\"", bytes);
}

static void comments(struct buf *m, size_t bytes)
{
	add(m, "Content-Type: ");
	fill(m, "(", bytes);
}

static void words(struct buf *m, size_t bytes)
{
	add(m, "Subject: ");
	fill(m, "=?a?q?", bytes);
}

static void sections(struct buf *m, size_t bytes)
{
	add(m, "Content-Disposition: x");
	fill(m, ";filename*0*=%41", bytes);
}

static void name_of_dots(struct buf *m, size_t bytes)
{
	add(m, "Content-Type: a/b; name=\"");
	fill(m, ". ", bytes);
}

static void spaces(struct buf *m, size_t bytes)
{
	add(m, "Content-Type: a/b; name");
	fill(m, " ", bytes);
	add(m, "=");
}

/* --- a body --- */

static void one_line(struct buf *m, size_t bytes)
{
	add(m, "\n");
	fill(m, "=A \xe4", bytes);
}

static void one_encoded_line(struct buf *m, size_t bytes)
{
	add(m, "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=shift_jis\n\n");
	fill(m, "=   \x83=", bytes);
}

static void delimiters(struct buf *m, size_t bytes)
{
	add(m, "Content-Type: multipart/mixed; boundary=a\n\n");
	fill(m, "--a\n", bytes);
}

static void nested(struct buf *m, size_t bytes)
{
	fill(m, "Content-Type: multipart/mixed; boundary=aaaaaaaaaaaaaaaaaaaa; boundary=aaaaaaaaaaaaaaaaaaab\n\n--aaaaaaaaaaaaaaaaaaaa\n", bytes / 2);
	fill(m, "--aaaaaaaaaaaaaaaaaaa\n", bytes / 2);
}

static void stray_fields(struct buf *m, size_t bytes)
{
	add(m, "rubbish\n");
	fill(m, "Content-Type: text/html\nContent-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n", bytes);
}

static void files(struct buf *m, size_t bytes)
{
	add(m, "\n");
	fill(m, "begin 644 x\n#86)C\n=ybegin name=y\n", bytes);
}

/* Messages in messages, each in quoted-printable as well, which does not shrink: the last one that is decoded shows it all again. */
static void encoded(struct buf *m, size_t bytes)
{
	for (unsigned i = 0; i < 8; i++)
		add(m, "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n");
	fill(m, "words in plain text\n", bytes);
}

typedef void (*make_fn)(struct buf *m, size_t bytes);

struct kind {
	const char *name;
	make_fn make;
	bool is_field;
};

static const struct kind kinds[] = {
	{ "names without quotes", names_unquoted, true }, { "names in quotes", names_in_quotes, true }, { "apostrophes", apostrophes, true },
	{ "comments", comments, true },			  { "encoded words", words, true },		{ "sections", sections, true },
	{ "a name of dots", name_of_dots, true },	  { "spaces", spaces, true },			{ "one line", one_line, false },
	{ "one encoded line", one_encoded_line, false },  { "delimiters", delimiters, false },		{ "nested", nested, false },
	{ "stray fields", stray_fields, false },	  { "files", files, false },			{ "encoded", encoded, false },
};

struct tally {
	uint64_t bytes;
};

/* What is allocated, counted in the allocator itself: the peak lies between two pieces. */
static size_t in_use, peak;
/* Of the allocations to come the one that fails; 0: none. */
static unsigned fails_at;

#if !IS_SANITIZED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static bool is_failing(void)
{
	return fails_at > 0 && --fails_at == 0;
}

static void *counted(void *block)
{
	in_use += block ? malloc_usable_size(block) : 0;
	peak = in_use > peak ? in_use : peak;
	return block;
}

void *malloc(size_t size)
{
	return is_failing() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return is_failing() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
	if (is_failing())
		return NULL;
	size_t before = block ? malloc_usable_size(block) : 0;
	void *moved = __libc_realloc(block, size);
	/* While it is copied both are there. */
	if (moved) {
		(void)counted(moved);
		in_use -= before;
	}
	return moved;
}

void free(void *block)
{
	in_use -= block ? malloc_usable_size(block) : 0;
	__libc_free(block);
}
#endif

static void on_piece(void *owner, const struct mime_piece *piece)
{
	struct tally *t = owner;
	t->bytes += piece->text.len;
}

static void walk(const struct buf *message, struct tally *t)
{
	struct mime_walk *w = NULL;
	assert_int_equal(mime_walk_open(MIME_PLAIN, on_piece, t, &w), 0);
	for (size_t at = 0; at < message->len; at += 4096)
		assert_int_equal(mime_walk_push(w, span_sub(buf_span(message), at, at + 4096)), 0);
	assert_int_equal(mime_walk_finish(w), 0);
	mime_walk_close(&w);
}

/* Parts of so many bytes until the message has its length. */
static void make(const struct kind *kind, size_t part, struct buf *out)
{
	while (out->len < MESSAGE_BYTES) {
		kind->make(out, part);
		add(out, kind->is_field ? "\n" : "\n\n");
	}
}

static double seconds_of(const struct buf *message)
{
	double best = 1e9;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct timespec from, to;
		struct tally t = { .bytes = 0 };
		(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
		walk(message, &t);
		(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
		double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
		best = took < best ? took : best;
	}
	return best;
}

/* A field of 16 times the length must not cost more than as many bytes in 16 fields; a message of 16 times the length not much more than 16 times as much. */
static void test_time_is_linear(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		struct buf shorter = { .cap = 0 }, longer = { .cap = 0 };
		double factor = 1;
		if (kinds[i].is_field) {
			make(&kinds[i], (MIME_FIELD_MAX - 100) / LENGTHS_APART, &shorter);
			make(&kinds[i], MIME_FIELD_MAX - 100, &longer);
		} else {
			kinds[i].make(&shorter, MESSAGE_BYTES / LENGTHS_APART);
			kinds[i].make(&longer, MESSAGE_BYTES);
			factor = LENGTHS_APART;
		}
		double small = seconds_of(&shorter), large = seconds_of(&longer);
		print_message("%-22s %8.3f ms %8.3f ms\n", kinds[i].name, small * 1e3, large * 1e3);
		assert_true(large <= small * factor * TIMES_APART_MAX);
		buf_free(&shorter);
		buf_free(&longer);
	}
}

static size_t peak_of(const struct buf *message, struct tally *out)
{
	walk(message, out); /* ICU keeps the tables of a charset that was used once */
	size_t before = in_use;
	*out = (struct tally){ .bytes = 0 };
	peak = in_use;
	walk(message, out);
	assert_int_equal(in_use, before);
	return peak - before;
}

static void test_memory_is_bounded(void **unused)
{
	(void)unused;
	if (IS_SANITIZED) /* whose allocator counts differently */
		skip();
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		struct buf message = { .cap = 0 };
		make(&kinds[i], kinds[i].is_field ? MIME_FIELD_MAX - 100 : MESSAGE_BYTES, &message);
		struct tally t = { .bytes = 0 };
		size_t most = peak_of(&message, &t);
		print_message("%-22s %8zu bytes at most, %llu shown of %zu\n", kinds[i].name, most, (unsigned long long)t.bytes, message.len);
		assert_true(most > 0 && most <= MIME_WALK_BYTES_MAX);
		buf_free(&message);
	}
}

/* Quoted-printable of all that is in it. */
static void quote(struct buf *m)
{
	struct buf quoted = { .cap = 0 };
	for (size_t i = 0; i < m->len; i++)
		assert_int_equal(buf_append(&quoted, m->data[i] == '=' ? "=3D" : &m->data[i], m->data[i] == '=' ? 3 : 1), 0);
	buf_free(m);
	*m = quoted;
}

static void wrap(struct buf *m, const char *head, char boundary)
{
	struct buf wrapped = { .cap = 0 };
	char own[2] = { boundary, '\0' };
	add(&wrapped, head);
	if (boundary) {
		fill(&wrapped, "b", MIME_BOUNDARY_MAX / 2);
		add(&wrapped, own);
		add(&wrapped, "\n\n--");
		fill(&wrapped, "b", MIME_BOUNDARY_MAX / 2);
		add(&wrapped, own);
		add(&wrapped, "\n");
	}
	assert_int_equal(buf_append(&wrapped, m->data, m->len), 0);
	buf_free(m);
	*m = wrapped;
}

/* Everything at once: in each of the messages that are decoded at the same time parts with long boundaries (longer ones would be too many), and within them a
 * field of the greatest length whose bytes become three each. */
static void test_memory_at_the_worst(void **unused)
{
	(void)unused;
	if (IS_SANITIZED)
		skip();
	struct buf m = { .cap = 0 };
	add(&m, "Content-Disposition: attachment; filename=\"=?");
	fill(&m, "\xe4", MIME_FIELD_MAX - 200);
	add(&m, "\"\nContent-Transfer-Encoding: quoted-printable\n\n");
	fill(&m, "\xe4", 100000);
	for (unsigned message = 0; message < 4; message++) {
		for (unsigned depth = 0; depth < 2; depth++)
			wrap(&m, "Content-Type: multipart/mixed; boundary=", (char)('a' + message * 2 + depth));
		if (message == 3)
			break;
		quote(&m);
		wrap(&m, "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n", '\0');
	}
	struct tally t = { .bytes = 0 };
	size_t most = peak_of(&m, &t);
	print_message("%zu bytes, %llu shown of %zu\n", most, (unsigned long long)t.bytes, m.len);
	assert_true(most > 2 * MIME_FIELD_MAX && most <= MIME_WALK_BYTES_MAX);
	buf_free(&m);
}

/* What an ordinary message holds while it comes. */
static void test_memory_of_ordinary_mail(void **unused)
{
	(void)unused;
	if (IS_SANITIZED)
		skip();
	struct buf m = { .cap = 0 };
	add(&m, "Subject: hello\nContent-Type: multipart/alternative; boundary=bound\n\n--bound\nContent-Type: text/plain; charset=iso-8859-15\n\n");
	fill(&m, "words in a line\n", 4000);
	add(&m, "--bound\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n");
	fill(&m, "PHA+aGVsbG8gPC9wPjxwPmhlbGxvIDwvcD48cD5oZWxsbyA8L3A+Cg==\n", 4000);
	struct tally t = { .bytes = 0 };
	size_t most = peak_of(&m, &t);
	print_message("%zu bytes\n", most);
	assert_true(most <= 16384);
	buf_free(&m);
}

/* Each allocation fails once: the walk says so, for something may be hidden where it looked away, and leaves nothing behind. */
static void test_without_memory(void **unused)
{
	(void)unused;
	if (IS_SANITIZED)
		skip();
	struct span message = SPAN_LIT("Subject: =?koi8-r?B?8NLJ18XU?= =?utf-8?q?x?=\nContent-Type: multipart/mixed; boundary=b; boundary*0=c; boundary*1=d\n\n"
				       "--b\nContent-Type: text/plain; charset=iso-2022-jp; name*0*=utf-8''x; name*0=y; name=\"=?x?q?z?=\"\n"
				       "Content-Transfer-Encoding: quoted-printable\n\n=1B$BF|\nbegin 644 x\n#86)C\n"
				       "--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQ29udGVudC1UeXBlOiBtdWx0aXBhcnQvbWl4ZWQ7IGJvdW5k\n"
				       "--b\nContent-Type: application/x\nrubbish\nContent-Disposition: x; filename=y\n\nbody\n--b--\n");
	unsigned failed = 0;
	struct tally once = { .bytes = 0 };
	walk(&(struct buf){ .data = (char *)message.ptr, .len = message.len }, &once); /* after which ICU has the tables that it keeps */
	for (unsigned at = 1;; at++) {
		struct tally t = { .bytes = 0 };
		struct mime_walk *w = NULL;
		size_t before = in_use;
		fails_at = at;
		int err = mime_walk_open(MIME_PLAIN, on_piece, &t, &w);
		for (size_t i = 0; !err && i < message.len; i += 5)
			err = mime_walk_push(w, span_sub(message, i, i + 5));
		if (!err)
			err = mime_walk_finish(w);
		bool was_reached = fails_at == 0;
		fails_at = 0;
		if (err && w)
			assert_int_equal(mime_walk_push(w, SPAN_LIT("x")), err);
		mime_walk_close(&w);
		assert_int_equal(in_use, before);
		if (!was_reached)
			break;
		assert_int_equal(err, ERR_NOMEM);
		failed++;
	}
	print_message("%u allocations\n", failed);
	assert_true(failed > 20);
}

int main(void)
{
	mime_walk_init_prepriv();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_is_linear),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_memory_at_the_worst),
		cmocka_unit_test(test_memory_of_ordinary_mail),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
