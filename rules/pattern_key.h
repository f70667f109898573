/* pattern_key.h - the key by which a pattern can be looked up instead of being compared, and the keys that a subject could match.
 * Promise: a pattern with a key is false for every subject whose probes do not hold that key (names: once the name is known).
 * Where the key `says_all`, it is true for every subject whose probes do hold it.
 * Pure: no memory, no facts but the one that is passed in.  Keys are texts of at most KEY_TEXT_MAX bytes or networks; texts are hashed
 * from their end, so that one pass over an address yields the hash of each of its suffixes.
 */
#ifndef POSTERN_PATTERN_KEY_H
#define POSTERN_PATTERN_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "rules_pattern.h"
#include "span.h"

#define KEY_TEXT_MAX 255u

enum key_kind {
	KEY_NET,           /* network: the client's address is in it */
	KEY_NAME,          /* text: the client's name */
	KEY_NAME_SUFFIX,   /* text: how the client's name ends */
	KEY_NAME_DOMAIN,   /* text: the client's name, or how it ends behind a dot */
	KEY_WHOLE,         /* text: the whole address */
	KEY_WHOLE_SUFFIX,
	KEY_DOMAIN,        /* text: behind the last @ */
	KEY_DOMAIN_SUFFIX,
	KEY_LOCAL,         /* text: in front of the last @ */
	KEY_KIND_COUNT
};

struct pattern_key {
	enum key_kind kind;
	bool says_all;
	struct span text; /* may be empty: KEY_WHOLE of the null sender */
	struct cidr net;  /* KEY_NET */
};

/* False when there is none: the pattern must be compared. */
bool pattern_key_of(const struct pattern *pattern, struct pattern_key *out);

uint64_t pattern_key_hash(const struct pattern_key *key);

static inline bool key_is_name(enum key_kind kind)
{
	return kind == KEY_NAME || kind == KEY_NAME_SUFFIX || kind == KEY_NAME_DOMAIN;
}

/* Which keys are in an index at all: what is not is not probed for.  A zeroed struct holds none. */
struct key_filter {
	unsigned kinds;                                              /* bit (1u << enum key_kind) */
	uint64_t lengths[KEY_KIND_COUNT][2][KEY_TEXT_MAX / 64 + 1]; /* of the texts; [1]: those that begin with a dot */
	uint64_t nets[2][3];                                         /* prefix lengths, IPv4 and IPv6 */
};

void key_filter_add(struct key_filter *filter, const struct pattern_key *key);

struct key_probe {
	uint64_t hash;
	enum key_kind kind;
	struct span text; /* not for KEY_NET */
};

/* The most that one call writes: each length of a suffix of whole and domain, and the exact ones (a name has fewer: suffixes and labels). */
#define KEY_PROBES_MAX (2 * KEY_TEXT_MAX + 3)

/* Each writes the probes that pass the filter, and returns how many. */
size_t key_probe_client(const struct key_filter *filter, const struct addr *client, struct key_probe out[KEY_PROBES_MAX]);
size_t key_probe_name(const struct key_filter *filter, struct span name, struct key_probe out[KEY_PROBES_MAX]);
size_t key_probe_address(const struct key_filter *filter, const struct match *m, struct key_probe out[KEY_PROBES_MAX]);

#endif
