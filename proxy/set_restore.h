/* set_restore.h - puts elements that wait in the table into the kernel's sets, some thousands a turn of the loop, so that the heart beats on.
 * Logs once how many it were.
 * Borrows: the kernel's side, the table and is_listed, which are the gate's.
 */
#ifndef POSTERN_SET_RESTORE_H
#define POSTERN_SET_RESTORE_H

#include "gate_kernel.h"
#include "loop.h"

struct set_restore {
	struct gate_kernel *kernel;
	struct set_table *table;
	const bool *is_listed; /* of each set: is it known what is in there already? */
	struct loop *loop;
	struct loop_task task;
	enum kernel_set set; /* under way; KSET_COUNT: nothing */
	size_t cursor;
	size_t restored, refused;
	bool has_waiting; /* the kernel did not take some now: to be begun once more at the next beat */
	int64_t began_ms;
};

/* The first three members are there. */
void set_restore_start(struct set_restore *restore, struct loop *loop);

/* From the first set on, once more if it is under way. */
void set_restore_begin(struct set_restore *restore);
void set_restore_stop(struct set_restore *restore);

#endif
