#include "fault.h"
#include "settle_parts.h"

/* ---- the message itself */

static int into_file(struct settle_item *item, enum spool_place place)
{
	struct spool_queue_source source = {
		.record = item->attempt->record,
		.envelope = item->attempt->envelope_lines,
		.body = &item->attempt->body,
		.status = item->status,
		.status_count = item->status_count,
	};
	int err = spool_queue_create(item->dirs, place, &source);
	/* There already: a crash came between the file and its acknowledgement. */
	return err == ERR_BUSY ? 0 : err;
}

static int write_attempt(struct settle_item *item)
{
	struct fwd_message *m = item->message;
	if (m->segment)
		return item->keep ? into_file(item, SPOOL_IN_QUEUE) : 0;
	int err = spool_queue_append(item->dirs, SPOOL_IN_QUEUE, &m->id, item->status, item->status_count);
	if (!err && !item->keep)
		err = spool_queue_remove(item->dirs, SPOOL_IN_QUEUE, &m->id, m->is_large);
	return err;
}

static int write_wish(struct settle_item *item)
{
	struct fwd_message *m = item->message;
	bool is_release = item->kind == SETTLE_ITEM_RELEASE;
	enum spool_place from = item->was_held ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE;
	if (item->attempt && item->kind == SETTLE_ITEM_HOLD)
		return into_file(item, SPOOL_IN_HOLD);
	int err = spool_queue_append(item->dirs, from, &m->id, item->status, item->status_count);
	if (err)
		return err;
	if (item->kind == SETTLE_ITEM_DELETE)
		return spool_queue_remove(item->dirs, from, &m->id, m->is_large);
	return spool_queue_move(item->dirs, from, is_release ? SPOOL_IN_QUEUE : SPOOL_IN_HOLD, &m->id);
}

void settle_item_write(struct settle_item *item)
{
	item->err_where = "a report to the sender";
	item->err = item->attempt ? report_write(&item->reports, item->dirs, item->attempt) : 0;
	if (item->err)
		return;
	item->err_where = "the message's file";
	item->err = item->kind == SETTLE_ITEM_ATTEMPT ? write_attempt(item) : write_wish(item);
	/* A move that failed may have moved it all the same. */
	if (item->err && item->kind != SETTLE_ITEM_ATTEMPT && !item->message->segment)
		item->was_held = !spool_queue_is_in(item->dirs, SPOOL_IN_QUEUE, &item->message->id);
	(void)spool_fault(SPOOL_FAULT_FWD_ITEM_WRITTEN);
}
