/* set_listing.h - a table of set elements as text in a memory file, to be kept or to be shown, and read from what was kept.
 * What has expired is passed over.  Reads or writes all of it, at once.
 */
#ifndef POSTERN_SET_LISTING_H
#define POSTERN_SET_LISTING_H

#include "set_table.h"

/* As sets_file.h keeps it (set_text.h), or as the lines of `postern set list` (wanted: bits of the sets).  A memory file; -1: no memory. */
int set_listing_text(const struct set_table *table);
int set_listing_lines(const struct set_table *table, unsigned wanted);

/* What was kept, into the table, to be put into the kernel; what makes no sense in it is passed over.  Logs how much it was. */
void set_listing_load(struct set_table *table, int fd);

#endif
