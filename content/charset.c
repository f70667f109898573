#include "charset.h"

#include <stdint.h>
#include <unicode/uclean.h>
#include <unicode/ucnv.h>
#include <unicode/udata.h>

#include "err.h"

#define NAME_MAX_LEN 40u
#define UNITS 256

/* What a label really holds, where its definition says less. */
static const struct {
	const char *label, *meant;
} meanings[] = {
	{ "gb2312", "gb18030" },          { "gb_2312-80", "gb18030" },       { "gbk", "gb18030" },
	{ "x-gbk", "gb18030" },           { "cp936", "gb18030" },            { "windows-936", "gb18030" },
	{ "euc-kr", "windows-949" },      { "ks_c_5601-1987", "windows-949" }, { "ks_c_5601-1989", "windows-949" },
	{ "ksc5601", "windows-949" },     { "ksc_5601", "windows-949" },     { "iso-8859-9", "windows-1254" },
	{ "iso-8859-11", "windows-874" }, { "tis-620", "windows-874" },      { "iso-8859-8-i", "iso-8859-8" },
	{ "iso-8859-8-e", "iso-8859-8" }, { "x-sjis", "shift_jis" },         { "unicode-1-1-utf-7", "utf-7" },
	{ "big5", "big5-hkscs" },
};

static const char *const latin1_labels[] = { "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "l1", "windows-1252", "cp1252", "x-cp1252" };
static const char *const guess_labels[] = { "us-ascii", "ascii", "utf-8", "utf8", "unicode-1-1-utf-8", "unknown-8bit", "x-unknown", "x-user-defined" };

static const uint16_t windows_1252[32] = {
	0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d, 0x17d, 0x8f,
	0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178,
};

void charset_init_prepriv(void)
{
	UErrorCode status = U_ZERO_ERROR;
	udata_setFileAccess(UDATA_NO_FILES, &status);
	status = U_ZERO_ERROR;
	u_init(&status);
}

static bool is_in(struct span name, const char *const *labels, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (span_eq_nocase(name, span_of(labels[i])))
			return true;
	return false;
}

/* ICU takes options behind a comma, and paths. */
static bool is_label(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = span_lower(name.ptr[i]);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == ':' || c == '+'))
			return false;
	}
	return name.len > 0 && name.len <= NAME_MAX_LEN;
}

/* Asked of the converter itself: of some families only a part is. */
static bool has_ascii(UConverter *converter)
{
	UConverterType type = ucnv_getType(converter);
	char ascii[128];
	UChar units[sizeof ascii * 2];
	UErrorCode status = U_ZERO_ERROR;
	if (type != UCNV_SBCS && type != UCNV_MBCS && type != UCNV_DBCS && type != UCNV_LATIN_1)
		return false;
	for (size_t i = 0; i < sizeof ascii; i++)
		ascii[i] = (char)i;
	int32_t len = ucnv_toUChars(converter, units, sizeof units / sizeof units[0], ascii, sizeof ascii, &status);
	ucnv_reset(converter);
	if (U_FAILURE(status) || len != (int32_t)sizeof ascii)
		return false;
	for (size_t i = 0; i < sizeof ascii; i++)
		if (units[i] != i)
			return false;
	return true;
}

void charset_open(struct charset *charset, struct span name)
{
	char label[NAME_MAX_LEN + 1];
	*charset = (struct charset){ .is_latin1 = is_in(name, latin1_labels, sizeof latin1_labels / sizeof latin1_labels[0]) };
	if (charset->is_latin1 || !is_label(name) || is_in(name, guess_labels, sizeof guess_labels / sizeof guess_labels[0]))
		return;
	if (span_to_cstr(name, label, sizeof label) != 0)
		return;
	const char *meant = label;
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
		if (span_eq_nocase(name, span_of(meanings[i].label)))
			meant = meanings[i].meant;
	UErrorCode status = U_ZERO_ERROR;
	UConverter *converter = ucnv_open(meant, &status);
	if (U_FAILURE(status)) {
		ucnv_close(converter);
		charset->has_failed = status == U_MEMORY_ALLOCATION_ERROR;
		return;
	}
	charset->converter = converter;
	charset->is_ascii_based = has_ascii(converter);
}

static size_t ascii_run(struct span s)
{
	size_t i = 0;
	for (uint64_t eight; i + sizeof eight <= s.len; i += sizeof eight) {
		memcpy(&eight, s.ptr + i, sizeof eight);
		if (eight & UINT64_C(0x8080808080808080))
			break;
	}
	while (i < s.len && !(s.ptr[i] & 0x80))
		i++;
	return i;
}

/* out has room. */
static void put(struct buf *out, uint32_t c)
{
	char *p = out->data + out->len;
	if (c < 0x80) {
		p[0] = (char)c;
		out->len += 1;
	} else if (c < 0x800) {
		p[0] = (char)(0xc0 | c >> 6);
		p[1] = (char)(0x80 | (c & 0x3f));
		out->len += 2;
	} else if (c < 0x10000) {
		p[0] = (char)(0xe0 | c >> 12);
		p[1] = (char)(0x80 | (c >> 6 & 0x3f));
		p[2] = (char)(0x80 | (c & 0x3f));
		out->len += 3;
	} else {
		p[0] = (char)(0xf0 | c >> 18);
		p[1] = (char)(0x80 | (c >> 12 & 0x3f));
		p[2] = (char)(0x80 | (c >> 6 & 0x3f));
		p[3] = (char)(0x80 | (c & 0x3f));
		out->len += 4;
	}
}

static void put_1252(struct buf *out, unsigned char byte)
{
	put(out, byte >= 0x80 && byte < 0xa0 ? windows_1252[byte - 0x80] : byte);
}

/* How many bytes the character at p has (Unicode, table 3-7); 0: none begins here; more than len: it is right as far as it goes. */
static unsigned utf8_len(const unsigned char *p, size_t len)
{
	unsigned char first = p[0], low = 0x80, high = 0xbf;
	unsigned need;
	if (first < 0xc2 || first > 0xf4)
		return first < 0x80;
	need = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	for (unsigned i = 1; i < need && i < len; i++) {
		if (p[i] < low || p[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return need;
}

/* out has room.  What may go on in the next piece is left in the tail. */
static void push_guess(struct charset *charset, struct span bytes, struct buf *out)
{
	size_t at = 0;
	while (charset->tail_len > 0) {
		unsigned need = utf8_len(charset->tail, charset->tail_len);
		if (need == 0) {
			/* The first byte was no character after all; the others are looked at again. */
			put_1252(out, charset->tail[0]);
			memmove(charset->tail, charset->tail + 1, --charset->tail_len);
		} else if (need <= charset->tail_len) {
			memcpy(out->data + out->len, charset->tail, need);
			out->len += need;
			charset->tail_len -= need;
			memmove(charset->tail, charset->tail + need, charset->tail_len);
		} else if (at < bytes.len) {
			charset->tail[charset->tail_len++] = (unsigned char)bytes.ptr[at++];
		} else {
			return;
		}
	}
	while (at < bytes.len) {
		size_t run = ascii_run(span_sub(bytes, at, bytes.len));
		memcpy(out->data + out->len, bytes.ptr + at, run);
		out->len += run;
		at += run;
		if (at == bytes.len)
			return;
		const unsigned char *p = (const unsigned char *)bytes.ptr + at;
		size_t left = bytes.len - at;
		unsigned need = utf8_len(p, left);
		if (need > left) {
			memcpy(charset->tail, p, left);
			charset->tail_len = (unsigned)left;
			return;
		}
		if (need == 0)
			put_1252(out, *p);
		else {
			memcpy(out->data + out->len, p, need);
			out->len += need;
		}
		at += need ? need : 1;
	}
}

static int put_units(struct charset *charset, const UChar *units, size_t count, struct buf *out)
{
	int err = buf_reserve(out, (count + 1) * 3);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		bool is_low = (units[i] & 0xfc00) == 0xdc00;
		if (charset->high && is_low) {
			put(out, 0x10000 + ((uint32_t)(charset->high & 0x3ff) << 10) + (units[i] & 0x3ffu));
			charset->high = 0;
			continue;
		}
		if (charset->high)
			put(out, 0xfffd);
		charset->high = (units[i] & 0xfc00) == 0xd800 ? units[i] : 0;
		if (!charset->high)
			put(out, is_low ? 0xfffd : units[i]);
	}
	return 0;
}

static int convert(struct charset *charset, struct span bytes, bool is_end, struct buf *out)
{
	const char *from = bytes.ptr ? bytes.ptr : "", *end = from + bytes.len;
	UErrorCode status;
	do {
		UChar units[UNITS], *to = units;
		status = U_ZERO_ERROR;
		ucnv_toUnicode(charset->converter, &to, units + UNITS, &from, end, NULL, is_end, &status);
		int err = put_units(charset, units, (size_t)(to - units), out);
		if (err)
			return err;
	} while (status == U_BUFFER_OVERFLOW_ERROR);
	return 0;
}

static bool is_between_characters(struct charset *charset)
{
	UErrorCode status = U_ZERO_ERROR;
	return charset->high == 0 && ucnv_toUCountPending(charset->converter, &status) == 0;
}

int charset_push(struct charset *charset, struct span bytes, struct buf *out)
{
	if (charset->has_failed)
		return ERR_NOMEM;
	if (bytes.len == 0)
		return 0;
	if (!charset->converter) {
		int err = buf_reserve(out, bytes.len * 3 + sizeof charset->tail * 3);
		if (err)
			return err;
		if (!charset->is_latin1)
			push_guess(charset, bytes, out);
		else
			for (size_t i = 0; i < bytes.len; i++)
				put_1252(out, (unsigned char)bytes.ptr[i]);
		return 0;
	}
	if (charset->is_ascii_based && is_between_characters(charset)) {
		size_t run = ascii_run(bytes);
		int err = buf_append(out, bytes.ptr, run);
		if (err)
			return err;
		bytes = span_sub(bytes, run, bytes.len);
	}
	return bytes.len ? convert(charset, bytes, false, out) : 0;
}

int charset_finish(struct charset *charset, struct buf *out)
{
	int err = charset->has_failed ? ERR_NOMEM : buf_reserve(out, 16);
	if (err)
		return err;
	for (unsigned i = 0; i < charset->tail_len; i++)
		put_1252(out, charset->tail[i]);
	charset->tail_len = 0;
	if (charset->converter)
		err = convert(charset, SPAN_NONE, true, out);
	if (!err && charset->high) {
		err = buf_reserve(out, 3);
		if (!err)
			put(out, 0xfffd);
	}
	charset->high = 0;
	return err;
}

void charset_close(struct charset *charset)
{
	if (charset->converter)
		ucnv_close(charset->converter);
	*charset = (struct charset){ .converter = NULL };
}

struct span charset_cut(struct span s, size_t max)
{
	if (s.len <= max)
		return s;
	size_t len = max;
	while (len > 0 && ((unsigned char)s.ptr[len] & 0xc0) == 0x80)
		len--;
	return span_sub(s, 0, len);
}
