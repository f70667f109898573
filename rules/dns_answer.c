#include "dns_answer.h"

#include <string.h>

#include "smtp_domain.h"

#define HEADER_BYTES 12u
#define CLASS_IN 1u

enum { RCODE_OK = 0, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };

/* A place in the message.  Once something did not fit, it stays bad. */
struct reader {
	const uint8_t *bytes;
	size_t len, at;
	bool is_bad;
};

struct name {
	char text[DNS_NAME_MAX + 2];
	size_t len;
	bool is_printable;
};

/* One resource record: its owner, and where its data are. */
struct rr {
	struct name owner;
	unsigned type, class;
	uint32_t ttl_s;
	size_t data_at, data_len;
};

static uint32_t take(struct reader *r, size_t bytes)
{
	uint32_t value = 0;
	if (r->is_bad || r->len - r->at < bytes) {
		r->is_bad = true;
		return 0;
	}
	while (bytes--)
		value = value << 8 | r->bytes[r->at++];
	return value;
}

static void add_label(struct name *out, const uint8_t *label, size_t len)
{
	if (out->len)
		out->text[out->len++] = '.';
	for (size_t i = 0; i < len; i++) {
		char c = span_lower((char)label[i]);
		/* A dot inside a label would make another name of it. */
		if (c <= ' ' || c > '~' || c == '.' || c == '\\' || c == '"')
			out->is_printable = false;
		out->text[out->len++] = c;
	}
}

/* RFC 1035 section 4.1.4.  Each pointer must go in front of the last one, so that they come to an end. */
static void take_name(struct reader *r, struct name *out)
{
	size_t at = r->at, limit = r->at;
	bool has_jumped = false;
	*out = (struct name){ .is_printable = true };
	while (!r->is_bad && at < r->len) {
		uint8_t n = r->bytes[at];
		if (n == 0) {
			if (!has_jumped)
				r->at = at + 1;
			return;
		}
		if (n >= 0xc0 && at + 1 < r->len) {
			size_t target = (size_t)(n & 0x3f) << 8 | r->bytes[at + 1];
			if (!has_jumped)
				r->at = at + 2;
			has_jumped = true;
			if (target >= limit)
				break;
			at = limit = target;
			continue;
		}
		if (n > 63 || n > r->len - at - 1 || out->len + 1 + n > DNS_NAME_MAX)
			break;
		add_label(out, r->bytes + at + 1, n);
		at += 1 + (size_t)n;
	}
	r->is_bad = true;
}

static struct span name_span(const struct name *name)
{
	return (struct span){ name->text, name->len };
}

static bool take_rr(struct reader *r, struct rr *rr)
{
	take_name(r, &rr->owner);
	rr->type = take(r, 2);
	rr->class = take(r, 2);
	rr->ttl_s = take(r, 4);
	rr->data_len = take(r, 2);
	rr->data_at = r->at;
	/* RFC 2181 section 8. */
	if (rr->ttl_s > INT32_MAX)
		rr->ttl_s = 0;
	if (r->is_bad || r->len - r->at < rr->data_len) {
		r->is_bad = true;
		return false;
	}
	r->at += rr->data_len;
	return true;
}

struct message {
	struct reader answers; /* at the first record behind the question */
	unsigned answer_count, authority_count;
	unsigned rcode;
	bool is_truncated;
};

static bool open_message(struct span wire, struct message *m)
{
	struct reader r = { .bytes = (const uint8_t *)wire.ptr, .len = wire.len };
	struct name name;
	(void)take(&r, 2);
	uint32_t flags = take(&r, 2);
	unsigned questions = take(&r, 2);
	m->answer_count = take(&r, 2);
	m->authority_count = take(&r, 2);
	(void)take(&r, 2);
	m->rcode = flags & 15;
	m->is_truncated = flags >> 9 & 1;
	if (questions > 1 || !(flags >> 15))
		return false;
	if (questions) {
		take_name(&r, &name);
		(void)take(&r, 4);
	}
	m->answers = r;
	return !r.is_bad && m->answer_count <= DNS_RR_MAX && m->authority_count <= DNS_RR_MAX;
}

static bool is_about(const struct rr *rr, const struct name *name, enum dns_type type)
{
	return rr->class == CLASS_IN && rr->type == (unsigned)type && span_eq_nocase(name_span(&rr->owner), name_span(name));
}

/* Walks from *name along the aliases of the message to the last one.  False: too many, a circle, or rubbish. */
static bool follow_aliases(const struct message *m, struct name *name, uint32_t *ttl_s)
{
	for (unsigned hops = 0; hops <= DNS_CHAIN_MAX; hops++) {
		struct reader r = m->answers;
		struct rr rr;
		bool has_alias = false;
		for (unsigned i = 0; i < m->answer_count && !has_alias; i++) {
			if (!take_rr(&r, &rr))
				return false;
			has_alias = is_about(&rr, name, DNS_CNAME);
		}
		if (!has_alias)
			return true;
		r.at = rr.data_at;
		take_name(&r, name);
		if (r.is_bad)
			return false;
		if (rr.ttl_s < *ttl_s)
			*ttl_s = rr.ttl_s;
	}
	return false;
}

static bool keep_text(struct dns_scratch *scratch, struct span text, struct span *out)
{
	if (text.len > DNS_TEXT_BYTES - scratch->text_used)
		return false;
	char *at = scratch->text + scratch->text_used;
	if (text.len)
		memcpy(at, text.ptr, text.len);
	scratch->text_used += text.len;
	*out = (struct span){ at, text.len };
	return true;
}

/* False: this record is of no use. */
static bool take_record(struct reader r, const struct rr *rr, enum dns_type type, struct dns_scratch *scratch, struct dns_record *out)
{
	struct name name;
	*out = (struct dns_record){ .preference = 0 };
	r.at = rr->data_at;
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		if (rr->data_len != (type == DNS_A ? 4u : 16u))
			return false;
		out->addr.family = type == DNS_A ? ADDR_V4 : ADDR_V6;
		memcpy(out->addr.bytes, r.bytes + r.at, rr->data_len);
		return true;
	case DNS_TXT:
		return keep_text(scratch, (struct span){ (const char *)r.bytes + r.at, rr->data_len }, &out->text);
	case DNS_MX:
		out->preference = (uint16_t)take(&r, 2);
		__attribute__((fallthrough));
	case DNS_NS:
	case DNS_PTR:
		take_name(&r, &name);
		if (r.is_bad || !name.is_printable || r.at > rr->data_at + rr->data_len)
			return false;
		out->is_host = name.len <= DNS_NAME_MAX && smtp_domain_is_valid(name_span(&name), false);
		return keep_text(scratch, name_span(&name), &out->text);
	case DNS_CNAME:
	case DNS_SOA: break;
	}
	return false;
}

/* How long "no" is good: the SOA record of the authority section says it (RFC 2308 section 5).  0: no such record; one that says 0 gives 1. */
static uint32_t negative_ttl(struct reader *r, unsigned count)
{
	struct rr rr;
	for (unsigned i = 0; i < count && take_rr(r, &rr); i++) {
		if (rr.type != DNS_SOA || rr.data_len < 22)
			continue;
		struct reader minimum = *r;
		minimum.at = rr.data_at + rr.data_len - 4;
		uint32_t value = take(&minimum, 4);
		uint32_t least = value < rr.ttl_s ? value : rr.ttl_s;
		return least ? least : 1;
	}
	return 0;
}

static void fail(struct dns_answer *out, const char *why)
{
	*out = (struct dns_answer){ .status = DNS_FAILED, .why = why };
}

static void collect(struct message *m, const struct name *name, enum dns_type type, uint32_t ttl_s, struct dns_scratch *scratch,
		    struct dns_answer *out)
{
	struct rr rr;
	bool any = false;
	uint32_t count = 0;
	for (unsigned i = 0; i < m->answer_count; i++) {
		if (!take_rr(&m->answers, &rr)) {
			fail(out, "malformed answer");
			return;
		}
		if (!is_about(&rr, name, type))
			continue;
		any = true;
		if (rr.ttl_s < ttl_s)
			ttl_s = rr.ttl_s;
		if (count < DNS_RECORDS_MAX && take_record(m->answers, &rr, type, scratch, &scratch->records[count]))
			count++;
	}
	*out = (struct dns_answer){ .status = DNS_FOUND, .ttl_s = ttl_s, .count = count, .records = scratch->records, .why = "" };
	if (count)
		return;
	/* Records that are all rubbish are not the same as none. */
	if (any) {
		fail(out, "records that make no sense");
		return;
	}
	out->status = m->rcode == RCODE_NXDOMAIN ? DNS_NO_NAME : DNS_NO_DATA;
	out->ttl_s = negative_ttl(&m->answers, m->authority_count);
}

void dns_answer_parse(struct span wire, struct span name, enum dns_type type, struct dns_scratch *scratch, struct dns_answer *out)
{
	struct message m;
	struct name asked = { .len = name.len, .is_printable = true };
	uint32_t ttl_s = INT32_MAX;
	scratch->text_used = 0;
	if (name.len > DNS_NAME_MAX || !open_message(wire, &m)) {
		fail(out, "malformed answer");
		return;
	}
	if (name.len)
		memcpy(asked.text, name.ptr, name.len);
	if (m.is_truncated)
		fail(out, "truncated answer");
	else if (m.rcode == RCODE_SERVFAIL)
		fail(out, "SERVFAIL");
	else if (m.rcode == RCODE_REFUSED)
		fail(out, "REFUSED");
	else if (m.rcode != RCODE_OK && m.rcode != RCODE_NXDOMAIN)
		fail(out, "error answer");
	else if (!follow_aliases(&m, &asked, &ttl_s))
		fail(out, "aliases without an end");
	else
		collect(&m, &asked, type, ttl_s, scratch, out);
}
