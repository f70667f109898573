/* filter_index.h - finds where any of many texts begins, without regard to case (ASCII), in one pass over the bytes.
 * How: four bytes of each text, its rarest, are hashed into a bitmap; a pass hashes the four bytes at each place and looks further only
 * where the bitmap says so.  So a pass costs about the same for one text and for thousands; texts of two or three bytes make a second
 * look necessary at each place.
 * Owns: copies of the texts; about 40 bytes for each, and up to 1 MiB of bitmap.  Immutable once it is built.
 * Bounds: each place is looked at once; where many texts share their four bytes, all of these are compared there.
 */
#ifndef POSTERN_FILTER_INDEX_H
#define POSTERN_FILTER_INDEX_H

#include "err.h"
#include "filter_literal.h"
#include "span.h"

struct filter_index;

/* id: what is told when the text is found; several texts may have the same. */
struct filter_index_text {
	struct filter_literal literal;
	uint32_t id;
};

int filter_index_create(const struct filter_index_text *texts, size_t count, struct filter_index **out);

struct filter_find {
	size_t at;   /* where the text begins */
	uint32_t id;
};

/* A pass over bytes, which it borrows. */
struct filter_index_pass {
	struct span bytes;
	size_t at;         /* private: the place, */
	uint32_t window;   /*   its bytes, */
	uint32_t entry;    /*   and how far it was looked at */
	bool is_short;
};

void filter_index_start(const struct filter_index *index, struct filter_index_pass *pass, struct span bytes);

/* The next one, by the places of the four bytes: what is found later may begin up to FILTER_LITERAL_LEN_MAX bytes earlier.  False: no more. */
bool filter_index_next(const struct filter_index *index, struct filter_index_pass *pass, struct filter_find *out);

size_t filter_index_bytes(const struct filter_index *index);

void filter_index_destroy(struct filter_index **index);

#endif
