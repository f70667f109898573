#include "regex.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Enough for any sane expression on a line of mail; a hostile pair of expression and text ends after about a millisecond. */
#define MATCH_LIMIT 50000u
#define DEPTH_LIMIT 5000u
#define HEAP_LIMIT_KIB 1024u

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

static int explain(struct reason *why, int code, PCRE2_SIZE offset)
{
	PCRE2_UCHAR text[128];
	if (code == PCRE2_ERROR_NOMEMORY)
		return reason_set(why, ERR_NOMEM, "no memory");
	if (pcre2_get_error_message(code, text, sizeof text) < 0)
		text[0] = '\0';
	return reason_set(why, ERR_SYNTAX, "at offset %zu: %s", (size_t)offset, (const char *)text);
}

static pcre2_match_context *make_limits(void)
{
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	if (limits) {
		pcre2_set_match_limit(limits, MATCH_LIMIT);
		pcre2_set_depth_limit(limits, DEPTH_LIMIT);
		pcre2_set_heap_limit(limits, HEAP_LIMIT_KIB);
	}
	return limits;
}

int regex_compile(struct span text, enum regex_syntax syntax, struct regex **out, struct reason *why)
{
	uint32_t convert = syntax == REGEX_BASIC ? PCRE2_CONVERT_POSIX_BASIC : PCRE2_CONVERT_POSIX_EXTENDED;
	PCRE2_UCHAR *converted = NULL;
	PCRE2_SIZE converted_len = 0;
	PCRE2_SIZE offset = 0;
	int code;
	if (text.len == 0)
		return reason_set(why, ERR_SYNTAX, "an empty expression matches everything");
	code = pcre2_pattern_convert((PCRE2_SPTR)text.ptr, text.len, convert, &converted, &converted_len, NULL);
	if (code)
		return explain(why, code, converted_len);
	struct regex *regex = calloc(1, sizeof *regex);
	if (!regex) {
		pcre2_converted_pattern_free(converted);
		return reason_set(why, ERR_NOMEM, "no memory");
	}
	regex->code = pcre2_compile(converted, converted_len, PCRE2_CASELESS | PCRE2_DOLLAR_ENDONLY, &code, &offset, NULL);
	pcre2_converted_pattern_free(converted);
	if (!regex->code) {
		regex_destroy(&regex);
		return explain(why, code, offset);
	}
	regex->match = pcre2_match_data_create(1, NULL);
	regex->limits = make_limits();
	if (!regex->match || !regex->limits) {
		regex_destroy(&regex);
		return reason_set(why, ERR_NOMEM, "no memory");
	}
	/* A process that may not map executable memory matches with the interpreter: slower, the same result. */
	(void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
	*out = regex;
	return 0;
}

enum tri regex_match(struct regex *regex, struct span text)
{
	/* PCRE2 wants a pointer even for no bytes. */
	PCRE2_SPTR bytes = (PCRE2_SPTR)(text.ptr ? text.ptr : "");
	int code = pcre2_match(regex->code, bytes, text.len, 0, 0, regex->match, regex->limits);
	if (code >= 0)
		return TRI_TRUE;
	return code == PCRE2_ERROR_NOMATCH ? TRI_FALSE : TRI_UNKNOWN;
}

void regex_destroy(struct regex **regex)
{
	struct regex *r = *regex;
	if (!r)
		return;
	pcre2_match_context_free(r->limits);
	pcre2_match_data_free(r->match);
	pcre2_code_free(r->code);
	free(r);
	*regex = NULL;
}
