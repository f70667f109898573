#include "recovery.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dir_list.h"
#include "fault.h"
#include "sweep.h"

struct scan {
	const struct spool_dirs *dirs; /* NULL: don't look into queue/ */
	const struct spool_recovery_events *events;
	const struct spool_ack_set *acks;
	const char *name;
	int fd;
	struct spool_segment_info info;
};

static bool is_settled(enum spool_outcome outcome)
{
	return outcome != SPOOL_OUTCOME_NONE && outcome != SPOOL_OUTCOME_DEFERRED;
}

static void report_broken(struct scan *scan, const struct spool_entry *entry, bool is_torn, int err)
{
	/* Saved in bad/ and noted by an earlier run. */
	if (scan->acks && spool_ack_get(scan->acks, entry->offset, SPOOL_ACK_ALL) == SPOOL_OUTCOME_BAD)
		return;
	struct spool_broken broken = { .place = "journal", .name = scan->name, .fd = scan->fd, .offset = entry->offset,
				       .length = entry->length, .is_torn = is_torn, .err = err,
				       .record = entry->has_record ? &entry->record : NULL };
	scan->info.broken++;
	scan->events->broken(scan->events->ctx, &broken);
}

static int report_message(struct scan *scan, const struct spool_entry *entry, const struct spool_envelope *envelope, struct arena *arena)
{
	enum spool_outcome *outcomes = arena_alloc(arena, envelope->recipient_count * sizeof *outcomes);
	if (!outcomes)
		return ERR_NOMEM;
	size_t settled = 0;
	for (size_t i = 0; scan->acks && i < envelope->recipient_count; i++) {
		outcomes[i] = spool_ack_get(scan->acks, entry->offset, (uint32_t)i);
		settled += is_settled(outcomes[i]);
	}
	if (settled == envelope->recipient_count)
		return 0;
	scan->info.unsettled++;
	struct spool_found found = { .segment = scan->name, .segment_fd = scan->fd, .offset = entry->offset, .record = &entry->record,
				     .envelope = envelope, .envelope_lines = entry->envelope, .outcomes = outcomes,
				     .is_in_queue = scan->dirs && spool_queue_has(scan->dirs, &entry->record.id) };
	return scan->events->message(scan->events->ctx, &found);
}

static int take_record(struct scan *scan, const struct spool_entry *entry)
{
	/* Acknowledged as a whole: not even its envelope is looked at. */
	if (scan->acks && is_settled(spool_ack_get(scan->acks, entry->offset, SPOOL_ACK_ALL))) {
		scan->info.records++;
		return 0;
	}
	struct arena arena = { NULL, 0 };
	struct spool_envelope envelope;
	int err = spool_envelope_decode(entry->envelope, &arena, &envelope);
	if (err == 0) {
		scan->info.records++;
		err = report_message(scan, entry, &envelope, &arena);
	} else if (err != ERR_NOMEM) {
		report_broken(scan, entry, false, err);
		err = 0;
	}
	arena_free(&arena);
	return err;
}

/* What a failed sync left behind is neither mail nor evidence. */
static uint64_t cut_void(struct scan *scan, uint64_t limit)
{
	if (!scan->acks || scan->acks->void_offset >= limit)
		return limit;
	struct spool_broken broken = { .place = "journal", .name = scan->name, .fd = scan->fd, .offset = scan->acks->void_offset,
				       .length = limit - scan->acks->void_offset, .is_void = true };
	scan->events->broken(scan->events->ctx, &broken);
	return scan->acks->void_offset;
}

static int scan_records(struct scan *scan, uint64_t from, uint64_t limit, unsigned flags, uint64_t *next_out)
{
	struct spool_reader reader;
	spool_reader_init(&reader, scan->fd, from, cut_void(scan, limit), flags);
	spool_reader_expect(&reader, scan->name);
	int err = 0;
	for (bool is_more = true; is_more && !err;) {
		struct spool_entry entry;
		switch (spool_reader_next(&reader, &entry)) {
		case SPOOL_READ_RECORD: err = take_record(scan, &entry); break;
		case SPOOL_READ_CORRUPT: report_broken(scan, &entry, false, ERR_CORRUPT); break;
		case SPOOL_READ_TORN: report_broken(scan, &entry, true, ERR_CORRUPT); break;
		case SPOOL_READ_ERROR: err = entry.err; break;
		case SPOOL_READ_END: is_more = false; break;
		}
	}
	if (next_out)
		*next_out = reader.offset;
	spool_reader_free(&reader);
	return err;
}

int spool_segment_scan(int fd, const char *name, uint64_t from, uint64_t limit, unsigned flags, const struct spool_ack_set *acks,
                       const struct spool_recovery_events *events, struct spool_segment_info *info_out, uint64_t *next_out)
{
	struct scan scan = { .events = events, .acks = acks, .name = name, .fd = fd, .info = { .name = name, .size = limit } };
	int err = scan_records(&scan, from, limit, flags, next_out);
	if (!err && info_out)
		*info_out = scan.info;
	return err;
}

/* ---- everything */

/* One bad sector must not keep the rest of the mail waiting. */
static bool is_the_disks(int err)
{
	return err == ERR_IO || err == ERR_PERM;
}

static void report_unread(const struct spool_recovery_events *events, const char *place, const char *name, uint64_t offset, int err)
{
	struct spool_broken broken = { .place = place, .name = name, .fd = -1, .offset = offset, .is_unread = true, .err = err };
	events->broken(events->ctx, &broken);
}

static int recover_segment(const struct spool_dirs *dirs, const char *name, const struct spool_recovery_events *events)
{
	struct scan scan = { .dirs = dirs, .events = events, .name = name, .fd = -1, .info = { .name = name } };
	bool is_sealed = false;
	uint64_t read_to = 0;
	int err = spool_segment_open(dirs, name, &scan.fd, &scan.info.size, &is_sealed);
	if (is_the_disks(err))
		report_unread(events, "journal", name, 0, err);
	if (err)
		return err == ERR_NOTFOUND || is_the_disks(err) ? 0 : err;
	scan.info.is_live = !is_sealed;
	if (is_sealed) {
		struct spool_ack_set acks;
		err = spool_ack_load(dirs, name, &acks);
		if (!err) {
			scan.acks = &acks;
			err = scan_records(&scan, 0, scan.info.size, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END, &read_to);
			spool_ack_set_free(&acks);
		}
	}
	if (!err) {
		(void)spool_fault(SPOOL_FAULT_RECOVER_SEGMENT);
		err = events->segment(events->ctx, &scan.info);
	} else if (is_the_disks(err)) {
		report_unread(events, "journal", name, read_to, err);
		err = 0;
	}
	close(scan.fd);
	return err;
}

static int report_waiting(const struct spool_queue_item *item, enum spool_place place, struct arena *arena, const struct spool_recovery_events *events)
{
	size_t count = item->envelope.recipient_count;
	enum spool_outcome *outcomes = arena_alloc(arena, count * sizeof *outcomes);
	if (!outcomes)
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++)
		outcomes[i] = item->recipients[i].outcome;
	struct spool_found found = { .segment_fd = -1, .place = place, .record = &item->record, .envelope = &item->envelope,
				     .outcomes = outcomes, .item = item };
	return events->message(events->ctx, &found);
}

static int recover_waiting(const struct spool_dirs *dirs, enum spool_place place, const char *name, const struct spool_recovery_events *events)
{
	struct spool_id id;
	if (spool_id_parse(span_of(name), &id) != 0)
		return 0;
	/* Moved between the two places when the power went: queue/ counts. */
	if (place == SPOOL_IN_HOLD && faccessat(dirs->queue, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	struct arena arena = { NULL, 0 };
	struct spool_queue_item item;
	int err = spool_queue_load(dirs, place, &id, SPOOL_LOAD_CHECK_BODY, &arena, &item, NULL);
	(void)spool_fault(SPOOL_FAULT_RECOVER_WAITING);
	if (err == 0 && item.pending == 0)
		err = spool_queue_remove(dirs, place, &id, spool_record_is_large(&item.record));
	else if (err == 0)
		err = report_waiting(&item, place, &arena, events);
	else if (is_the_disks(err)) {
		report_unread(events, place == SPOOL_IN_HOLD ? "hold" : "queue", name, 0, err);
		err = 0;
	} else if (err == ERR_NOTFOUND) {
		err = 0; /* somebody took it away meanwhile */
	} else if (err != ERR_NOMEM) {
		struct spool_broken broken = { .place = place == SPOOL_IN_HOLD ? "hold" : "queue", .name = name, .fd = -1, .err = err };
		events->broken(events->ctx, &broken);
		err = 0;
	}
	arena_free(&arena);
	return err;
}

/* ---- step by step */

struct id_list {
	struct spool_id *ids;
	size_t count, room;
};

struct spool_recovery {
	const struct spool_dirs *dirs;
	struct spool_recovery_events events;
	struct dir_list segments;
	size_t segment_at;
	struct id_list waiting[2]; /* by enum spool_place */
	unsigned place;
	size_t at;                 /* in waiting[place] */
	bool is_swept;
};

static int add_id(void *ctx, const struct spool_id *id)
{
	struct id_list *list = ctx;
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct spool_id *ids = realloc(list->ids, room * sizeof *ids);
		if (!ids)
			return ERR_NOMEM;
		list->ids = ids;
		list->room = room;
	}
	list->ids[list->count++] = *id;
	return 0;
}

static int compare_ids(const void *left, const void *right)
{
	return memcmp(left, right, SPOOL_ID_LEN);
}

static int list_waiting(struct spool_recovery *r, enum spool_place place)
{
	struct id_list *list = &r->waiting[place];
	int err = spool_queue_each(r->dirs, place, add_id, list);
	if (list->count > 1)
		qsort(list->ids, list->count, sizeof *list->ids, compare_ids);
	return err;
}

int spool_recovery_start(const struct spool_dirs *dirs, const struct spool_recovery_events *events, struct spool_recovery **out,
                         struct reason *why)
{
	struct spool_recovery *r = calloc(1, sizeof *r);
	if (!r)
		return reason_set(why, ERR_NOMEM, "no memory");
	r->dirs = dirs;
	r->events = *events;
	int err = spool_sweep(dirs, why);
	if (!err) {
		err = dir_list_read(dirs->journal, &r->segments);
		if (err)
			reason_set(why, err, "spool/journal: can't be listed");
	}
	static const enum spool_place places[] = { SPOOL_IN_QUEUE, SPOOL_IN_HOLD };
	for (size_t i = 0; i < sizeof places / sizeof places[0] && !err; i++) {
		err = list_waiting(r, places[i]);
		if (err)
			reason_set(why, err, "spool/%s: can't be listed", places[i] == SPOOL_IN_HOLD ? "hold" : "queue");
	}
	if (err)
		spool_recovery_free(&r);
	else
		*out = r;
	return err;
}

void spool_recovery_free(struct spool_recovery **recovery)
{
	struct spool_recovery *r = *recovery;
	if (!r)
		return;
	dir_list_free(&r->segments);
	free(r->waiting[SPOOL_IN_QUEUE].ids);
	free(r->waiting[SPOOL_IN_HOLD].ids);
	free(r);
	*recovery = NULL;
}

static int step_segment(struct spool_recovery *r, struct reason *why)
{
	const char *name = r->segments.names[r->segment_at++];
	if (spool_segment_name_parse(span_of(name), NULL, NULL, NULL) != 0)
		return 0;
	int err = recover_segment(r->dirs, name, &r->events);
	return err ? reason_set(why, err, "spool/journal/%s: %s", name, err_name(err)) : 0;
}

static int step_waiting(struct spool_recovery *r, struct reason *why)
{
	const struct id_list *list = &r->waiting[r->place];
	int err = 0;
	for (unsigned n = 0; n < SPOOL_RECOVERY_STEP && r->at < list->count && !err; n++) {
		const char *name = list->ids[r->at++].text;
		err = recover_waiting(r->dirs, (enum spool_place)r->place, name, &r->events);
		if (err)
			reason_set(why, err, "spool/%s/%s: %s", r->place == SPOOL_IN_HOLD ? "hold" : "queue", name, err_name(err));
	}
	if (r->at == list->count) {
		r->place++;
		r->at = 0;
	}
	return err;
}

int spool_recovery_step(struct spool_recovery *recovery, struct reason *why)
{
	struct spool_recovery *r = recovery;
	if (r->segment_at < r->segments.count)
		return step_segment(r, why);
	if (r->place <= SPOOL_IN_HOLD)
		return step_waiting(r, why);
	/* The last step, whatever comes of it. */
	(void)spool_fault(SPOOL_FAULT_RECOVER_SWEEP);
	int err = r->is_swept ? 0 : spool_large_sweep(r->dirs, NULL);
	r->is_swept = true;
	return err ? reason_set(why, err, "spool: what crashes left behind can't be removed: %s", err_name(err)) : 1;
}

size_t spool_recovery_left(const struct spool_recovery *recovery)
{
	const struct spool_recovery *r = recovery;
	size_t left = r->segments.count - r->segment_at;
	for (unsigned place = r->place; place <= SPOOL_IN_HOLD; place++)
		left += r->waiting[place].count;
	return left - (r->place <= SPOOL_IN_HOLD ? r->at : 0);
}
