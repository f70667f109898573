/* The image of a message, read piece by piece from memory and from a file. */
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "content_reader.h"

#define LEN 200000u

static char bytes[LEN];

struct taker {
	struct loop *loop;
	struct content_reader *reader;
	size_t got;
	unsigned pieces, ends, give_up_at; /* after so many pieces; 0: never */
	int err;
	uint64_t from;
	bool is_in_next;
};

static void next(struct taker *t)
{
	t->is_in_next = true;
	content_reader_next(t->reader);
	t->is_in_next = false;
}

static void take(void *ctx, int err, struct span piece)
{
	struct taker *t = ctx;
	assert_false(t->is_in_next);
	assert_true(piece.len <= CONTENT_READER_PIECE_BYTES);
	if (err || piece.len == 0) {
		t->err = err;
		t->ends++;
		loop_stop(t->loop);
		return;
	}
	assert_memory_equal(piece.ptr, bytes + t->from + t->got, piece.len);
	t->got += piece.len;
	t->pieces++;
	next(t);
	if (t->pieces == t->give_up_at) {
		/* With a job under way, where there are jobs. */
		content_reader_destroy(&t->reader);
		loop_stop(t->loop);
	}
}

static struct taker read_all(const struct content_image *image, uint64_t from, unsigned give_up_at)
{
	struct taker t = { .from = from, .give_up_at = give_up_at };
	assert_int_equal(loop_create(&t.loop), 0);
	assert_int_equal(content_reader_create(t.loop, image, from, take, &t, &t.reader), 0);
	next(&t);
	loop_run(t.loop);
	content_reader_destroy(&t.reader);
	loop_destroy(&t.loop);
	return t;
}

static struct content_image make_file(size_t len)
{
	struct content_image image = { .fd = memfd_create("image", MFD_CLOEXEC), .len = LEN };
	assert_int_equal(write(image.fd, bytes, len), (ssize_t)len);
	return image;
}

static void whole(void **state)
{
	(void)state;
	const struct content_image memory = { .memory = { bytes, LEN }, .fd = -1, .len = LEN };
	const struct content_image file = make_file(LEN);
	const uint64_t froms[] = { 0, 1, 65536, LEN - 1, LEN, LEN + 5 };
	for (size_t i = 0; i < sizeof froms / sizeof froms[0]; i++) {
		size_t expected = froms[i] < LEN ? LEN - (size_t)froms[i] : 0;
		struct taker a = read_all(&memory, froms[i], 0), b = read_all(&file, froms[i], 0);
		assert_int_equal(a.got, expected);
		assert_int_equal(b.got, expected);
		assert_int_equal(a.ends + b.ends, 2);
		assert_int_equal(a.err | b.err, 0);
	}
	close(file.fd);
}

static void shorter_than_it_says(void **state)
{
	(void)state;
	const struct content_image file = make_file(100000);
	struct taker t = read_all(&file, 0, 0);
	assert_int_equal(t.err, ERR_IO);
	assert_int_equal(t.got, 100000);
	assert_int_equal(t.ends, 1);
	close(file.fd);
}

static void given_up(void **state)
{
	(void)state;
	const struct content_image memory = { .memory = { bytes, LEN }, .fd = -1, .len = LEN };
	const struct content_image file = make_file(LEN);
	for (unsigned pieces = 1; pieces <= 4; pieces++) {
		assert_int_equal(read_all(&memory, 0, pieces).ends, 0);
		assert_int_equal(read_all(&file, 0, pieces).ends, 0);
	}
	close(file.fd);
}

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (char)(i * 31 + i / 1000);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(whole), cmocka_unit_test(shorter_than_it_says), cmocka_unit_test(given_up) };
	return cmocka_run_group_tests(tests, setup, NULL);
}
