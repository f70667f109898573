#include "envelope.h"

#include <string.h>

#include "err.h"
#include "spool_text.h"

#define KEY_CAP 32u
#define USUAL_BYTES 400u

/* The lines that stand once: key, form of the value, place in the struct.  FROM and RCPT are written by hand below. */
enum form { FORM_TEXT, FORM_ENDPOINT, FORM_TIME, FORM_TRUST, FORM_BODY, FORM_RET };

struct field {
	const char *key;
	enum form form;
	size_t at;
};

#define FIELD(key, form, member) { key, form, offsetof(struct spool_envelope, member) }
static const struct field fields[] = {
	FIELD("CLIENT", FORM_ENDPOINT, client),
	FIELD("DST", FORM_ENDPOINT, dst),
	FIELD("IFACE", FORM_TEXT, iface),
	FIELD("LISTENER", FORM_TEXT, listener),
	FIELD("NAME", FORM_TEXT, client_name),
	FIELD("HELO", FORM_TEXT, helo),
	FIELD("PROTO", FORM_TEXT, proto),
	FIELD("TLS", FORM_TEXT, tls),
	FIELD("IDENT", FORM_TEXT, ident),
	FIELD("TRUST", FORM_TRUST, is_trusted),
	FIELD("TIME", FORM_TIME, time),
	FIELD("BODY", FORM_BODY, body),
	FIELD("RET", FORM_RET, ret),
	FIELD("ENVID", FORM_TEXT, envid),
	FIELD("HOLD", FORM_TEXT, hold),
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

static const char *const body_names[] = { [SPOOL_BODY_7BIT] = "7BIT", [SPOOL_BODY_8BITMIME] = "8BITMIME" };
static const char *const ret_names[] = { [SPOOL_RET_FULL] = "FULL", [SPOOL_RET_HDRS] = "HDRS" };
static const struct {
	const char *name;
	unsigned bit;
} notify_names[] = { { "NEVER", SPOOL_NOTIFY_NEVER },
		     { "SUCCESS", SPOOL_NOTIFY_SUCCESS },
		     { "FAILURE", SPOOL_NOTIFY_FAILURE },
		     { "DELAY", SPOOL_NOTIFY_DELAY } };

static const void *field_in(const struct field *field, const struct spool_envelope *e)
{
	return (const char *)e + field->at;
}

static int field_of(struct span key)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (span_eq(key, span_of(fields[i].key)))
			return (int)i;
	}
	return -1;
}

static bool is_key(struct span key)
{
	for (size_t i = 0; i < key.len; i++) {
		char c = key.ptr[i];
		if (!((c >= 'A' && c <= 'Z') || (i > 0 && ((c >= '0' && c <= '9') || c == '-'))))
			return false;
	}
	return key.len > 0 && key.len <= KEY_CAP;
}

/* Unknown RCPT parameters as they stand in a file: KEY=text words with one space between, nothing that would have needed an escape. */
static bool is_parameters(struct span text)
{
	while (text.len > 0) {
		struct span word = spool_text_word(&text);
		size_t eq = span_find(word, '=', 0);
		if (eq == word.len || !is_key(span_sub(word, 0, eq)))
			return false;
		for (size_t i = eq; i < word.len; i++) {
			if (word.ptr[i] <= ' ' || word.ptr[i] > '~' || word.ptr[i] == '<' || word.ptr[i] == '>')
				return false;
		}
	}
	return true;
}

/* ---- encode */

static int put_text_line(struct buf *out, struct span key, struct span value)
{
	int err = BUF_JOIN(out, key, SPAN_LIT(" "));
	if (!err)
		err = spool_text_put(out, value, false, SPOOL_VALUE_CAP);
	return err ? err : buf_append(out, "\n", 1);
}

static int put_path(struct buf *out, const char *key, struct span path)
{
	int err = BUF_JOIN(out, span_of(key), SPAN_LIT(" <"));
	if (!err)
		err = spool_text_put(out, path, true, SPOOL_VALUE_CAP);
	return err ? err : buf_append(out, ">", 1);
}

static int put_notify(struct buf *out, unsigned notify)
{
	const char *before = " NOTIFY=";
	int err = 0;
	for (size_t i = 0; i < sizeof notify_names / sizeof notify_names[0] && !err; i++) {
		if (notify & notify_names[i].bit) {
			err = BUF_JOIN(out, span_of(before), span_of(notify_names[i].name));
			before = ",";
		}
	}
	return err;
}

static int put_recipient(struct buf *out, const struct spool_recipient *r)
{
	if (r->path.len == 0 || r->extra.len > SPOOL_VALUE_CAP || !is_parameters(r->extra))
		return ERR_INVAL;
	int err = put_path(out, "RCPT", r->path);
	if (!err)
		err = put_notify(out, r->notify);
	if (!err && r->orcpt.len > 0) {
		err = buf_append_span(out, SPAN_LIT(" ORCPT="));
		if (!err)
			err = spool_text_put(out, r->orcpt, true, SPOOL_VALUE_CAP);
	}
	if (!err && r->extra.len > 0) {
		err = buf_append(out, " ", 1);
		if (!err)
			err = buf_append_span(out, r->extra);
	}
	return err ? err : buf_append(out, "\n", 1);
}

static int put_word_line(struct buf *out, const struct field *field, const char *word)
{
	return BUF_JOIN(out, span_of(field->key), SPAN_LIT(" "), span_of(word), SPAN_LIT("\n"));
}

static int put_field(struct buf *out, const struct field *field, const struct spool_envelope *e)
{
	const void *value = field_in(field, e);
	const struct span *text = value;
	const struct endpoint *endpoint = value;
	char addr[ADDR_TEXT_CAP], digits[SPAN_DIGITS_CAP];
	switch (field->form) {
	case FORM_TEXT: return text->len > 0 ? put_text_line(out, span_of(field->key), *text) : 0;
	case FORM_ENDPOINT:
		if (endpoint->addr.family == ADDR_NONE)
			return 0;
		return BUF_JOIN(out, span_of(field->key), SPAN_LIT(" "), span_of(addr_format(&endpoint->addr, addr)), SPAN_LIT(" "),
		                span_of_u64(endpoint->port, 10, digits), SPAN_LIT("\n"));
	case FORM_TIME:
		if (e->time <= 0)
			return 0;
		return BUF_JOIN(out, span_of(field->key), SPAN_LIT(" "), span_of_u64((uint64_t)e->time, 10, digits), SPAN_LIT("\n"));
	case FORM_TRUST: return e->is_trusted ? put_word_line(out, field, "yes") : 0;
	case FORM_BODY: return e->body ? put_word_line(out, field, body_names[e->body]) : 0;
	case FORM_RET: return e->ret ? put_word_line(out, field, ret_names[e->ret]) : 0;
	}
	return ERR_INVAL;
}

static bool is_own_key(struct span key)
{
	return field_of(key) >= 0 || span_eq(key, SPAN_LIT("FROM")) || span_eq(key, SPAN_LIT("RCPT"));
}

static int put_all(const struct spool_envelope *e, struct buf *out)
{
	int err = put_path(out, "FROM", e->from);
	if (!err)
		err = buf_append(out, "\n", 1);
	for (size_t i = 0; i < e->recipient_count && !err; i++)
		err = put_recipient(out, &e->recipients[i]);
	for (size_t i = 0; i < FIELD_COUNT && !err; i++)
		err = put_field(out, &fields[i], e);
	for (size_t i = 0; i < e->extra_count && !err; i++) {
		const struct spool_extra *extra = &e->extras[i];
		err = is_key(extra->key) && !is_own_key(extra->key) ? put_text_line(out, extra->key, extra->value) : ERR_INVAL;
	}
	return err;
}

int spool_envelope_encode(const struct spool_envelope *e, struct buf *out)
{
	if (e->recipient_count == 0)
		return ERR_INVAL;
	if (e->recipient_count > SPOOL_RECIPIENTS_CAP || e->extra_count > SPOOL_EXTRAS_CAP)
		return ERR_TOOLONG;
	size_t start = out->len;
	(void)buf_reserve(out, USUAL_BYTES); /* in place of growing three times; what is longer grows, and finds out itself if it can't */
	int err = put_all(e, out);
	if (!err && out->len - start > SPOOL_ENVELOPE_CAP)
		err = ERR_TOOLONG;
	if (err)
		out->len = start;
	return err;
}

size_t spool_envelope_recipient_len(const struct spool_recipient *r)
{
	size_t len = sizeof "RCPT <>\n" - 1 + spool_text_len(r->path, true);
	for (size_t i = 0; i < sizeof notify_names / sizeof notify_names[0]; i++) {
		if (r->notify & notify_names[i].bit)
			len += strlen(notify_names[i].name) + 1; /* and its comma or "=" */
	}
	if (r->notify)
		len += sizeof " NOTIFY" - 1;
	if (r->orcpt.len > 0)
		len += sizeof " ORCPT=" - 1 + spool_text_len(r->orcpt, true);
	if (r->extra.len > 0)
		len += 1 + r->extra.len;
	return len;
}

/* ---- decode */

struct decoder {
	struct arena *arena;
	struct spool_envelope e;
	uint32_t seen; /* bit a field */
};

static int get_path(struct decoder *d, struct span word, struct span *out)
{
	if (word.len < 2 || word.ptr[0] != '<' || word.ptr[word.len - 1] != '>')
		return ERR_CORRUPT;
	return spool_text_get(span_sub(word, 1, word.len - 1), true, SPOOL_VALUE_CAP, d->arena, out);
}

static int get_notify(struct span list, unsigned *out)
{
	struct span name;
	unsigned notify = 0;
	while (span_cut(&list, ',', &name)) {
		size_t i = 0, count = sizeof notify_names / sizeof notify_names[0];
		while (i < count && !span_eq(name, span_of(notify_names[i].name)))
			i++;
		if (i == count)
			return ERR_CORRUPT;
		notify |= notify_names[i].bit;
	}
	*out = notify;
	return notify ? 0 : ERR_CORRUPT;
}

static int get_parameter(struct decoder *d, struct span word, struct spool_recipient *r, struct buf *extra)
{
	static const struct span notify = { "NOTIFY=", 7 }, orcpt = { "ORCPT=", 6 };
	if (span_eq(span_sub(word, 0, notify.len), notify))
		return r->notify ? ERR_CORRUPT : get_notify(span_sub(word, notify.len, word.len), &r->notify);
	if (span_eq(span_sub(word, 0, orcpt.len), orcpt))
		return r->orcpt.ptr ? ERR_CORRUPT : spool_text_get(span_sub(word, orcpt.len, word.len), true, SPOOL_VALUE_CAP, d->arena, &r->orcpt);
	if (!is_parameters(word) || word.len == 0)
		return ERR_CORRUPT;
	int err = extra->len > 0 ? buf_append(extra, " ", 1) : 0;
	return err ? err : buf_append_span(extra, word);
}

static int get_recipient(struct decoder *d, struct span value)
{
	struct spool_recipient r = { .path = SPAN_NONE };
	int err = get_path(d, spool_text_word(&value), &r.path);
	if (!err && r.path.len == 0)
		err = ERR_CORRUPT;
	struct buf extra = { .cap = SPOOL_VALUE_CAP };
	while (!err && value.len > 0)
		err = get_parameter(d, spool_text_word(&value), &r, &extra);
	if (!err && extra.len > 0) {
		r.extra = arena_copy(d->arena, buf_span(&extra));
		err = r.extra.ptr ? 0 : ERR_NOMEM;
	}
	buf_free(&extra);
	if (!err)
		d->e.recipients[d->e.recipient_count++] = r;
	return err;
}

static int get_endpoint(struct span value, struct endpoint *out)
{
	struct endpoint endpoint;
	uint64_t port;
	int err = addr_parse(spool_text_word(&value), &endpoint.addr);
	if (!err)
		err = span_to_u64(value, UINT16_MAX, &port);
	if (err)
		return ERR_CORRUPT;
	endpoint.port = (uint16_t)port;
	*out = endpoint;
	return 0;
}

static int get_choice(struct span value, const char *const names[3], unsigned *out)
{
	for (unsigned i = 1; i < 3; i++) {
		if (span_eq(value, span_of(names[i]))) {
			*out = i;
			return 0;
		}
	}
	return ERR_CORRUPT;
}

static int get_field(struct decoder *d, const struct field *field, struct span value)
{
	void *at = (char *)&d->e + field->at;
	uint64_t number;
	unsigned choice;
	int err;
	switch (field->form) {
	case FORM_TEXT: return spool_text_get(value, false, SPOOL_VALUE_CAP, d->arena, at);
	case FORM_ENDPOINT: return get_endpoint(value, at);
	case FORM_TIME:
		if (span_to_u64(value, INT64_MAX / 4, &number) != 0)
			return ERR_CORRUPT;
		d->e.time = (int64_t)number;
		return 0;
	case FORM_TRUST:
		d->e.is_trusted = span_eq(value, SPAN_LIT("yes"));
		return d->e.is_trusted ? 0 : ERR_CORRUPT;
	case FORM_BODY:
		err = get_choice(value, body_names, &choice);
		if (!err)
			d->e.body = (enum spool_body)choice;
		return err;
	case FORM_RET:
		err = get_choice(value, ret_names, &choice);
		if (!err)
			d->e.ret = (enum spool_ret)choice;
		return err;
	}
	return ERR_CORRUPT;
}

static int get_extra(struct decoder *d, struct span key, struct span value)
{
	if (!is_key(key))
		return ERR_CORRUPT;
	if (d->e.extra_count == SPOOL_EXTRAS_CAP)
		return ERR_TOOLONG;
	if (!d->e.extras)
		d->e.extras = arena_alloc(d->arena, SPOOL_EXTRAS_CAP * sizeof *d->e.extras);
	if (!d->e.extras)
		return ERR_NOMEM;
	struct spool_extra *extra = &d->e.extras[d->e.extra_count];
	extra->key = arena_copy(d->arena, key);
	int err = extra->key.ptr ? spool_text_get(value, false, SPOOL_VALUE_CAP, d->arena, &extra->value) : ERR_NOMEM;
	if (!err)
		d->e.extra_count++;
	return err;
}

static int get_line(struct decoder *d, struct span line)
{
	struct span key = spool_text_word(&line);
	if (span_eq(key, SPAN_LIT("RCPT")))
		return get_recipient(d, line);
	int index = field_of(key);
	if (index < 0)
		return span_eq(key, SPAN_LIT("FROM")) ? ERR_CORRUPT : get_extra(d, key, line);
	uint32_t bit = UINT32_C(1) << index;
	if (d->seen & bit)
		return ERR_CORRUPT;
	d->seen |= bit;
	return get_field(d, &fields[index], line);
}

/* Room for every RCPT line, so that the array never moves. */
static int make_room(struct decoder *d, struct span lines)
{
	static const struct span start = { "\nRCPT ", 6 };
	size_t count = 0;
	for (size_t at = span_find(lines, '\n', 0); at < lines.len; at = span_find(lines, '\n', at + 1))
		count += span_eq(span_sub(lines, at, at + start.len), start);
	if (count == 0)
		return ERR_CORRUPT;
	if (count > SPOOL_RECIPIENTS_CAP)
		return ERR_TOOLONG;
	d->e.recipients = arena_alloc(d->arena, count * sizeof *d->e.recipients);
	return d->e.recipients ? 0 : ERR_NOMEM;
}

int spool_envelope_decode(struct span lines, struct arena *arena, struct spool_envelope *out)
{
	if (lines.len > SPOOL_ENVELOPE_CAP)
		return ERR_TOOLONG;
	if (lines.len == 0 || lines.ptr[lines.len - 1] != '\n')
		return ERR_CORRUPT;
	struct decoder d = { .arena = arena };
	struct span rest = span_sub(lines, 0, lines.len - 1), line;
	span_cut(&rest, '\n', &line);
	if (!span_eq(spool_text_word(&line), SPAN_LIT("FROM")))
		return ERR_CORRUPT;
	int err = get_path(&d, line, &d.e.from);
	if (!err)
		err = make_room(&d, lines);
	while (!err && span_cut(&rest, '\n', &line))
		err = get_line(&d, line);
	if (!err && d.e.recipient_count == 0)
		err = ERR_CORRUPT;
	if (!err)
		*out = d.e;
	return err;
}
