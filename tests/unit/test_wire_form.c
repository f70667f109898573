/* Wire form as another process hands it over (content/wire_form.c): whole, byte by byte, cut everywhere. */
#include "wire_form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "err.h"

static void check(struct span wire, bool is_whole)
{
	struct wire_form form;
	for (size_t cut = 0; cut <= wire.len; cut++) {
		wire_form_init(&form);
		wire_form_push(&form, span_sub(wire, 0, cut));
		wire_form_push(&form, span_sub(wire, cut, wire.len));
		assert_int_equal(wire_form_is_whole(&form), is_whole);
	}
	wire_form_init(&form);
	for (size_t i = 0; i < wire.len; i++)
		wire_form_push(&form, span_sub(wire, i, i + 1));
	assert_int_equal(wire_form_is_whole(&form), is_whole);

	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(write(fd, wire.ptr, wire.len), wire.len);
	assert_int_equal(wire_form_check_file(fd, wire.len), is_whole ? 0 : ERR_CORRUPT);
	assert_int_equal(wire_form_check_file(fd, wire.len + 1), ERR_CORRUPT);
	(void)close(fd);
}

static void test_good(void **unused)
{
	(void)unused;
	check(SPAN_LIT(".\r\n"), true);
	check(SPAN_LIT("Subject: x\r\n\r\ntext\r\n.\r\n"), true);
	check(SPAN_LIT("..\r\n..x\r\nx.\r\n \r\n...\r\n.\r\n"), true);
	check(SPAN_LIT("\x80\xff\r\n.\r\n"), true);
}

static void test_bad(void **unused)
{
	static const struct span bad[] = {
		SPAN_LIT(""),		       SPAN_LIT("x"),		   SPAN_LIT("x\r\n"),	     SPAN_LIT("x\r\n."),     SPAN_LIT("x\r\n.\r"),
		SPAN_LIT("x\r\n.\n"),	       SPAN_LIT("x\n.\r\n"),	   SPAN_LIT("x.\r\n"),	     SPAN_LIT("x\ry\r\n.\r\n"), SPAN_LIT("x\r\r\n.\r\n"),
		SPAN_LIT("x\r\n.\r\n.\r\n"),   SPAN_LIT("x\r\n.\r\nQUIT\r\n"), SPAN_LIT("x\0y\r\n.\r\n"), SPAN_LIT(".x\r\n.\r\n"), SPAN_LIT(".\rx\r\n.\r\n"),
		SPAN_LIT("\0\r\n.\r\n"),       SPAN_LIT("\n.\r\n"),
	};
	(void)unused;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		check(bad[i], false);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
