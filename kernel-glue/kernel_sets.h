/* kernel_sets.h - the sets of ours in the kernel that hold addresses: their names and what can be in them.  postern-divert declares them,
 * in nft's table inet postern or as ipsets with postern_ in front of the name.
 */
#ifndef POSTERN_KERNEL_SETS_H
#define POSTERN_KERNEL_SETS_H

#include <stdbool.h>

#include "addr.h"
#include "span.h"

enum kernel_set {
	KSET_PASS4,
	KSET_PASS6,
	KSET_BLOCK4,
	KSET_BLOCK6,
	KSET_TARPIT4,
	KSET_TARPIT6,
	KSET_BLOCK_NET4,
	KSET_BLOCK_NET6,
	KSET_COUNT
};

/* What people say: the family follows from the address. */
enum kernel_set_purpose { KSET_PASS, KSET_BLOCK, KSET_TARPIT, KSET_BLOCK_NET };

const char *kernel_set_name(enum kernel_set set);
bool kernel_set_is_net(enum kernel_set set);
enum addr_family kernel_set_family(enum kernel_set set);
enum kernel_set kernel_set_of(enum kernel_set_purpose purpose, enum addr_family family);

/* By its own name ("pass4").  ERR_NOTFOUND. */
int kernel_set_find(struct span name, enum kernel_set *out);

/* "pass", "block", "tarpit"; "block_net".  ERR_NOTFOUND. */
int kernel_set_purpose_find(struct span name, enum kernel_set_purpose *out);

/* What is in a set: one address (from == to), or in the _net ones all from the first to the last. */
struct kernel_element {
	struct addr from, to;
	int64_t expires_at; /* seconds since 1970; 0: never */
};

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", and from-to where no prefix says it.  Host bits of a prefix are ignored.  ERR_SYNTAX. */
#define KERNEL_ELEMENT_TEXT_CAP (2 * ADDR_TEXT_CAP + 1)
int kernel_element_parse(struct span text, struct kernel_element *out);
const char *kernel_element_format(const struct kernel_element *e, char text[KERNEL_ELEMENT_TEXT_CAP]);

/* Can it be in there? */
bool kernel_element_fits(const struct kernel_element *e, enum kernel_set set);

#endif
