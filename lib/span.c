#include "span.h"

#include "err.h"

bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool span_eq_nocase(struct span a, struct span b)
{
	return a.len == b.len && span_starts_nocase(a, b);
}

bool span_starts_nocase(struct span s, struct span prefix)
{
	if (s.len < prefix.len)
		return false;
	for (size_t i = 0; i < prefix.len; i++)
		if (span_lower(s.ptr[i]) != span_lower(prefix.ptr[i]))
			return false;
	return true;
}

bool span_ends_nocase(struct span s, struct span suffix)
{
	return s.len >= suffix.len && span_eq_nocase(span_sub(s, s.len - suffix.len, s.len), suffix);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
	while (s.len && is_space(s.ptr[0]))
		s.ptr++, s.len--;
	while (s.len && is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

size_t span_find(struct span s, char c, size_t from)
{
	if (from >= s.len)
		return s.len;
	const char *hit = memchr(s.ptr + from, c, s.len - from);
	return hit ? (size_t)(hit - s.ptr) : s.len;
}

size_t span_rfind(struct span s, char c)
{
	for (size_t i = s.len; i > 0; i--)
		if (s.ptr[i - 1] == c)
			return i - 1;
	return s.len;
}

bool span_cut(struct span *rest, char sep, struct span *part_out)
{
	if (!rest->ptr)
		return false;
	size_t at = span_find(*rest, sep, 0);
	*part_out = span_sub(*rest, 0, at);
	*rest = at == rest->len ? SPAN_NONE : span_sub(*rest, at + 1, rest->len);
	return true;
}

static bool is_separator(char c)
{
	return c == ' ' || c == '\t' || c == ',';
}

struct span span_next_word(struct span *rest)
{
	size_t from = 0, to;
	while (from < rest->len && is_separator(rest->ptr[from]))
		from++;
	for (to = from; to < rest->len && !is_separator(rest->ptr[to]); to++)
		continue;
	struct span word = span_sub(*rest, from, to);
	*rest = span_sub(*rest, to, rest->len);
	return word;
}

int span_to_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;
	if (s.len == 0)
		return ERR_SYNTAX;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return ERR_SYNTAX;
		uint64_t digit = (uint64_t)(s.ptr[i] - '0');
		if (value > max / 10 || value * 10 > max - digit)
			return ERR_TOOLONG;
		value = value * 10 + digit;
	}
	*out = value;
	return 0;
}

struct span span_of_u64(uint64_t value, unsigned base, char digits[SPAN_DIGITS_CAP])
{
	size_t at = SPAN_DIGITS_CAP;
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0);
	return (struct span){ digits + at, SPAN_DIGITS_CAP - at };
}

int span_to_cstr(struct span s, char *out, size_t cap)
{
	if (s.len >= cap || (s.len && memchr(s.ptr, 0, s.len)))
		return ERR_TOOLONG;
	if (s.len)
		memcpy(out, s.ptr, s.len);
	out[s.len] = '\0';
	return 0;
}

uint64_t span_hash_nocase(struct span s)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)span_lower(s.ptr[i])) * 1099511628211u;
	return hash;
}
