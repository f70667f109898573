/* The message's file for the external command, and the place where it lies (content/check_file.c, check_place.c). */
#include "check_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_place.h"
#include "smtp_dot.h"

static char place[64];
static int place_fd;

static int setup(void **unused)
{
	struct reason why;
	(void)unused;
	strcpy(place, "/tmp/postern-check-XXXXXX");
	assert_non_null(mkdtemp(place));
	assert_int_equal(check_place_open(place, &place_fd, &why), 0);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	check_place_empty(place_fd);
	(void)close(place_fd);
	assert_int_equal(rmdir(place), 0);
	return 0;
}

static int memory_of(struct span bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
	return fd;
}

static struct span read_all(int fd, char *room, size_t cap)
{
	ssize_t n = pread(fd, room, cap, 0);
	assert_true(n >= 0);
	return (struct span){ room, (size_t)n };
}

/* The file's text replaced by another; SPAN_NONE: as it is.  Returns what check_file_take says. */
static int round_trip(struct span wire, struct span expected_text, struct span new_text, struct span expected_wire)
{
	static char room[1 << 20];
	struct check_file file;
	struct reason why;
	int wire_fd = memory_of(wire), changed_fd = -2;
	uint64_t len = 0;
	assert_int_equal(check_file_make(place_fd, 7, wire_fd, wire.len, &file, &why), 0);
	int fd = openat(file.dir_fd, CHECK_FILE_NAME, O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(span_eq(read_all(fd, room, sizeof room), expected_text));
	if (new_text.ptr) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, new_text.ptr, new_text.len, 0), new_text.len);
	}
	(void)close(fd);
	int err = check_file_take(&file, wire_fd, wire.len, 500000, &changed_fd, &len, &why);
	if (!err && expected_wire.ptr) {
		assert_true(changed_fd >= 0);
		assert_int_equal(fcntl(changed_fd, F_GET_SEALS), CHECK_FILE_SEALS);
		assert_int_equal(len, expected_wire.len);
		assert_true(span_eq(read_all(changed_fd, room, sizeof room), expected_wire));
		(void)close(changed_fd);
	} else {
		assert_true(changed_fd == (err ? -2 : -1));
	}
	check_file_remove(&file);
	assert_int_equal(file.dir_fd, -1);
	(void)close(wire_fd);
	assert_int_equal(faccessat(place_fd, "0000000000000007", F_OK, 0), -1);
	return err;
}

#define WIRE SPAN_LIT("Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n")
#define TEXT SPAN_LIT("Subject: x\n\n.dot\nend\n")

static void test_unchanged(void **unused)
{
	(void)unused;
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_NONE, SPAN_NONE), 0);
	assert_int_equal(round_trip(WIRE, TEXT, TEXT, SPAN_NONE), 0); /* written anew, the same */
}

static void test_changed(void **unused)
{
	(void)unused;
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_LIT("Subject: x\n\n.dot\nend\n."), SPAN_LIT("Subject: x\r\n\r\n..dot\r\nend\r\n..\r\n.\r\n")), 0);
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_LIT("Subject: x\n\n.dot\nen"), SPAN_LIT("Subject: x\r\n\r\n..dot\r\nen\r\n.\r\n")), 0);
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_LIT("\r\n.\r\nx\ry\n"), SPAN_LIT("\r\n..\r\nxy\r\n.\r\n")), 0);
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_LIT("a\0b\n"), SPAN_NONE), ERR_CORRUPT);
	assert_int_equal(round_trip(WIRE, TEXT, SPAN_LIT(""), SPAN_NONE), ERR_CORRUPT);
}

/* Over several pieces, and a change at any place of it. */
static void test_large(void **unused)
{
	enum { LINES = 4000 };
	struct buf wire = { 0 }, text = { 0 }, changed = { 0 };
	struct smtp_dot dot;
	(void)unused;
	for (unsigned i = 0; i < LINES; i++)
		assert_int_equal(buf_printf(&text, "%s%u %*s\n", i % 7 ? "" : ".", i, (int)(i % 90), ""), 0);
	smtp_dot_init(&dot);
	assert_int_equal(smtp_dot_push(&dot, buf_span(&text), &wire), 0);
	assert_int_equal(smtp_dot_finish(&dot, &wire), 0);
	assert_int_equal(round_trip(buf_span(&wire), buf_span(&text), SPAN_NONE, SPAN_NONE), 0);
	for (size_t at = 1000; at < text.len; at += 40001) {
		struct buf other = { 0 };
		assert_int_equal(buf_append_span(&other, buf_span(&text)), 0);
		other.data[at] = other.data[at] == '\n' ? 'x' : '\n';
		smtp_dot_init(&dot);
		buf_clear(&changed);
		assert_int_equal(smtp_dot_push(&dot, buf_span(&other), &changed), 0);
		assert_int_equal(smtp_dot_finish(&dot, &changed), 0);
		assert_int_equal(round_trip(buf_span(&wire), buf_span(&text), buf_span(&other), buf_span(&changed)), 0);
		buf_free(&other);
	}
	assert_int_equal(buf_reserve(&text, 500000), 0);
	memset(text.data + text.len, 'x', 500000);
	assert_int_equal(round_trip(WIRE, TEXT, (struct span){ text.data, 500001 }, SPAN_NONE), ERR_CORRUPT);
	buf_free(&wire);
	buf_free(&text);
	buf_free(&changed);
}

static void test_no_message(void **unused)
{
	static const struct span bad[] = { SPAN_LIT(""), SPAN_LIT("x\r\n"), SPAN_LIT("x\r\n.") };
	struct check_file file;
	struct reason why;
	(void)unused;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int fd = memory_of(bad[i]);
		assert_int_equal(check_file_make(place_fd, i, fd, bad[i].len, &file, &why), ERR_CORRUPT);
		(void)close(fd);
	}
	/* Shorter than it was said to be. */
	int fd = memory_of(WIRE);
	assert_int_equal(check_file_make(place_fd, 9, fd, WIRE.len + 1, &file, &why), ERR_CORRUPT);
	(void)close(fd);
	assert_int_equal(faccessat(place_fd, "0000000000000009", F_OK, 0), -1);
}

static void test_sweep(void **unused)
{
	char command[256];
	(void)unused;
	(void)snprintf(command, sizeof command,
		       "cd %s && mkdir -p 00000000000000af/b/c and/more && cd 00000000000000af && touch b/x .y && ln -s /etc link && mkfifo fifo", place);
	assert_int_equal(system(command), 0);
	/* Somebody has named a directory with files of his own. */
	check_place_sweep(place_fd);
	(void)snprintf(command, sizeof command, "test -d /etc && test \"$(ls -A %s)\" = and", place);
	assert_int_equal(system(command), 0);
	check_place_empty(place_fd);
	(void)snprintf(command, sizeof command, "test -z \"$(ls -A %s)\"", place);
	assert_int_equal(system(command), 0);
}

/* What unpackers leave of a hostile attachment. */
static void test_sweep_of_what_resists(void **unused)
{
	char command[512];
	struct check_file file;
	struct reason why;
	const bool is_root = geteuid() == 0;
	const struct span wire = SPAN_LIT("\r\n.\r\n");
	int fd = memory_of(wire);
	(void)unused;
	if (is_root) {
		/* Whom modes stop. */
		assert_int_equal(chown(place, 65534, 65534), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	for (int closed = 0; closed < 2; closed++) {
		assert_int_equal(check_file_make(place_fd, 9, fd, wire.len, &file, &why), 0);
		(void)snprintf(command, sizeof command,
			       "cd %s/%s && mkdir -p a/b/c 0000000000000001/x && touch a/b/c/file a/file && chmod 500 a/b/c && chmod 0 a/b a && "
			       "(for i in $(seq 100); do mkdir d && touch f && cd d && chmod 500 .. || exit; done) && chmod 0 a%s",
			       place, file.dir, closed ? " ." : "");
		const pid_t child = fork();
		if (child == 0) {
			if (is_root && (seteuid(0) != 0 || setresuid(65534, 65534, 65534) != 0))
				_exit(1);
			_exit(system(command) == 0 ? 0 : 2);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		check_file_remove(&file);
		assert_int_equal(faccessat(place_fd, "0000000000000009", F_OK, 0), -1);
	}
	(void)close(fd);
	if (is_root)
		assert_int_equal(seteuid(0), 0);
}

static void test_places(void **unused)
{
	char path[128];
	struct reason why;
	int fd = -1;
	(void)unused;
	(void)snprintf(path, sizeof path, "%s/new", place);
	assert_int_equal(check_place_open(path, &fd, &why), 0);
	(void)close(fd);
	(void)snprintf(path, sizeof path, "%s/not/there", place);
	assert_int_equal(check_place_open(path, &fd, &why), ERR_NOTFOUND);
	assert_int_not_equal(check_place_open("/dev/null", &fd, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unchanged), cmocka_unit_test(test_changed), cmocka_unit_test(test_large),
		cmocka_unit_test(test_no_message), cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_sweep_of_what_resists), cmocka_unit_test(test_places),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
