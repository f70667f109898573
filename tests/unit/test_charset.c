/* Charsets to UTF-8: known texts, and any bytes in any charset: always valid UTF-8, the same whole and byte by byte. */
#include "charset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void convert(const char *label, struct span bytes, size_t step, struct buf *out)
{
	struct charset charset;
	charset_open(&charset, span_of(label));
	for (size_t at = 0; at < bytes.len; at += step)
		assert_int_equal(charset_push(&charset, span_sub(bytes, at, at + step), out), 0);
	assert_int_equal(charset_finish(&charset, out), 0);
	charset_close(&charset);
}

static void check(const char *label, struct span bytes, const char *expected)
{
	for (size_t step = 1; step <= bytes.len; step++) {
		struct buf out = { .cap = 0 };
		convert(label, bytes, step, &out);
		assert_int_equal(buf_append(&out, "", 1), 0);
		assert_string_equal(out.data, expected);
		buf_free(&out);
	}
}

static void test_known_texts(void **unused)
{
	(void)unused;
	check("utf-8", SPAN_LIT("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z"), "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z");
	/* Not UTF-8: overlong, a surrogate, cut short, beyond Unicode: each byte for itself. */
	check("utf-8", SPAN_LIT("\xc0\xaf"), "\xc3\x80\xc2\xaf");
	check("utf-8", SPAN_LIT("\xed\xa0\x80"), "\xc3\xad\xc2\xa0\xe2\x82\xac");
	check("utf-8", SPAN_LIT("\xf4\x90\x80\x80"), "\xc3\xb4\xc2\x90\xe2\x82\xac\xe2\x82\xac");
	check("utf-8", SPAN_LIT("\xe2\x82"), "\xc3\xa2\xe2\x80\x9a");
	check("utf-8", SPAN_LIT("\xe2\x82\xc3\xa4"), "\xc3\xa2\xe2\x80\x9a\xc3\xa4");
	check("", SPAN_LIT("\x80\xe4"), "\xe2\x82\xac\xc3\xa4");
	check("no-such-charset", SPAN_LIT("\xe4"), "\xc3\xa4");
	check("utf-8/../../etc/passwd", SPAN_LIT("\xe4"), "\xc3\xa4");
	check("ibm-37,swaplfnl", SPAN_LIT("\xe4"), "\xc3\xa4");
	check("ISO-8859-1", SPAN_LIT("\xc3\xa4\x93"), "\xc3\x83\xc2\xa4\xe2\x80\x9c");
	check("iso-8859-15", SPAN_LIT("\xa4"), "\xe2\x82\xac");
	check("Windows-1251", SPAN_LIT("\xcf\xf0"), "\xd0\x9f\xd1\x80");
	check("shift_jis", SPAN_LIT("\x83\x5c\x83\x5c" "a"), "\xe3\x82\xbd\xe3\x82\xbd" "a");
	check("iso-2022-jp", SPAN_LIT("\x1b$BF|K\\\x1b(Ba"), "\xe6\x97\xa5\xe6\x9c\xac" "a");
	check("gb2312", SPAN_LIT("\xd6\xd0\xb9\xfa"), "\xe4\xb8\xad\xe5\x9b\xbd");
	check("ks_c_5601-1987", SPAN_LIT("\xb0\xa1"), "\xea\xb0\x80");
	check("utf-7", SPAN_LIT("a+AOQ-b"), "a\xc3\xa4" "b");
	check("utf-16", SPAN_LIT("\xfe\xff\0a\xd8\x3d\xde\0"), "a\xf0\x9f\x98\x80");
	check("utf-16le", SPAN_LIT("\x3d\xd8" "a\0"), "\xef\xbf\xbd" "a");
	check("utf-16be", SPAN_LIT("\xd8\x3d"), "\xef\xbf\xbd");
}

static bool is_utf8(struct span s)
{
	for (size_t i = 0; i < s.len;) {
		const unsigned char *p = (const unsigned char *)s.ptr + i;
		size_t len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
		if ((*p >= 0x80 && *p < 0xc2) || *p > 0xf4 || len > s.len - i)
			return false;
		for (size_t k = 1; k < len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return false;
		if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
			return false;
		i += len;
	}
	return true;
}

static void test_any_bytes(void **unused)
{
	(void)unused;
	static const char *const labels[] = { "utf-8",	   "us-ascii",	  "iso-8859-1",	 "iso-8859-15", "koi8-r",     "windows-1256", "shift_jis", "euc-jp",
					      "iso-2022-jp", "iso-2022-kr", "iso-2022-cn", "hz-gb-2312",  "gb18030",    "gb2312",	      "big5",	   "euc-kr",
					      "utf-7",	   "utf-16",	  "utf-16le",	 "utf-32",	"scsu",	      "bocu-1",	      "ibm-37",	   "lmbcs-1" };
	uint64_t state = 1;
	for (size_t n = 0; n < sizeof labels / sizeof labels[0]; n++)
		for (unsigned round = 0; round < 200; round++) {
			char bytes[256];
			struct buf whole = { .cap = 0 }, single = { .cap = 0 };
			for (size_t i = 0; i < sizeof bytes; i++) {
				state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
				/* Escapes begin shifts: more of them than chance has. */
				bytes[i] = (state >> 60) == 0 ? '\x1b' : (state >> 60) < 6 ? (char)(state >> 33 & 0x7f) : (char)(state >> 33);
			}
			convert(labels[n], (struct span){ bytes, sizeof bytes }, sizeof bytes, &whole);
			convert(labels[n], (struct span){ bytes, sizeof bytes }, 1, &single);
			assert_true(is_utf8(buf_span(&whole)));
			assert_int_equal(whole.len, single.len);
			assert_memory_equal(whole.data, single.data, whole.len);
			buf_free(&whole);
			buf_free(&single);
		}
}

static void test_cut(void **unused)
{
	(void)unused;
	assert_int_equal(charset_cut(SPAN_LIT("abc"), 4).len, 3);
	assert_int_equal(charset_cut(SPAN_LIT("abcde"), 4).len, 4);
	assert_int_equal(charset_cut(SPAN_LIT("abc\xc3\xa4"), 4).len, 3);
	assert_int_equal(charset_cut(SPAN_LIT("ab\xf0\x9f\x98\x80"), 5).len, 2);
}

int main(void)
{
	charset_init_prepriv();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_known_texts), cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_cut) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
