/* The content filter's patterns: what all of them together find is what each of them would find alone, line by line, however the bytes are cut. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "filter_fold.h"
#include "filter_lines.h"
#include "filter_literal.h"
#include "filter_set.h"

#define RULES_MAX 40

static uint64_t chance = 7;

static uint32_t next(uint32_t below)
{
	chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(chance >> 33) % below;
}

/* ---- what a pattern demands */

static void demands(const char *expression, const char *expected)
{
	struct filter_literals found;
	char all[512] = "";
	if (filter_literals_find(span_of(expression), false, &found))
		for (unsigned i = 0; i < found.count; i++)
			(void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.*s", i ? "|" : "", found.items[i].len, found.items[i].bytes);
	if (strcmp(all, expected) != 0)
		fail_msg("%s demands '%s', expected '%s'", expression, all, expected);
}

static void test_demands(void **state)
{
	(void)state;
	demands("From: Friend@public.com", "from: friend@public");
	demands("name\\=\".*\\.vbs\"", ".vbs\"");
	demands("\\.vbs", ".vbs");
	demands("\\.\\(vbs\\|exe\\|scr\\)", ".vbs|.exe|.scr");
	demands("v[i1l]agra", "viagra|v1agra|vlagra");
	demands("[Vv][Ii]agra", "viagra");
	demands("ab*cde", "cde");
	demands("abc*d", "ab");
	demands("abc\\+d", "ab");
	demands("a\\(bcd\\)*e", "");
	demands("a\\(bcd\\)\\{2\\}e", "bcd");
	demands("a\\(bcd\\)\\?e", "");
	demands("free\\|money", "free|money");
	demands("free\\|.*", "");
	demands("^\\(subject\\|from\\): .*offer", "offer");
	demands("^x$", "");
	demands(".*", "");
	demands("\\<sex\\>", "sex");
	demands("[0-9][0-9]", "");
	demands("\\(a\\|b\\)\\(c\\|d\\)", "ac|ad|bc|bd");
}

/* ---- letters that are equal */

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = len - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)((0xf00u >> len & 0xf0) | c);
	return len;
}

static struct span fold_all(char *bytes, size_t len)
{
	struct span letter, text = { bytes, len };
	if (filter_fold_rare(text, &letter) == len)
		return letter;
	filter_fold(bytes, len);
	return text;
}

/* Whatever PCRE2 takes for equal to what a text may hold becomes just that. */
static void expect_all_equal(struct regex_scratch *scratch, struct span letter)
{
	char text[4096], one[4];
	struct regex *r = NULL;
	size_t at;
	assert_int_equal(regex_compile_basic(scratch, &letter, 1, REGEX_UTF, &r, &at, NULL), 0);
	for (uint32_t begin = 0x20; begin < 0x1fc00; begin += 1000) {
		size_t len = 0;
		for (uint32_t c = begin; c < begin + 1000; c++)
			if (c < 0xd800 || c > 0xdfff)
				len += put_utf8(text + len, c);
		struct regex_piece piece = { .text = { text, len }, .is_line_begin = true, .is_line_end = true };
		if (regex_match_piece(r, &piece) == TRI_FALSE)
			continue;
		for (uint32_t c = begin; c < begin + 1000; c++) {
			piece.text = (struct span){ one, put_utf8(one, c) };
			if (regex_match_piece(r, &piece) != TRI_TRUE)
				continue;
			struct span folded = fold_all(one, piece.text.len);
			if (!span_eq_nocase(folded, letter))
				fail_msg("U+%04X equals %.*s", c, SPAN_FMT(letter));
		}
	}
	regex_destroy(&r);
}

static void test_equal_letters(void **state)
{
	struct regex_scratch *scratch = NULL;
	unsigned sure = 0;
	(void)state;
	assert_int_equal(regex_scratch_create(&scratch), 0);
	for (uint32_t c = 'a'; c < 0x800; c++) {
		char bytes[4];
		size_t len = put_utf8(bytes, c);
		char pair[2] = { bytes[0], bytes[1] };
		if (c > 'z' && (len != 2 || !filter_fold_is_sure(pair) || memcmp(pair, bytes, 2) != 0))
			continue;
		expect_all_equal(scratch, (struct span){ bytes, len });
		sure++;
	}
	assert_true(sure > 26 + 30 + 24 + 48);
	regex_scratch_destroy(&scratch);
}

static void test_demands_of_characters(void **state)
{
	struct filter_literals found;
	(void)state;
	assert_true(filter_literals_find(span_of("\xd0\x9f\xd0\xa0\xd0\x98*x\xc3\x9c"), true, &found)); /* PRI*xU, as it were */
	assert_int_equal(found.count, 1);
	assert_memory_equal(found.items[0].bytes, "\xd0\xbf\xd1\x80", 4);
	assert_int_equal(found.items[0].len, 4);
	/* One with a case that is not known, and repetitions of all bytes of a character. */
	assert_false(filter_literals_find(span_of("\xc5\x81"), true, &found));
	assert_false(filter_literals_find(span_of("\xe4\xbb\x8a*"), true, &found));
	assert_true(filter_literals_find(span_of("\xe4\xbb\x8a"), true, &found));
	assert_int_equal(found.items[0].len, 3);
}

/* ---- all together, against one by one */

struct reference {
	struct regex_scratch *scratch;
	struct regex *rules[RULES_MAX];
	unsigned count;
};

/* The first line that matches and its first rule, from 1; 0: none. */
static unsigned find_plainly(const struct reference *ref, struct span message, struct span *line_out)
{
	struct span rest = message, line;
	while (span_cut(&rest, '\n', &line)) {
		if (line.len && line.ptr[line.len - 1] == '\r')
			line.len--;
		if (span_eq(line, SPAN_LIT(".")))
			return 0;
		if (line.len && line.ptr[0] == '.')
			line = span_sub(line, 1, line.len);
		const struct regex_piece piece = { .text = line, .is_line_begin = true, .is_line_end = true };
		for (unsigned i = 0; i < ref->count; i++)
			if (regex_match_piece(ref->rules[i], &piece) == TRI_TRUE) {
				*line_out = line;
				return i + 1;
			}
	}
	return 0;
}

/* What waits goes on until nothing does; where a slice is one comparison, one at a time. */
static bool go_on(struct filter_lines *lines, struct filter_work *work, struct filter_match *match)
{
	bool is_match = false;
	while (!is_match && !work->is_over && filter_lines_is_waiting(lines)) {
		uint64_t before = work->compared;
		filter_work_next_slice(work);
		is_match = filter_lines_go_on(lines, work, match);
		if ((work->slice_ns == 0 && work->compared - before > 1) || (work->compared == before && filter_lines_is_waiting(lines)))
			fail_msg("%u comparisons in a slice", (unsigned)(work->compared - before));
	}
	return is_match;
}

/* In pieces of up to `most` bytes, in slices of so many ns; what waits is gone on with at once, or when all has come. */
static unsigned find_sliced(struct filter_set *set, struct span message, uint32_t most, uint64_t slice_ns, bool is_late, char *text, size_t cap)
{
	struct filter_lines lines;
	struct filter_work work;
	struct filter_match match;
	filter_work_init(&work);
	work.slice_ns = slice_ns;
	filter_lines_init(&lines, filter_set_matcher(set, FILTER_LINE), true);
	bool is_match = false;
	while (message.len && !is_match) {
		/* Memory of its own, so that a sanitizer sees a look beyond it. */
		uint32_t len = most == 1 ? 1 : 1 + next(most);
		struct span piece = span_sub(message, 0, len);
		char *copy = malloc(piece.len);
		memcpy(copy, piece.ptr, piece.len);
		filter_work_next_slice(&work);
		is_match = filter_lines_push(&lines, (struct span){ copy, piece.len }, &work, &match) || (!is_late && go_on(&lines, &work, &match));
		if (is_match)
			(void)snprintf(text, cap, "%.*s", SPAN_FMT(match.text));
		free(copy);
		message = span_sub(message, piece.len, message.len);
	}
	if (work.unknown)
		fail_msg("rule %u: %s on %.*s", work.unknown_line, work.unknown, SPAN_FMT(message));
	filter_work_next_slice(&work);
	if (!is_match && (filter_lines_end(&lines, &work, &match) || go_on(&lines, &work, &match))) {
		is_match = true;
		(void)snprintf(text, cap, "%.*s", SPAN_FMT(match.text));
	}
	filter_lines_free(&lines);
	return is_match ? match.rule_line : 0;
}

static unsigned find(struct filter_set *set, struct span message, uint32_t most, char *text, size_t cap)
{
	return find_sliced(set, message, most, FILTER_SLICE_NS, false, text, cap);
}

static struct filter_set *compile(const char *text)
{
	struct rules_diags diags = { 0 };
	struct filter_set *set = NULL;
	if (filter_set_compile(SPAN_LIT("f"), span_of(text), &diags, &set) != 0)
		fail_msg("%s", diags.first ? diags.first->text.ptr : "?");
	rules_diags_free(&diags);
	return set;
}

static void make_pattern(char *out, size_t cap)
{
	static const char *const parts[] = { "ab", "abc", "cab", "a", "b", "c", "B", ".", "*", "\\(ab\\)", "\\(abc\\|cc\\)", "\\+", "\\?", "\\{1,2\\}", "[ab]",
					     "[^a]", "\\.", "bca", ".*", "\\<", "\\>", "ca", "aa", "bb", "\\(a\\)\\1", "\\|" };
	out[0] = '\0';
	if (next(8) == 0)
		strcpy(out, "^");
	for (uint32_t n = 2 + next(6); n > 0; n--)
		(void)snprintf(out + strlen(out), cap - strlen(out), "%s", parts[next(sizeof parts / sizeof parts[0])]);
	if (next(8) == 0)
		strcat(out, "$");
}

/* Exponential even on short lines. */
static bool is_hostile(const char *pattern)
{
	static const char *const twice[] = { "*\\{", "\\+\\{", "\\?\\{", "\\}*", "\\}\\+", "\\}\\?", "\\}\\{" };
	for (size_t i = 0; i < sizeof twice / sizeof twice[0]; i++)
		if (strstr(pattern, twice[i]))
			return true;
	return false;
}

static void make_rules(struct reference *ref, char *file, size_t cap)
{
	char pattern[128];
	uint32_t wanted = 1 + next(RULES_MAX);
	size_t at;
	ref->count = 0;
	file[0] = '\0';
	while (ref->count < wanted) {
		make_pattern(pattern, sizeof pattern);
		struct span text = span_of(pattern);
		if (is_hostile(pattern))
			continue;
		if (regex_compile_basic(ref->scratch, &text, 1, 0, &ref->rules[ref->count], &at, NULL))
			continue;
		/* One that matches nearly everything leaves nothing to look for. */
		const struct regex_piece easy = { .text = SPAN_LIT("cacb"), .is_line_begin = true, .is_line_end = true };
		if (regex_match_piece(ref->rules[ref->count], &easy) != TRI_FALSE) {
			regex_destroy(&ref->rules[ref->count]);
			continue;
		}
		ref->count++;
		(void)snprintf(file + strlen(file), cap - strlen(file), "%s\n", pattern);
	}
}

static void make_message(char *out, size_t cap)
{
	size_t len = 0;
	for (uint32_t lines = next(12); lines > 0; lines--) {
		for (uint32_t n = next(8); n > 0 && len + 8 < cap; n--)
			out[len++] = "cC.bB acx"[next(9)];
		if (next(3) == 0)
			len += (size_t)sprintf(out + len, "%s", next(2) ? "aBc" : "bb");
		/* As SMTP has it: a lone dot is not the message's. */
		out[len] = '\0';
		if (len && out[len - 1] == '.')
			out[len++] = '-';
		len += (size_t)sprintf(out + len, "\r\n");
	}
	(void)sprintf(out + len, ".\r\n");
}

static void test_random(void **state)
{
	static char file[8192], message[1024], text[1024];
	struct reference ref = { .count = 0 };
	unsigned found = 0, missed = 0;
	(void)state;
	assert_int_equal(regex_scratch_create(&ref.scratch), 0);
	for (unsigned round = 0; round < 3000; round++) {
		make_rules(&ref, file, sizeof file);
		struct filter_set *set = compile(file);
		for (unsigned i = 0; i < 6; i++) {
			static const uint32_t cuts[] = { 1, 2, 5, 40, 2000 };
			struct span line = SPAN_NONE;
			make_message(message, sizeof message);
			unsigned expected = find_plainly(&ref, span_of(message), &line);
			*(expected ? &found : &missed) += 1;
			for (size_t c = 0; c < 2 * sizeof cuts / sizeof cuts[0]; c++) {
				bool is_sliced = c % 2;
				unsigned rule = find_sliced(set, span_of(message), cuts[c / 2], is_sliced ? 0 : FILTER_SLICE_NS, next(2), text, sizeof text);
				if (rule != expected || (rule && !span_eq(span_of(text), line)))
					fail_msg("rule %u, expected %u (%.*s, found %s), cut at %u\n%s\nin\n%s", rule, expected, SPAN_FMT(line),
						 text, cuts[c / 2], file, message);
			}
		}
		filter_set_release(&set);
		for (unsigned i = 0; i < ref.count; i++)
			regex_destroy(&ref.rules[i]);
	}
	regex_scratch_destroy(&ref.scratch);
	assert_true(found > 3000 && missed > 1500);
}

/* ---- lines of any length */

static void test_long_lines(void **state)
{
	const size_t len = 200000;
	char *line = malloc(len + 8), text[64];
	struct filter_set *set = compile("^begins\nends$\nneedle[0-9]\n[0-9]\\{3\\}x\\>\nxx.*yy\n\\(zz\\)\\1\n");
	static const size_t places[] = { 0, 1, 16383, 16384, 32760, 32764, 32766, 32768, 49150, 65530, 199990 };
	(void)state;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		for (uint32_t cut = 0; cut < 3; cut++) {
			static const uint32_t cuts[] = { 999, 70000, 300000 };
			memset(line, '-', len);
			memcpy(line + len, "\r\n.\r\n", 6);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 0);
			memcpy(line + places[i], "NEEDLE7", 7);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 3);
			memcpy(line + places[i], "ZZzz777", 7);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 6);
			/* No edge of a word, but where the line is cut there may seem to be one. */
			memcpy(line + places[i], "-777xyy", 7);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 0);
			memcpy(line + places[i], "begins-", 7);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), places[i] == 0 ? 1 : 0);
			memcpy(line + places[i], "---ends", 7);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 0);
			memcpy(line + len - 4, "ends", 4);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 2);
			/* A match of 15,000 bytes. */
			memset(line, '-', len);
			memcpy(line + places[i], "xx", 2);
			memcpy(line + (places[i] + 15000 < len ? places[i] + 15000 : len - 2), "yy", 2);
			assert_int_equal(find(set, span_of(line), cuts[cut], text, sizeof text), 5);
		}
	filter_set_release(&set);
	free(line);
}

/* ---- limits */

static void test_match_limit(void **state)
{
	struct filter_set *set = compile("\\(a*\\)*\\(a*\\)*b[0-9]\n[ab]*[ab]*[ab]*[0-9]c\nlater\n");
	char line[3000];
	struct filter_lines lines;
	struct filter_work work;
	struct filter_match match;
	(void)state;
	memset(line, 'a', sizeof line);
	memcpy(line + sizeof line - 4, "b.\r\n", 4);
	filter_work_init(&work);
	filter_lines_init(&lines, filter_set_matcher(set, FILTER_LINE), true);
	for (unsigned i = 0; i < 2000; i++) {
		filter_work_next_slice(&work);
		assert_false(filter_lines_push(&lines, (struct span){ line, sizeof line }, &work, &match));
		while (filter_lines_is_waiting(&lines)) {
			filter_work_next_slice(&work);
			assert_false(filter_lines_go_on(&lines, &work, &match));
		}
	}
	assert_non_null(work.unknown);
	assert_true(work.unknown_line == 1 || work.unknown_line == 2);
	assert_false(work.is_over);
	/* The others are still looked for. */
	filter_work_next_slice(&work);
	assert_true(filter_lines_push(&lines, SPAN_LIT("it comes LATER\r\n"), &work, &match));
	assert_int_equal(match.rule_line, 3);
	filter_lines_free(&lines);
	filter_set_release(&set);
}

/* A group that holds a pattern which is not tried any more is not asked first for each line: it would say no more than its members do, and that late. */
static void test_spoiled_group(void **state)
{
	struct filter_set *set = compile("\\(a*\\)*\\(a*\\)*[0-9][0-9]\n[0-9][0-9][0-9]\n[x-z][x-z]\n");
	char line[3000];
	struct filter_lines lines;
	struct filter_work work;
	struct filter_match match;
	(void)state;
	assert_int_equal(filter_set_measure(set, FILTER_LINE).loose, 3);
	memset(line, 'a', sizeof line);
	memcpy(line + sizeof line - 4, "1-\r\n", 4);
	filter_work_init(&work);
	work.slice_ns = UINT64_MAX / 2;
	filter_lines_init(&lines, filter_set_matcher(set, FILTER_LINE), true);
	assert_false(filter_lines_push(&lines, (struct span){ line, sizeof line }, &work, &match));
	assert_int_equal(work.unknown_line, 1);
	assert_int_equal(work.spoiled_count, 1);
	uint64_t before = work.compared;
	for (unsigned i = 0; i < 100; i++)
		assert_false(filter_lines_push(&lines, (struct span){ line, sizeof line }, &work, &match));
	/* Two patterns that are left, and not the group. */
	assert_int_equal(work.compared - before, 200);
	assert_false(work.is_over);
	assert_true(filter_lines_push(&lines, SPAN_LIT("so xy\r\n"), &work, &match));
	assert_int_equal(match.rule_line, 3);
	filter_lines_free(&lines);
	filter_set_release(&set);
}

static enum tri match_alone(const char *pattern, unsigned flags, struct span text)
{
	struct regex_scratch *scratch = NULL;
	struct regex *regex = NULL;
	struct span expression = span_of(pattern);
	const struct regex_piece piece = { .text = text, .is_line_begin = true, .is_line_end = true };
	size_t at;
	assert_int_equal(regex_scratch_create(&scratch), 0);
	assert_int_equal(regex_compile_basic(scratch, &expression, 1, flags, &regex, &at, NULL), 0);
	enum tri result = regex_match_piece(regex, &piece);
	regex_destroy(&regex);
	regex_scratch_destroy(&scratch);
	return result;
}

/* What takes minutes without ever making many steps from one place. */
static void test_match_time(void **state)
{
	static char line[30000];
	(void)state;
	memset(line, 'a', sizeof line);
	assert_int_equal(match_alone("\\(.*\\)\\1\\1[0-9]", 0, (struct span){ line, 8000 }), TRI_UNKNOWN);
	assert_int_equal(match_alone("\\([a-z]*\\)\\1,", REGEX_UTF, (struct span){ line, 0 }), TRI_FALSE);
	assert_int_equal(match_alone("\\(fo\\|fob\\|.\\)*[0-9]", 0, (struct span){ line, sizeof line }), TRI_UNKNOWN);
}

/* A long text is gone through in pieces: none of its places is left out, none is made up. */
static void test_every_place(void **state)
{
	char line[601];
	(void)state;
	for (size_t len = 120; len < 600; len += 61)
		for (size_t at = 0; at < len; at++) {
			memset(line, '\xa9', len);
			line[at] = 'x';
			assert_int_equal(match_alone("[x]$", 0, (struct span){ line, len }), at + 1 == len ? TRI_TRUE : TRI_FALSE);
			assert_int_equal(match_alone("^\\(x\\)*\xa9", 0, (struct span){ line, len }), TRI_TRUE);
			assert_int_equal(match_alone("[x-z]", 0, (struct span){ line, len }), TRI_TRUE);
		}
	/* Two bytes each, so that one of two cuts would lie within a letter. */
	for (size_t len = 120; len < 600; len += 2)
		for (size_t odd = 0; odd < 2; odd++) {
			line[0] = '-';
			for (size_t i = 0; i < len; i += 2)
				memcpy(line + odd + i, "\xc3\xa9", 2);
			memcpy(line + odd + len / 2 / 2 * 2, "\xc3\xb6", 2);
			assert_int_equal(match_alone("[\xc3\xa4-\xc3\xa6\xc3\x96]", REGEX_UTF, (struct span){ line, odd + len }), TRI_TRUE);
			assert_int_equal(match_alone("\xc3\xa9$", REGEX_UTF, (struct span){ line, odd + len }), TRI_TRUE);
		}
}

static void test_budget(void **state)
{
	struct filter_work work;
	(void)state;
	filter_work_init(&work);
	work.allowed_ns = 0;
	filter_work_begin(&work);
	unsigned steps = 0;
	while (filter_work_goes_on(&work))
		steps++;
	assert_true(work.is_over && work.unknown && steps < 1000000000);
	for (uint32_t i = 1; i < 20; i++) {
		filter_work_init(&work);
		for (uint32_t j = 1; j <= i; j++)
			filter_work_drop(&work, j);
		assert_int_equal(work.unknown_line, 1);
		assert_int_equal(work.is_over, i > FILTER_WORK_DROPPED_MAX);
		assert_true(filter_work_has_dropped(&work, 1));
		assert_false(filter_work_has_dropped(&work, 20));
	}
}

static void test_many(void **state)
{
	static char file[400000], message[64];
	struct filter_set *set;
	char text[64];
	size_t len = 0;
	(void)state;
	for (unsigned i = 0; i < 20000; i++)
		len += (size_t)sprintf(file + len, "word%ux\n", i);
	set = compile(file);
	for (unsigned i = 0; i < 20000; i += 997) {
		(void)sprintf(message, "a WORD%uX b\r\n.\r\n", i);
		assert_int_equal(find(set, span_of(message), 100, text, sizeof text), i + 1);
	}
	assert_int_equal(find(set, SPAN_LIT("word20000x\r\n.\r\n"), 100, text, sizeof text), 0);
	filter_set_release(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_demands),
		cmocka_unit_test(test_equal_letters),
		cmocka_unit_test(test_demands_of_characters),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_match_limit),
		cmocka_unit_test(test_spoiled_group),
		cmocka_unit_test(test_match_time),
		cmocka_unit_test(test_every_place),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
