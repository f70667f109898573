#include "kernel_sets.h"

#include <stdio.h>
#include <string.h>

#include "err.h"

static const struct set_def {
	const char *name;
	enum kernel_set_purpose purpose;
	enum addr_family family;
} sets[KSET_COUNT] = {
	[KSET_PASS4] = { "pass4", KSET_PASS, ADDR_V4 },
	[KSET_PASS6] = { "pass6", KSET_PASS, ADDR_V6 },
	[KSET_BLOCK4] = { "block4", KSET_BLOCK, ADDR_V4 },
	[KSET_BLOCK6] = { "block6", KSET_BLOCK, ADDR_V6 },
	[KSET_TARPIT4] = { "tarpit4", KSET_TARPIT, ADDR_V4 },
	[KSET_TARPIT6] = { "tarpit6", KSET_TARPIT, ADDR_V6 },
	[KSET_BLOCK_NET4] = { "block_net4", KSET_BLOCK_NET, ADDR_V4 },
	[KSET_BLOCK_NET6] = { "block_net6", KSET_BLOCK_NET, ADDR_V6 },
};

static const char *const purposes[] = { [KSET_PASS] = "pass", [KSET_BLOCK] = "block", [KSET_TARPIT] = "tarpit", [KSET_BLOCK_NET] = "block_net" };

const char *kernel_set_name(enum kernel_set set)
{
	return sets[set].name;
}

bool kernel_set_is_net(enum kernel_set set)
{
	return sets[set].purpose == KSET_BLOCK_NET;
}

enum addr_family kernel_set_family(enum kernel_set set)
{
	return sets[set].family;
}

enum kernel_set kernel_set_of(enum kernel_set_purpose purpose, enum addr_family family)
{
	enum kernel_set set = KSET_PASS4;
	while (sets[set].purpose != purpose || sets[set].family != family)
		set++;
	return set;
}

int kernel_set_find(struct span name, enum kernel_set *out)
{
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		if (span_eq(name, span_of(sets[set].name))) {
			*out = set;
			return 0;
		}
	return ERR_NOTFOUND;
}

int kernel_set_purpose_find(struct span name, enum kernel_set_purpose *out)
{
	for (size_t i = 0; i < sizeof purposes / sizeof purposes[0]; i++)
		if (span_eq(name, span_of(purposes[i]))) {
			*out = (enum kernel_set_purpose)i;
			return 0;
		}
	return ERR_NOTFOUND;
}

/* The last address of a network. */
static struct addr last_of(const struct cidr *net)
{
	struct addr last = net->addr;
	for (unsigned bit = net->bits; bit < addr_bits(&last); bit++)
		last.bytes[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
	return last;
}

static int parse_prefix(struct span text, size_t slash, struct kernel_element *out)
{
	struct addr base;
	struct cidr net;
	uint64_t bits;
	if (addr_parse(span_sub(text, 0, slash), &base) || span_to_u64(span_sub(text, slash + 1, text.len), 128, &bits) ||
	    cidr_make(&base, (unsigned)bits, &net))
		return ERR_SYNTAX;
	*out = (struct kernel_element){ .from = net.addr, .to = last_of(&net) };
	return 0;
}

int kernel_element_parse(struct span text, struct kernel_element *out)
{
	struct addr from, to;
	size_t slash = span_find(text, '/', 0), dash = span_find(text, '-', 0);
	if (slash < text.len)
		return parse_prefix(text, slash, out);
	if (addr_parse(span_sub(text, 0, dash), &from))
		return ERR_SYNTAX;
	to = from;
	if (dash < text.len && (addr_parse(span_sub(text, dash + 1, text.len), &to) || to.family != from.family ||
				memcmp(to.bytes, from.bytes, sizeof to.bytes) < 0))
		return ERR_SYNTAX;
	*out = (struct kernel_element){ .from = from, .to = to };
	return 0;
}

/* How many leading bits say the whole range; more than there are: none do. */
static unsigned prefix_of(const struct kernel_element *e)
{
	unsigned all = addr_bits(&e->from);
	for (unsigned bits = 0; bits <= all; bits++) {
		struct cidr net;
		if (cidr_make(&e->from, bits, &net) == 0 && addr_eq(&net.addr, &e->from)) {
			struct addr last = last_of(&net);
			if (addr_eq(&last, &e->to))
				return bits;
		}
	}
	return all + 1;
}

const char *kernel_element_format(const struct kernel_element *e, char text[KERNEL_ELEMENT_TEXT_CAP])
{
	char from[ADDR_TEXT_CAP], to[ADDR_TEXT_CAP];
	(void)addr_format(&e->from, from);
	if (addr_eq(&e->from, &e->to)) {
		(void)snprintf(text, KERNEL_ELEMENT_TEXT_CAP, "%s", from);
		return text;
	}
	unsigned bits = prefix_of(e);
	if (bits <= addr_bits(&e->from))
		(void)snprintf(text, KERNEL_ELEMENT_TEXT_CAP, "%s/%u", from, bits);
	else
		(void)snprintf(text, KERNEL_ELEMENT_TEXT_CAP, "%s-%s", from, addr_format(&e->to, to));
	return text;
}

bool kernel_element_fits(const struct kernel_element *e, enum kernel_set set)
{
	return e->from.family == (uint8_t)sets[set].family && e->to.family == e->from.family &&
	       (kernel_set_is_net(set) || addr_eq(&e->from, &e->to));
}
