/* set_table.h - what is, or is to be, in the kernel's sets: the copy of it that outlives a flush.  Pure memory.
 * An entry is in the kernel as far as we know, or waits to be put there.
 * Owns: its entries.  Limits: SET_TABLE_MAX entries in all.
 */
#ifndef POSTERN_SET_TABLE_H
#define POSTERN_SET_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "kernel_sets.h"

#define SET_TABLE_MAX 2000000u

struct set_table;

int set_table_create(struct set_table **out);
void set_table_destroy(struct set_table **table);

/* Adds, or changes the expiry of what is there.  ERR_NOSPACE at the limit, ERR_NOMEM. */
int set_table_put(struct set_table *table, enum kernel_set set, const struct kernel_element *element, bool is_in_kernel);
bool set_table_remove(struct set_table *table, enum kernel_set set, const struct kernel_element *element);

/* Those that the kernel listed since the last begin are put; what it had and did not list is removed at the end. */
void set_table_listing_begin(struct set_table *table, enum kernel_set set);
void set_table_listing_end(struct set_table *table, enum kernel_set set);

/* The kernel has lost this set: all of it waits. */
void set_table_lost(struct set_table *table, enum kernel_set set);

/* What has expired goes.  Looks at no more than budget entries, goes on where it stopped. */
void set_table_sweep(struct set_table *table, int64_t now, size_t budget);

size_t set_table_count(const struct set_table *table, enum kernel_set set);

/* The next entry at or behind *cursor (0 at first), which then stands behind it.  False: that was all.  Between two calls the table may
 * change; an entry that moves meanwhile is not met twice. */
struct set_entry {
	enum kernel_set set;
	bool is_in_kernel;
	struct kernel_element element;
};
bool set_table_next(const struct set_table *table, size_t *cursor, struct set_entry *out);

/* Is it there, and until when? */
bool set_table_find(const struct set_table *table, enum kernel_set set, const struct kernel_element *element, struct set_entry *out);

#endif
