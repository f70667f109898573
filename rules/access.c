#include "access.h"

/* FNV-1a is weak in its high bits for short keys; the multiplication spreads it.  Any slot count will do, so that the table can be as
 * small as its entries need. */
static uint32_t slot_of(const struct access_table *table, const struct access_entry *key)
{
	uint64_t hash = span_hash_nocase((struct span){ key->key, key->len });
	hash = (hash ^ key->form ^ ((uint64_t)key->tag << 8)) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(((hash >> 32) * table->slot_count) >> 32);
}

static bool same_key(const struct access_entry *a, const struct access_entry *b)
{
	if (a->len != b->len || a->tag != b->tag || a->form != b->form)
		return false;
	struct span x = { a->key, a->len }, y = { b->key, b->len };
	return a->form == ACCESS_NET6 ? span_eq(x, y) : span_eq_nocase(x, y);
}

/* The slot of the key, or the free one where it would go: a quarter of the slots is always free. */
static struct access_entry *find_slot(const struct access_table *table, const struct access_entry *key)
{
	uint32_t at = slot_of(table, key);
	while (table->slots[at].key && !same_key(&table->slots[at], key))
		at = at + 1 == table->slot_count ? 0 : at + 1;
	return &table->slots[at];
}

int access_table_insert(struct access_table *table, const struct access_entry *entry)
{
	struct access_entry *slot = find_slot(table, entry);
	if (slot->key)
		return ERR_BUSY;
	*slot = *entry;
	table->count++;
	return 0;
}

static const struct access_value *find_tagged(const struct access_table *table, enum access_tag tag, enum access_form form, struct span key)
{
	if (key.len == 0 || key.len > UINT16_MAX)
		return NULL;
	struct access_entry wanted = { .key = key.ptr, .len = (uint16_t)key.len, .tag = (uint8_t)tag, .form = (uint8_t)form };
	const struct access_entry *slot = find_slot(table, &wanted);
	return slot->key ? &table->values[slot->value] : NULL;
}

static const struct access_value *find(const struct access_table *table, enum access_tag tag, enum access_form form, struct span key)
{
	const struct access_value *value = find_tagged(table, tag, form, key);
	return value ? value : find_tagged(table, ACCESS_ANY, form, key);
}

static const struct access_value *unless_skip(const struct access_value *value)
{
	return value && value->kind != ACCESS_SKIP ? value : NULL;
}

/* The domain itself, then without its first label, and so on. */
static const struct access_value *find_domain(const struct access_table *table, enum access_tag tag, struct span domain)
{
	const struct access_value *value = NULL;
	if (domain.len && domain.ptr[domain.len - 1] == '.')
		domain.len--;
	while (domain.len && !(value = find(table, tag, ACCESS_DOMAIN, domain)))
		domain = span_sub(domain, span_find(domain, '.', 0) + 1, domain.len);
	return value;
}

static const struct access_value *find_net4(const struct access_table *table, const struct addr *client)
{
	char text[ADDR_TEXT_CAP];
	struct span octets = span_of(addr_format(client, text));
	const struct access_value *value = NULL;
	while (octets.len && !(value = find(table, ACCESS_CONNECT, ACCESS_NET4, octets))) {
		size_t dot = span_rfind(octets, '.');
		octets = span_sub(octets, 0, dot < octets.len ? dot : 0);
	}
	return value;
}

static const struct access_value *find_net6(const struct access_table *table, const struct addr *client)
{
	const struct access_value *value = NULL;
	for (unsigned bits = 129; bits-- > 0 && !value;) {
		struct cidr net;
		char key[17];
		if (!table->has_bits[bits] || cidr_make(client, bits, &net))
			continue;
		memcpy(key, net.addr.bytes, 16);
		key[16] = (char)bits;
		value = find(table, ACCESS_CONNECT, ACCESS_NET6, (struct span){ key, sizeof key });
	}
	return value;
}

const struct access_value *access_of_client(const struct access_table *table, const struct addr *client)
{
	return unless_skip(client->family == ADDR_V6 ? find_net6(table, client) : find_net4(table, client));
}

const struct access_value *access_of_name(const struct access_table *table, struct span name)
{
	return unless_skip(find_domain(table, ACCESS_CONNECT, name));
}

const struct access_value *access_of_address(const struct access_table *table, enum access_tag tag, struct span address)
{
	size_t at = span_rfind(address, '@');
	bool has_at = at < address.len;
	if (address.len == 0)
		return unless_skip(find(table, tag, ACCESS_ADDRESS, SPAN_LIT("<>")));
	const struct access_value *value = has_at ? find(table, tag, ACCESS_ADDRESS, address) : NULL;
	if (!value)
		value = find(table, tag, ACCESS_USER, span_sub(address, 0, at));
	if (!value && has_at)
		value = find_domain(table, tag, span_sub(address, at + 1, address.len));
	return unless_skip(value);
}
