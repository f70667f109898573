#include "queue_filter.h"

#include "kv.h"

enum key { KEY_FROM, KEY_TO, KEY_DESTINATION, KEY_CLIENT, KEY_ERROR, KEY_STATE, KEY_VERB, KEY_OLDER, KEY_YOUNGER, KEY_LARGER, KEY_SMALLER };

static const char *const key_names[] = {
	[KEY_FROM] = "from",	[KEY_TO] = "to",	[KEY_DESTINATION] = "destination", [KEY_CLIENT] = "client",
	[KEY_ERROR] = "error",	[KEY_STATE] = "state",	[KEY_VERB] = "verb",		   [KEY_OLDER] = "older",
	[KEY_YOUNGER] = "younger", [KEY_LARGER] = "larger", [KEY_SMALLER] = "smaller",
};

#define KEY_BIT(key) (1u << (key))
#define ENVELOPE_KEYS (KEY_BIT(KEY_FROM) | KEY_BIT(KEY_TO) | KEY_BIT(KEY_CLIENT) | KEY_BIT(KEY_ERROR))

/* ---- reading */

static int find_key(struct span name)
{
	for (size_t i = 0; i < sizeof key_names / sizeof key_names[0]; i++) {
		if (span_eq(name, span_of(key_names[i])))
			return (int)i;
	}
	return -1;
}

static bool is_number_key(enum key key)
{
	return key == KEY_OLDER || key == KEY_YOUNGER || key == KEY_LARGER || key == KEY_SMALLER;
}

static void set_number(struct queue_filter *f, enum key key, uint64_t value)
{
	switch (key) {
	case KEY_OLDER: f->older_s = (int64_t)value; break;
	case KEY_YOUNGER: f->younger_s = (int64_t)value; break;
	case KEY_LARGER: f->larger_bytes = value; break;
	default: f->smaller_bytes = value; break;
	}
}

/* An address or a network; anything else is a pattern for names. */
static bool parse_network(struct span text, struct cidr *out)
{
	struct addr addr;
	uint64_t bits;
	size_t slash = span_find(text, '/', 0);
	if (addr_parse(span_sub(text, 0, slash), &addr) != 0)
		return false;
	if (slash == text.len)
		return cidr_make(&addr, addr_bits(&addr), out) == 0;
	return span_to_u64(span_sub(text, slash + 1, text.len), addr_bits(&addr), &bits) == 0 && cidr_make(&addr, (unsigned)bits, out) == 0;
}

static bool is_verb(struct span text)
{
	static const char *const verbs[] = { "hold", "release", "retry", "delete" };
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (span_eq(text, span_of(verbs[i])))
			return true;
	}
	return false;
}

/* One star at a time: behind the last one seen, the text is tried at each place; so the cost is at most both lengths multiplied. */
static bool matches(struct span pattern, struct span text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
	while (t < text.len) {
		if (p < pattern.len && pattern.ptr[p] == '*') {
			star = p++;
			resume = t;
		} else if (p < pattern.len && (pattern.ptr[p] == '?' || span_lower(pattern.ptr[p]) == span_lower(text.ptr[t]))) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++resume;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.ptr[p] == '*')
		p++;
	return p == pattern.len;
}

/* A pattern that no state can match is a slip of the pen. */
static bool is_state(struct span pattern)
{
	static const char *const states[] = { "ready", "active", "waiting", "held", "stored" };
	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
		if (matches(pattern, span_of(states[i])))
			return true;
	}
	return false;
}

static int add_text(struct queue_filter *f, enum key key, struct span value, struct reason *why)
{
	struct cidr network;
	if (f->count == QUEUE_FILTER_ITEMS_CAP || value.len > sizeof f->text - f->text_len)
		return reason_set(why, ERR_TOOLONG, "too many filters at once");
	if (value.len == 0)
		return reason_set(why, ERR_SYNTAX, "filter %s is empty%s", key_names[key], key == KEY_FROM ? "; the null sender is <>" : "");
	if (key == KEY_VERB && !is_verb(value))
		return reason_set(why, ERR_SYNTAX, "verb=%.*s: nothing that can be done to a message", SPAN_FMT(value));
	if (key == KEY_STATE && !is_state(value))
		return reason_set(why, ERR_SYNTAX, "state '%.*s': expected ready, active, waiting, held or stored", SPAN_FMT(value));
	if (key == KEY_CLIENT && span_find(value, '/', 0) < value.len && !parse_network(value, &network))
		return reason_set(why, ERR_SYNTAX, "client '%.*s': expected an address, a network such as 192.0.2.0/24, or a pattern for a name",
				  SPAN_FMT(value));
	struct queue_filter_item *item = &f->items[f->count++];
	*item = (struct queue_filter_item){ .key = (uint8_t)key, .at = (uint16_t)f->text_len, .len = (uint16_t)value.len };
	memcpy(f->text + f->text_len, value.ptr, value.len);
	f->text_len += value.len;
	item->is_network = key == KEY_CLIENT && parse_network(value, &item->network);
	return 0;
}

int queue_filter_parse(struct span line, struct queue_filter *out, struct reason *why)
{
	struct kv_pair pair;
	int err;
	out->count = out->text_len = 0;
	out->keys = 0;
	while ((err = kv_next(&line, &pair)) == 0) {
		struct span value = { pair.value, pair.value_len };
		int key = find_key(pair.key);
		uint64_t number;
		if (key < 0)
			return reason_set(why, ERR_SYNTAX, "there is no filter %.*s", SPAN_FMT(pair.key));
		if (!is_number_key((enum key)key))
			err = add_text(out, (enum key)key, value, why);
		else if (span_to_u64(value, INT64_MAX, &number) != 0)
			err = reason_set(why, ERR_SYNTAX, "filter %s: '%.*s' is no number", key_names[key], SPAN_FMT(value));
		else
			set_number(out, (enum key)key, number);
		if (err)
			return err;
		out->keys |= KEY_BIT(key);
	}
	return err == ERR_EOF ? 0 : reason_set(why, ERR_SYNTAX, "that is no list of filters");
}

/* ---- matching */

static bool matches_path(struct span pattern, struct span path)
{
	if (span_eq(pattern, SPAN_LIT("<>")))
		return path.len == 0;
	if (span_find(pattern, '@', 0) < pattern.len)
		return matches(pattern, path);
	size_t at = span_rfind(path, '@');
	return matches(pattern, at < path.len ? span_sub(path, at + 1, path.len) : path);
}

/* "192.0.2.25:25 from 198.51.100.7": whole, or only the server, or that without its port. */
static bool matches_destination(struct span pattern, struct span key)
{
	struct span server = span_sub(key, 0, span_find(key, ' ', 0));
	return matches(pattern, key) || matches(pattern, server) || matches(pattern, span_sub(server, 0, span_rfind(server, ':')));
}

static bool can_be_done(struct span verb, struct span state)
{
	bool is_held = span_eq(state, SPAN_LIT("held"));
	return span_eq(verb, SPAN_LIT("delete")) || span_eq(verb, SPAN_LIT("release")) == is_held;
}

/* None of that key, or one that takes it. */
static bool takes(const struct queue_filter *f, enum key key, struct span text, const struct addr *addr)
{
	if (!(f->keys & KEY_BIT(key)))
		return true;
	for (size_t i = 0; i < f->count; i++) {
		const struct queue_filter_item *item = &f->items[i];
		struct span pattern = { f->text + item->at, item->len };
		if (item->key != key)
			continue;
		bool is_path = key == KEY_FROM || key == KEY_TO;
		if (key == KEY_VERB          ? can_be_done(pattern, text)
		    : key == KEY_DESTINATION ? matches_destination(pattern, text)
		    : item->is_network       ? addr && cidr_contains(&item->network, addr)
		    : is_path                ? matches_path(pattern, text)
					     : matches(pattern, text))
			return true;
	}
	return false;
}

bool queue_filter_takes(const struct queue_filter *filter, const struct queue_filter_facts *facts)
{
	const struct queue_filter *f = filter;
	return (!(f->keys & KEY_BIT(KEY_OLDER)) || facts->age_s >= f->older_s) &&
	       (!(f->keys & KEY_BIT(KEY_YOUNGER)) || facts->age_s < f->younger_s) &&
	       (!(f->keys & KEY_BIT(KEY_LARGER)) || facts->size_bytes >= f->larger_bytes) &&
	       (!(f->keys & KEY_BIT(KEY_SMALLER)) || facts->size_bytes < f->smaller_bytes) &&
	       takes(f, KEY_STATE, facts->state, NULL) && takes(f, KEY_VERB, facts->state, NULL) &&
	       takes(f, KEY_DESTINATION, facts->destination, NULL);
}

bool queue_filter_needs_envelope(const struct queue_filter *filter)
{
	return (filter->keys & ENVELOPE_KEYS) != 0;
}

bool queue_filter_takes_envelope(const struct queue_filter *filter, const struct spool_envelope *envelope, struct span error)
{
	return takes(filter, KEY_FROM, envelope->from, NULL) && takes(filter, KEY_CLIENT, envelope->client_name, &envelope->client.addr) &&
	       takes(filter, KEY_ERROR, error, NULL);
}

bool queue_filter_takes_recipient(const struct queue_filter *filter, struct span path)
{
	return takes(filter, KEY_TO, path, NULL);
}
