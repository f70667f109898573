#include "sweep.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "bad.h"
#include "dir_list.h"
#include "fault.h"
#include "reader.h"
#include "recovery.h"

/* Ids that some record or file names. */
struct id_set {
	struct spool_id *ids;
	size_t count, room;
	bool is_incomplete; /* a damaged segment may have named more */
};

static int id_set_add(void *ctx, const struct spool_id *id)
{
	struct id_set *set = ctx;
	if (set->count == set->room) {
		size_t room = set->room ? 2 * set->room : 256;
		struct spool_id *ids = realloc(set->ids, room * sizeof *ids);
		if (!ids)
			return ERR_NOMEM;
		set->ids = ids;
		set->room = room;
	}
	set->ids[set->count++] = *id;
	return 0;
}

static int compare(const void *left, const void *right)
{
	return memcmp(left, right, SPOOL_ID_LEN);
}

static int add_segment(struct id_set *set, const struct spool_dirs *dirs, const char *name)
{
	int fd = -1;
	uint64_t size = 0;
	bool is_sealed = false;
	int err = spool_segment_open(dirs, name, &fd, &size, &is_sealed);
	if (err)
		return err == ERR_NOTFOUND ? 0 : err;
	struct spool_reader reader;
	spool_reader_init(&reader, fd, 0, size, SPOOL_READ_OPEN_END);
	for (bool is_more = true; is_more && !err;) {
		struct spool_entry entry;
		switch (spool_reader_next(&reader, &entry)) {
		case SPOOL_READ_CORRUPT: set->is_incomplete = true; break;
		case SPOOL_READ_RECORD:
			if (spool_record_is_large(&entry.record))
				err = id_set_add(set, &entry.record.id);
			break;
		case SPOOL_READ_ERROR: err = entry.err; break;
		case SPOOL_READ_TORN:
		case SPOOL_READ_END: is_more = false; break;
		}
	}
	spool_reader_free(&reader);
	close(fd);
	return err;
}

static int add_all(struct id_set *set, const struct spool_dirs *dirs)
{
	struct dir_list list;
	int err = dir_list_read(dirs->journal, &list);
	if (err)
		return err;
	for (size_t i = 0; i < list.count && !err; i++) {
		if (spool_segment_name_parse(span_of(list.names[i]), NULL, NULL, NULL) == 0)
			err = add_segment(set, dirs, list.names[i]);
	}
	dir_list_free(&list);
	/* queue/ a second time: a message that was released meanwhile is seen in one of the three looks. */
	static const enum spool_place places[] = { SPOOL_IN_QUEUE, SPOOL_IN_HOLD, SPOOL_IN_QUEUE };
	for (size_t i = 0; i < sizeof places / sizeof places[0] && !err; i++)
		err = spool_queue_each(dirs, places[i], id_set_add, set);
	if (set->count > 1)
		qsort(set->ids, set->count, sizeof *set->ids, compare);
	return err;
}

/* While its writer lives, the body is locked. */
static bool is_unlocked(const struct spool_dirs *dirs, const char *name)
{
	int fd = openat(dirs->large, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool result = flock(fd, LOCK_SH | LOCK_NB) == 0;
	close(fd);
	return result;
}

int spool_large_sweep(const struct spool_dirs *dirs, uint64_t *removed_out)
{
	struct id_set named = { NULL, 0, 0, false }, loose = { NULL, 0, 0, false };
	uint64_t removed = 0;
	struct dir_list list;
	int err = dir_list_read(dirs->large, &list);
	if (err)
		return err;
	/* First who is loose, then who is named: a body is unlocked only after its record is durable, so that record is found. */
	for (size_t i = 0; i < list.count && !err; i++) {
		struct spool_id id;
		if (spool_id_parse(span_of(list.names[i]), &id) == 0 && is_unlocked(dirs, list.names[i]))
			err = id_set_add(&loose, &id);
	}
	dir_list_free(&list);
	if (!err && loose.count > 0)
		err = add_all(&named, dirs);
	for (size_t i = 0; i < loose.count && !err && !named.is_incomplete; i++) {
		if (named.count > 0 && bsearch(&loose.ids[i], named.ids, named.count, sizeof *named.ids, compare))
			continue;
		int kept = spool_bad_names(dirs, &loose.ids[i]);
		if (kept > 0)
			continue; /* of a damaged record, whose segment is gone */
		(void)spool_fault(SPOOL_FAULT_SWEEP_LARGE);
		err = kept < 0 ? kept : spool_large_remove(dirs, &loose.ids[i]);
		removed += err == 0;
	}
	free(loose.ids);
	free(named.ids);
	if (!err && removed_out)
		*removed_out = removed;
	return err;
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);
	return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

static int remove_temporary(int dirfd)
{
	struct dir_list list;
	int err = dir_list_read(dirfd, &list);
	if (err)
		return err;
	for (size_t i = 0; i < list.count; i++) {
		if (list.names[i][0] != '.' || !ends_with(list.names[i], ".tmp"))
			continue;
		(void)spool_fault(SPOOL_FAULT_SWEEP_TEMPORARY);
		(void)unlinkat(dirfd, list.names[i], 0);
	}
	dir_list_free(&list);
	return 0;
}

static int remove_orphan_acks(const struct spool_dirs *dirs)
{
	struct dir_list list;
	bool is_synced = false;
	int err = dir_list_read(dirs->ack, &list);
	if (err)
		return err;
	for (size_t i = 0; i < list.count; i++) {
		struct spool_segment_name segment;
		struct span name = span_of(list.names[i]);
		if (!ends_with(list.names[i], ".ack") || spool_segment_name_parse(span_sub(name, 0, name.len - 4), &segment, NULL, NULL) != 0)
			continue;
		if (faccessat(dirs->journal, segment.text, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		/* As in spool_segment_recycle: never before the segment is gone for good. */
		if (!is_synced && (err = spool_dir_sync(dirs->journal)) != 0)
			break;
		is_synced = true;
		(void)spool_fault(SPOOL_FAULT_SWEEP_ACK);
		(void)unlinkat(dirs->ack, list.names[i], 0);
	}
	dir_list_free(&list);
	return err;
}

int spool_sweep(const struct spool_dirs *dirs, struct reason *why)
{
	int err = remove_temporary(dirs->queue);
	if (!err)
		err = remove_temporary(dirs->hold);
	if (!err)
		err = remove_temporary(dirs->bad);
	if (!err)
		err = remove_orphan_acks(dirs);
	return err ? reason_set(why, err, "spool: what crashes left behind can't be removed: %s", err_name(err)) : 0;
}
