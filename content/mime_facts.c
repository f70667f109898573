#include "mime_facts.h"

#include <stdlib.h>

#include "err.h"
#include "mime_name.h"

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
	if (boundary.len == 0)
		return 0;
	if (facts->boundary_count == MIME_BOUNDARIES_MAX || boundary.len > MIME_BOUNDARY_MAX || boundary.len > *boundary_room) {
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

static int take_boundaries(struct mime_facts *facts, struct mime_params *params, struct mime_emit *emit, size_t *room, bool *changed)
{
	bool added = false;
	int err = 0;
	for (size_t i = 0; !err && i < params->count; i++) {
		const struct mime_param *p = &params->param[i];
		if (!span_eq_nocase(p->name, SPAN_LIT("boundary")) || p->section >= 0 || p->is_extended)
			continue;
		err = mime_facts_boundary(facts, p->value, emit, room, &added);
		*changed |= added;
		if (!err && p->first.len < p->value.len)
			err = mime_facts_boundary(facts, p->first, emit, room, &added);
		*changed |= added;
	}
	struct buf value = { .cap = 0 };
	struct span name, charset;
	for (size_t from = 0; !err && (err = mime_params_join(params, &from, false, &name, &charset, &value)) == 0;) {
		added = false;
		if (span_eq_nocase(name, SPAN_LIT("boundary")))
			err = mime_facts_boundary(facts, buf_span(&value), emit, room, &added);
		*changed |= added;
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
	for (size_t i = 0; i < params->count; i++)
		if (span_eq_nocase(params->param[i].name, SPAN_LIT("charset")) && facts->charset[0] == '\0')
			*changed |= span_to_cstr(span_trim(params->param[i].first), facts->charset, sizeof facts->charset) == 0;
	return body == MIME_BODY_MULTIPART ? take_boundaries(facts, params, emit, room, changed) : 0;
}

static void take_encoding(struct mime_facts *facts, struct span value, bool *changed)
{
	enum mime_encoding encoding = span_eq_nocase(value, SPAN_LIT("base64")) || span_eq_nocase(value, SPAN_LIT("b64")) ? MIME_BASE64 :
				      span_starts_nocase(value, SPAN_LIT("quoted-printable"))                             ? MIME_QUOTED :
															    MIME_IDENTITY;
	if (facts->has_encoding && encoding != facts->encoding)
		facts->is_ambiguous = true;
	*changed |= !facts->has_encoding || encoding > facts->encoding || facts->is_ambiguous;
	/* Of several the one that needs decoding: without it the text would be hidden. */
	if (!facts->has_encoding || (facts->encoding == MIME_IDENTITY && encoding != MIME_IDENTITY))
		facts->encoding = encoding;
	facts->has_encoding = true;
}

int mime_facts_field(struct mime_facts *facts, struct span name, struct span value, struct mime_emit *emit, size_t *boundary_room, bool *changed_out)
{
	bool is_type = span_eq_nocase(name, SPAN_LIT("Content-Type")), is_disposition = span_eq_nocase(name, SPAN_LIT("Content-Disposition"));
	bool is_encoding = span_eq_nocase(name, SPAN_LIT("Content-Transfer-Encoding"));
	struct mime_params params;
	*changed_out = false;
	if (!is_type && !is_disposition && !is_encoding)
		return 0;
	int err = mime_params_parse(value, &params);
	if (params.is_cut)
		emit->flags |= MIME_FLAG_PARAMS;
	if (!err && is_type)
		err = take_type(facts, &params, emit, boundary_room, changed_out);
	if (!err && is_encoding)
		take_encoding(facts, params.main, changed_out);
	if (!err && !is_encoding)
		err = mime_names_show(value, &params, emit);
	mime_params_free(&params);
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
