/* rules_maker.h - makes up rule sets in which many rules overlap, with every kind of pattern, and the clients, envelopes and worlds to
 * judge with them.  The same numbers come again after the same seed. */
#ifndef POSTERN_TEST_RULES_MAKER_H
#define POSTERN_TEST_RULES_MAKER_H

#include "rules_world.h"

#define MADE_TEXT_CAP 65536u
#define MADE_FILE_CAP 2048u
#define MADE_FILES_MAX 64u

void maker_seed(uint32_t seed);
unsigned maker_roll(unsigned sides);

/* The same rules twice: all patterns in the rules, and some lists in files.  What a source list's line says in its own way (octets, IPv6
 * without brackets, a domain by its name) is written out in the plain form. */
struct made_rules {
	char plain[MADE_TEXT_CAP], filed[MADE_TEXT_CAP];
	char paths[MADE_FILES_MAX][16];
	char texts[MADE_FILES_MAX][MADE_FILE_CAP];
	struct world_file files[MADE_FILES_MAX + 1];
	unsigned file_count;
};

void make_rules(struct made_rules *out, unsigned max_lines);

struct made_case {
	struct world world;
	struct rules_client client;
	char name[64], from[128], to[128];
};

void make_case(struct made_case *out);

void make_options(struct rules_options *out);

#endif
