#include "set_restore.h"

#include "log.h"

#define RESTORE_A_TURN 4000u

/* Says nothing of the elements: their set went away under our hands, or somebody else has the table now.  A set that is full, or has
 * something else where they belong, would refuse them the next time, too. */
static bool is_passing(int err)
{
	return err == ERR_NOTFOUND || err == ERR_PERM || err == ERR_AGAIN;
}

/* ERR_*: those that were not put wait. */
static int put_some(struct set_restore *r, enum kernel_set set, const struct kernel_element *e, size_t count, int64_t now)
{
	int err = gate_kernel_put(r->kernel, set, e, count, now);
	if (err && is_passing(err))
		return err;
	if (!err) {
		for (size_t i = 0; i < count; i++)
			(void)set_table_put(r->table, set, &e[i], true);
		r->restored += count;
	} else if (count == 1) {
		/* Full, or in the way of another one. */
		(void)set_table_remove(r->table, set, e);
		r->refused++;
	} else {
		err = put_some(r, set, e, count / 2, now);
		return err ? err : put_some(r, set, e + count / 2, count - count / 2, now);
	}
	return 0;
}

static void restore_done(struct set_restore *r)
{
	struct kv kv;
	if (r->restored + r->refused == 0)
		return;
	kv_init(&kv);
	kv_text(&kv, "ev", "sets-restored");
	kv_u64(&kv, "elements", r->restored);
	kv_u64(&kv, "refused", r->refused);
	kv_i64(&kv, "ms", (int64_t)loop_now_ms(r->loop) - r->began_ms);
	log_kv(r->refused ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &kv);
	r->restored = r->refused = 0;
}

/* The next of the set that waits; from one end of the table to the other for each set. */
static size_t collect(struct set_restore *r, struct kernel_element some[RESTORE_A_TURN], int64_t now)
{
	size_t count = 0;
	struct set_entry entry;
	while (count < RESTORE_A_TURN && set_table_next(r->table, &r->cursor, &entry))
		if (entry.set == r->set && !entry.is_in_kernel && (!entry.element.expires_at || entry.element.expires_at > now))
			some[count++] = entry.element;
	return count;
}

static void turn(void *ctx)
{
	static struct kernel_element some[RESTORE_A_TURN];
	struct set_restore *r = ctx;
	int64_t now = loop_wall_time();
	while (r->set < KSET_COUNT) {
		size_t count = r->is_listed[r->set] ? collect(r, some, now) : 0;
		if (count) {
			if (put_some(r, r->set, some, count, now) == 0) {
				loop_task_post(r->loop, &r->task);
				return;
			}
			r->has_waiting = true;
		}
		r->set++;
		r->cursor = 0;
	}
	restore_done(r);
}

void set_restore_begin(struct set_restore *r)
{
	r->set = KSET_PASS4;
	r->cursor = 0;
	r->has_waiting = false;
	if (r->restored + r->refused == 0)
		r->began_ms = (int64_t)loop_now_ms(r->loop);
	loop_task_post(r->loop, &r->task);
}

void set_restore_start(struct set_restore *r, struct loop *loop)
{
	r->loop = loop;
	r->task = (struct loop_task){ .fn = turn, .ctx = r };
}

void set_restore_stop(struct set_restore *r)
{
	if (r->loop)
		loop_task_cancel(&r->task);
}
