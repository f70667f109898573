#include "mime_facts.h"

#include <stdlib.h>

#include "err.h"
#include "mime_name.h"
#include "mime_word.h"

/* Messages that hold a message; the other subtypes of message/ are lists of fields for people to read. */
static const struct span message_types[] = {
	SPAN_LIT("message/rfc822"), SPAN_LIT("message/global"), SPAN_LIT("message/news"), SPAN_LIT("message/partial"), SPAN_LIT("message/external-body"),
};

int mime_facts_boundary(struct mime_facts *facts, struct span boundary, struct mime_emit *emit, size_t *boundary_room, bool *added_out)
{
	/* White space at the end of a delimiter line does not count (RFC 2046 section 5.1.1). */
	while (boundary.len > 0 && (boundary.ptr[boundary.len - 1] == ' ' || boundary.ptr[boundary.len - 1] == '\t'))
		boundary.len--;
	*added_out = false;
	for (size_t i = 0; i < facts->boundary_count; i++)
		if (span_eq(facts->boundary[i], boundary))
			return 0;
	if (boundary.len == 0 || facts->boundary_count == MIME_BOUNDARIES_MAX || boundary.len > MIME_BOUNDARY_MAX || boundary.len > *boundary_room) {
		emit->flags |= MIME_FLAG_BOUNDARY;
		return 0;
	}
	char *copy = malloc(boundary.len);
	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, boundary.ptr, boundary.len);
	facts->boundary[facts->boundary_count++] = (struct span){ copy, boundary.len };
	*boundary_room -= boundary.len;
	*added_out = true;
	return 0;
}

static void take_charset(struct mime_facts *facts, struct span charset, struct mime_emit *emit, bool *changed)
{
	charset = span_trim(charset);
	if (facts->charset[0] == '\0')
		*changed |= span_to_cstr(charset, facts->charset, sizeof facts->charset) == 0;
	else if (!span_eq_nocase(charset, span_of(facts->charset)))
		emit->flags |= MIME_FLAG_CHARSET;
}

static int take_boundary(struct mime_facts *facts, struct span boundary, struct mime_emit *emit, size_t *room, bool *changed)
{
	bool added;
	int err = mime_facts_boundary(facts, boundary, emit, room, &added);
	*changed |= added;
	return err;
}

static bool is_boundary(struct span name)
{
	return span_eq_nocase(name, SPAN_LIT("boundary"));
}

static bool is_charset(struct span name)
{
	return span_eq_nocase(name, SPAN_LIT("charset"));
}

/* Boundaries, if they matter, and charsets. */
static int take_params(struct mime_facts *facts, struct mime_params *params, bool is_multipart, struct mime_emit *emit, size_t *room, bool *changed)
{
	int err = 0;
	for (size_t i = 0; !err && i < params->count; i++) {
		const struct mime_param *p = &params->param[i];
		if (p->section >= 0 || p->is_extended)
			continue;
		if (is_charset(p->name))
			take_charset(facts, p->first, emit, changed);
		if (!is_multipart || !is_boundary(p->name))
			continue;
		err = take_boundary(facts, p->value, emit, room, changed);
		if (!err && p->first.len < p->value.len)
			err = take_boundary(facts, p->first, emit, room, changed);
	}
	struct buf value = { .cap = 0 };
	struct span name, charset;
	for (size_t from = 0; !err && (err = mime_params_join(params, &from, false, &name, &charset, &value)) == 0;) {
		if (is_charset(name))
			take_charset(facts, buf_span(&value), emit, changed);
		if (is_multipart && is_boundary(name))
			err = take_boundary(facts, buf_span(&value), emit, room, changed);
	}
	if (err == ERR_NOTFOUND)
		err = 0;
	/* For those who look for names after us. */
	for (size_t i = 0; i < params->count; i++)
		params->param[i].is_joined = false;
	buf_free(&value);
	return err;
}

static enum mime_body body_of(struct span type)
{
	for (size_t i = 0; i < sizeof message_types / sizeof message_types[0]; i++)
		if (span_eq_nocase(type, message_types[i]))
			return MIME_BODY_MESSAGE;
	if (span_starts_nocase(type, SPAN_LIT("multipart/")) || span_eq_nocase(type, SPAN_LIT("multipart")))
		return MIME_BODY_MULTIPART;
	/* RFC 2045 section 5.2: what can't be read is text. */
	bool is_text = span_starts_nocase(type, SPAN_LIT("text/")) || span_starts_nocase(type, SPAN_LIT("message/")) || span_find(type, '/', 0) == type.len;
	return is_text ? MIME_BODY_TEXT : MIME_BODY_OTHER;
}

static int take_type(struct mime_facts *facts, struct mime_params *params, struct mime_emit *emit, size_t *room, bool *changed)
{
	enum mime_body body = body_of(params->main);
	if (body > facts->body) {
		facts->body = body;
		*changed = true;
	}
	if (span_eq_nocase(params->main, SPAN_LIT("multipart/digest")))
		facts->is_digest = true;
	if (span_eq_nocase(params->main, SPAN_LIT("message/partial")))
		emit->flags |= MIME_FLAG_PARTIAL;
	return take_params(facts, params, body == MIME_BODY_MULTIPART, emit, room, changed);
}

static bool is_foreign(struct span encoding)
{
	static const struct span foreign[] = { SPAN_LIT("uue"), SPAN_LIT("uuencode"), SPAN_LIT("yenc"), SPAN_LIT("binhex"), SPAN_LIT("binhex40"), SPAN_LIT("mac-binhex40") };
	if (span_starts_nocase(encoding, SPAN_LIT("x-")))
		encoding = span_sub(encoding, 2, encoding.len);
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
		if (span_eq_nocase(encoding, foreign[i]))
			return true;
	return false;
}

static void take_encoding(struct mime_facts *facts, struct span value, struct mime_emit *emit, bool *changed)
{
	bool is_base64 = span_starts_nocase(value, SPAN_LIT("base64")), is_exact = value.len == strlen("base64");
	enum mime_encoding encoding = is_base64 || span_eq_nocase(value, SPAN_LIT("b64"))     ? MIME_BASE64 :
				      span_starts_nocase(value, SPAN_LIT("quoted-printable")) ? MIME_QUOTED :
												MIME_IDENTITY;
	if (is_foreign(value))
		emit->flags |= MIME_FLAG_CODING;
	/* With more behind it some don't take it for base64. */
	if ((facts->has_encoding && encoding != facts->encoding) || (is_base64 && !is_exact))
		facts->is_ambiguous = true;
	*changed |= !facts->has_encoding || encoding > facts->encoding || facts->is_ambiguous;
	/* Of several the one that needs decoding: without it the text would be hidden. */
	if (!facts->has_encoding || (facts->encoding == MIME_IDENTITY && encoding != MIME_IDENTITY))
		facts->encoding = encoding;
	facts->has_encoding = true;
}

enum field { FIELD_OTHER, FIELD_TYPE, FIELD_DISPOSITION, FIELD_ENCODING };

static enum field field_of(struct span name)
{
	return span_eq_nocase(name, SPAN_LIT("Content-Type"))		    ? FIELD_TYPE :
	       span_eq_nocase(name, SPAN_LIT("Content-Disposition"))	    ? FIELD_DISPOSITION :
	       span_eq_nocase(name, SPAN_LIT("Content-Transfer-Encoding")) ? FIELD_ENCODING :
									      FIELD_OTHER;
}

/* One reading of a field. */
static int take_field(struct mime_facts *facts, enum field field, struct span value, bool has_names, struct mime_emit *emit, size_t *room, bool *changed)
{
	struct mime_params params;
	int err = mime_params_parse(value, &params);
	if (params.is_cut)
		emit->flags |= MIME_FLAG_PARAMS;
	if (!err && field == FIELD_TYPE)
		err = take_type(facts, &params, emit, room, changed);
	if (!err && field == FIELD_ENCODING)
		take_encoding(facts, params.main, emit, changed);
	if (!err && has_names)
		err = mime_names_show(value, &params, emit);
	mime_params_free(&params);
	return err;
}

int mime_facts_field(struct mime_facts *facts, struct span name, struct span value, struct mime_emit *emit, size_t *boundary_room, bool *changed_out)
{
	enum field field = field_of(name);
	struct buf decoded = { .cap = 0 };
	*changed_out = false;
	if (field == FIELD_OTHER)
		return 0;
	int err = take_field(facts, field, value, field != FIELD_ENCODING, emit, boundary_room, changed_out);
	/* Some decode a field before they look for its parts; of names this is thought of there. */
	if (!err && field != FIELD_DISPOSITION && mime_word_is_in(value))
		err = mime_word_decode(value, &decoded);
	if (!err && decoded.len > 0)
		err = take_field(facts, field, buf_span(&decoded), false, emit, boundary_room, changed_out);
	buf_free(&decoded);
	return err;
}

void mime_facts_free(struct mime_facts *facts, size_t *boundary_room)
{
	for (size_t i = 0; i < facts->boundary_count; i++) {
		*boundary_room += facts->boundary[i].len;
		free((char *)facts->boundary[i].ptr);
	}
	*facts = (struct mime_facts){ .body = MIME_BODY_UNSAID };
}
