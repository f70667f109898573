/* The text form of access tables: lines into entries. */
#include <stdio.h>

#include "access.h"

#define KEY_MAX 512u

struct builder {
	struct access_table *table;
	struct rules_diags *diags;
	struct rules_place place; /* of the key, then of the value */
	uint32_t value_room;
	struct span *texts;       /* of the values, one each */
	uint32_t *buckets;        /* by hash of the text: index + 1, 0 free */
	uint32_t bucket_count;
	int err;                  /* ERR_SYNTAX: something was reported */
};

static int complain(struct builder *b, const char *what, struct span found)
{
	rules_diag_add(b->diags, RULES_ERROR, &b->place, "'%.*s': %s", SPAN_FMT(span_sub(found, 0, 80)), what);
	return b->err = ERR_SYNTAX;
}

static bool all_in(struct span s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (!s.ptr[i] || !strchr(set, s.ptr[i]))
			return false;
	return s.len > 0;
}

/* ---- values */

/* The text of a reply is no template: its percent signs are percent signs. */
static struct span double_percents(struct arena *arena, struct span text)
{
	char *out = arena_alloc(arena, 2 * text.len + 1);
	size_t len = 0;
	for (size_t i = 0; out && i < text.len; i++) {
		out[len++] = text.ptr[i];
		if (text.ptr[i] == '%')
			out[len++] = '%';
	}
	return (struct span){ out, len };
}

static int make_reply(struct builder *b, struct span text, struct access_value *out)
{
	struct reason why;
	size_t at;
	struct span template = double_percents(b->table->arena, text);
	if (!template.ptr)
		return ERR_NOMEM;
	int err = rules_message_parse(b->table->arena, template, &out->message, &at, &why);
	if (err == ERR_SYNTAX)
		return complain(b, why.text, text);
	out->kind = ACCESS_REFUSE;
	return err;
}

static struct span without_quotes(struct span text)
{
	text = span_trim(text);
	if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
		text = span_trim(span_sub(text, 1, text.len - 1));
	return text;
}

/* What stands behind ERROR: is "550 text" or "5.7.1:550 text". */
static int make_error(struct builder *b, struct span text, struct access_value *out)
{
	char whole[VERDICT_REPLY_CAP + 32];
	size_t colon = span_find(text, ':', 0);
	struct span dsn = span_sub(text, 0, colon), rest = without_quotes(span_sub(text, colon + 1, text.len));
	if (colon == text.len || !all_in(dsn, "0123456789."))
		return make_reply(b, text, out);
	int len = snprintf(whole, sizeof whole, "%.*s %.*s%.*s", SPAN_FMT(span_sub(rest, 0, 3)), SPAN_FMT(span_sub(dsn, 0, 16)),
			   SPAN_FMT(span_sub(rest, 3, VERDICT_REPLY_CAP)));
	return make_reply(b, (struct span){ whole, (size_t)len }, out);
}

static int make_value(struct builder *b, struct span text, struct access_value *out)
{
	static const struct span error = SPAN_LIT("ERROR:"), denied = SPAN_LIT("550 5.7.1 Access denied");
	struct span plain = without_quotes(text);
	*out = (struct access_value){ .kind = ACCESS_ALLOW };
	if (span_eq_nocase(plain, SPAN_LIT("OK")) || span_eq_nocase(plain, SPAN_LIT("RELAY")))
		return 0;
	if (span_eq_nocase(plain, SPAN_LIT("SKIP"))) {
		out->kind = ACCESS_SKIP;
		return 0;
	}
	if (span_eq_nocase(plain, SPAN_LIT("DISCARD")))
		rules_diag_add(b->diags, RULES_WARNING, &b->place, "DISCARD is not supported: taken as REJECT, so that nothing is lost unseen");
	if (span_eq_nocase(plain, SPAN_LIT("REJECT")) || span_eq_nocase(plain, SPAN_LIT("DISCARD")))
		return make_reply(b, denied, out);
	if (span_starts_nocase(plain, error))
		return make_error(b, without_quotes(span_sub(plain, error.len, plain.len)), out);
	if (plain.len && plain.ptr[0] >= '0' && plain.ptr[0] <= '9')
		return make_reply(b, plain, out);
	return complain(b, "expected OK, RELAY, REJECT, DISCARD, SKIP, ERROR:code text, or a reply such as \"550 text\"", plain);
}

static int grow_values(struct builder *b)
{
	struct access_table *t = b->table;
	if (t->value_count < b->value_room)
		return 0;
	uint32_t room = b->value_room ? b->value_room * 4 : 16, bucket_count = room * 2;
	struct access_value *values = arena_alloc(t->arena, room * sizeof *values);
	struct span *texts = arena_alloc(t->arena, room * sizeof *texts);
	uint32_t *buckets = arena_alloc(t->arena, bucket_count * sizeof *buckets);
	if (!values || !texts || !buckets)
		return ERR_NOMEM;
	if (t->value_count) {
		memcpy(values, t->values, t->value_count * sizeof *values);
		memcpy(texts, b->texts, t->value_count * sizeof *texts);
	}
	for (uint32_t i = 0; i < t->value_count; i++) {
		uint32_t at = (uint32_t)(span_hash_nocase(texts[i]) % bucket_count);
		while (buckets[at])
			at = (at + 1) % bucket_count;
		buckets[at] = i + 1;
	}
	t->values = values;
	b->texts = texts;
	b->buckets = buckets;
	b->value_room = room;
	b->bucket_count = bucket_count;
	return 0;
}

/* A table of a million entries has a handful of values: each is kept once. */
static int intern_value(struct builder *b, struct span text, uint32_t *index_out)
{
	struct access_table *t = b->table;
	int err = grow_values(b);
	if (err)
		return err;
	uint32_t at = (uint32_t)(span_hash_nocase(text) % b->bucket_count);
	while (b->buckets[at] && !span_eq(b->texts[b->buckets[at] - 1], text))
		at = (at + 1) % b->bucket_count;
	if (!b->buckets[at]) {
		err = make_value(b, text, &t->values[t->value_count]);
		if (err)
			return err;
		b->texts[t->value_count] = text;
		b->buckets[at] = ++t->value_count;
	}
	*index_out = b->buckets[at] - 1;
	return 0;
}

/* ---- keys */

static const struct {
	struct span name;
	enum access_tag tag;
} tags[] = { { { "Connect:", 8 }, ACCESS_CONNECT }, { { "From:", 5 }, ACCESS_FROM }, { { "To:", 3 }, ACCESS_TO } };

static enum access_tag take_tag(struct span *key)
{
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
		if (span_starts_nocase(*key, tags[i].name)) {
			*key = span_sub(*key, tags[i].name.len, key->len);
			return tags[i].tag;
		}
	return ACCESS_ANY;
}

static int set_key(struct access_entry *entry, enum access_form form, struct span key)
{
	if (!key.ptr)
		return ERR_NOMEM;
	entry->form = (uint8_t)form;
	entry->key = key.ptr;
	entry->len = (uint16_t)key.len;
	return 0;
}

/* "10", "192.168.", "192.0.2.1": keys as they are compared, so octets are written without leading zeros. */
static bool are_octets(struct span key)
{
	struct span rest = key.len && key.ptr[key.len - 1] == '.' ? span_sub(key, 0, key.len - 1) : key, octet;
	uint64_t value;
	unsigned count = 0;
	while (span_cut(&rest, '.', &octet))
		if (++count > 4 || span_to_u64(octet, 255, &value) || (octet.len > 1 && octet.ptr[0] == '0'))
			return false;
	return count > 0;
}

static int take_net4(struct span key, struct access_entry *entry)
{
	return set_key(entry, ACCESS_NET4, key.ptr[key.len - 1] == '.' ? span_sub(key, 0, key.len - 1) : key);
}

static int set_net(struct builder *b, const struct addr *addr, unsigned bits, struct access_entry *entry)
{
	struct cidr net;
	char text[ADDR_TEXT_CAP];
	(void)cidr_make(addr, bits, &net);
	if (addr->family == ADDR_V6) {
		memcpy(text, net.addr.bytes, 16);
		text[16] = (char)bits;
		b->table->has_bits[bits] = true;
		return set_key(entry, ACCESS_NET6, arena_copy(b->table->arena, (struct span){ text, 17 }));
	}
	struct span octets = span_of(addr_format(&net.addr, text));
	for (unsigned left = 4; left > bits / 8; left--)
		octets = span_sub(octets, 0, span_rfind(octets, '.'));
	return set_key(entry, ACCESS_NET4, arena_copy(b->table->arena, octets));
}

/* [address] and [address]/bits; an IPv4 one only at whole octets, as its keys are. */
static int take_bracketed(struct builder *b, struct span key, struct access_entry *entry)
{
	struct addr addr;
	size_t close = span_find(key, ']', 0);
	struct span inside = span_sub(key, 1, close), behind = span_sub(key, close + 1, key.len);
	if (close == key.len || addr_parse(inside, &addr))
		return complain(b, "expected [IPv6 address] or [IPv6 address]/bits", key);
	unsigned mapped = addr.family == ADDR_V4 && span_find(inside, ':', 0) < inside.len ? 96 : 0;
	uint64_t bits = addr_bits(&addr) + mapped;
	if (behind.len && (behind.ptr[0] != '/' || span_to_u64(span_sub(behind, 1, behind.len), bits, &bits) || bits < mapped))
		return complain(b, "expected /bits behind the address", key);
	bits -= mapped;
	if (addr.family == ADDR_V4 && (bits == 0 || bits % 8))
		return complain(b, "expected /8, /16, /24 or /32 for an IPv4 address", key);
	return set_net(b, &addr, (unsigned)bits, entry);
}

/* sendmail's form: as many groups as are written are the prefix; "2001:db8::" is the prefix 2001:db8, "2001:db8::1" an address. */
static int take_net6(struct builder *b, struct span key, struct access_entry *entry)
{
	char text[ADDR_TEXT_CAP + 4];
	struct addr addr;
	struct span groups = key;
	unsigned count = 0, limit = 128;
	while (groups.len && groups.ptr[groups.len - 1] == ':')
		groups.len--;
	bool is_prefix = groups.len + 2 >= key.len && groups.len;
	for (size_t i = 0; i + 1 < groups.len && is_prefix; i++)
		is_prefix = groups.ptr[i] != ':' || groups.ptr[i + 1] != ':';
	if (is_prefix) {
		for (size_t i = 0; i < groups.len; i++)
			count += groups.ptr[i] == ':';
		limit = (count + 1) * 16;
	} else {
		groups = key;
	}
	int len = snprintf(text, sizeof text, "%.*s%s", SPAN_FMT(span_sub(groups, 0, ADDR_TEXT_CAP)), limit < 128 ? "::" : "");
	if (addr_parse((struct span){ text, (size_t)len }, &addr))
		return complain(b, "expected an IPv6 address or its first groups", key);
	if (addr.family == ADDR_V4)
		limit = 32; /* ::ffff:192.0.2.1 */
	return set_net(b, &addr, limit, entry);
}

static bool is_domain(struct span key)
{
	return all_in(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") && key.ptr[0] != '.';
}

static int take_key(struct builder *b, struct span key, struct access_entry *entry)
{
	static const struct span ipv6 = SPAN_LIT("IPv6:");
	size_t at = span_rfind(key, '@');
	if (key.len == 0 || key.len > KEY_MAX || at == 0)
		return complain(b, "expected an address, user@, a domain, or the beginning of an IP address", key);
	if (span_eq(key, SPAN_LIT("<>")))
		return set_key(entry, ACCESS_ADDRESS, key);
	if (at < key.len)
		return at + 1 == key.len ? set_key(entry, ACCESS_USER, span_sub(key, 0, at)) : set_key(entry, ACCESS_ADDRESS, key);
	if (key.ptr[0] == '[')
		return take_bracketed(b, key, entry);
	if (span_starts_nocase(key, ipv6))
		return take_net6(b, span_sub(key, ipv6.len, key.len), entry);
	if (all_in(key, "0123456789."))
		return take_net4(key, entry);
	if (span_find(key, ':', 0) < key.len)
		return take_net6(b, key, entry);
	if (!is_domain(key))
		return complain(b, "expected an address, user@, a domain, or the beginning of an IP address", key);
	return set_key(entry, ACCESS_DOMAIN, key.ptr[key.len - 1] == '.' ? span_sub(key, 0, key.len - 1) : key);
}

/* A tag of sendmail's that means nothing here (Spam:, GreetPause:, TLS_Clt: ...). */
static bool has_foreign_tag(struct span key)
{
	size_t colon = span_find(key, ':', 0);
	struct span tag = span_sub(key, 0, colon);
	return colon < key.len && key.ptr[0] != '[' && !span_eq_nocase(tag, SPAN_LIT("IPv6")) && !all_in(tag, "0123456789abcdefABCDEF") &&
	       all_in(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");
}

/* ---- lines */

static void note_use(struct access_table *t, const struct access_entry *entry)
{
	if (entry->form != ACCESS_DOMAIN || entry->tag == ACCESS_FROM || entry->tag == ACCESS_TO)
		return;
	const struct access_value *value = &t->values[entry->value];
	t->names_allow |= value->kind == ACCESS_ALLOW;
	if (value->kind == ACCESS_REFUSE && !t->names_refuse) {
		t->names_refuse = t->refuses_alike = true;
		t->name_refusal = entry->value;
	} else if (value->kind == ACCESS_REFUSE) {
		t->refuses_alike = t->refuses_alike && span_eq(value->message.template, t->values[t->name_refusal].message.template);
	}
	/* A SKIP hides what shorter keys say, which the two above tell. */
}

static int take_line(struct builder *b, struct span line)
{
	struct access_entry entry = { .key = NULL };
	const char *begin = line.ptr;
	line = span_trim(line);
	if (line.len == 0 || line.ptr[0] == '#')
		return 0;
	size_t end = 0;
	while (end < line.len && line.ptr[end] != ' ' && line.ptr[end] != '\t')
		end++;
	struct span key = span_sub(line, 0, end), value = span_trim(span_sub(line, end, line.len));
	b->place.column = (uint32_t)(line.ptr - begin) + 1;
	if (memchr(line.ptr, 0, line.len))
		return complain(b, "a NUL byte: expected text", key);
	if (has_foreign_tag(key) && take_tag(&(struct span){ key.ptr, key.len }) == ACCESS_ANY) {
		rules_diag_add(b->diags, RULES_WARNING, &b->place, "'%.*s': this tag has no meaning here, the line is passed over",
			       SPAN_FMT(span_sub(key, 0, 80)));
		return 0;
	}
	if (value.len == 0)
		return complain(b, "a key without a value", key);
	entry.tag = (uint8_t)take_tag(&key);
	/* makemap takes such a line, and sites have them: it never matched anything there either. */
	if (all_in(key, "0123456789.") && !are_octets(key)) {
		rules_diag_add(b->diags, RULES_WARNING, &b->place, "'%.*s' never matches: expected 1 to 4 octets of an IPv4 address, up to 255",
			       SPAN_FMT(span_sub(key, 0, 80)));
		return 0;
	}
	int err = take_key(b, key, &entry);
	struct rules_place key_place = b->place;
	b->place.column = (uint32_t)(value.ptr - begin) + 1;
	if (!err)
		err = intern_value(b, value, &entry.value);
	if (err)
		return err;
	if (access_table_insert(b->table, &entry) == ERR_BUSY)
		rules_diag_add(b->diags, RULES_WARNING, &key_place, "'%.*s' stands here a second time: the first one counts",
			       SPAN_FMT(span_sub(key, 0, 80)));
	else
		note_use(b->table, &entry);
	return 0;
}

static uint32_t count_lines(struct span text)
{
	uint32_t count = 1;
	for (size_t at = span_find(text, '\n', 0); at < text.len; at = span_find(text, '\n', at + 1))
		count++;
	return count;
}

int access_table_build(struct arena *arena, const struct rules_source_file *file, struct rules_diags *diags, struct access_table **out)
{
	struct span rest = file->text, line;
	struct builder b = { .diags = diags, .place = { file->path, 0, 1 }, .table = arena_alloc(arena, sizeof *b.table) };
	uint32_t lines = count_lines(file->text);
	if (!b.table)
		return ERR_NOMEM;
	b.table->arena = arena;
	b.table->slot_count = lines + lines / 3 + 2;
	b.table->slots = arena_alloc(arena, b.table->slot_count * sizeof *b.table->slots);
	if (!b.table->slots)
		return ERR_NOMEM;
	while (span_cut(&rest, '\n', &line)) {
		b.place.line++;
		int err = take_line(&b, line);
		if (err == ERR_NOMEM)
			return err;
	}
	*out = b.table;
	return b.err;
}
