#include "ack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "err.h"
#include "fault.h"
#include "spool_bytes.h"

/* Offsets in an entry (docs/spool-format.md). */
enum { AT_RECORD = 0, AT_RECIPIENT = 8, AT_OUTCOME = 12, AT_MARK = 14, AT_RESERVED = 16, AT_CRC = 20 };
#define ENTRY_MARK 0x4b41 /* "AK" */

static const char *const outcome_names[] = { "none", "delivered", "failed", "queued", "deleted", "bad", "void", "deferred" };
#define OUTCOME_COUNT (sizeof outcome_names / sizeof outcome_names[0])

const char *spool_outcome_name(enum spool_outcome outcome)
{
	return (unsigned)outcome < OUTCOME_COUNT ? outcome_names[outcome] : "unknown";
}

int spool_outcome_parse(struct span name, enum spool_outcome *out)
{
	for (size_t i = 0; i < OUTCOME_COUNT; i++) {
		if (span_eq(name, span_of(outcome_names[i]))) {
			*out = (enum spool_outcome)i;
			return 0;
		}
	}
	return ERR_SYNTAX;
}

static void ack_name(const char *segment, char name[SPOOL_SEGMENT_NAME_CAP + 8])
{
	(void)snprintf(name, SPOOL_SEGMENT_NAME_CAP + 8, "%s.ack", segment);
}

/* ---- write */

int spool_ack_open(const struct spool_dirs *dirs, const char *segment, struct spool_ack_log *out)
{
	char name[SPOOL_SEGMENT_NAME_CAP + 8];
	ack_name(segment, name);
	int errnum = spool_fault(SPOOL_FAULT_ACK_CREATE);
	if (errnum)
		return err_from_errno(errnum);
	int fd = openat(dirs->ack, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = spool_dir_sync(dirs->ack);
	if (err) {
		close(fd);
		return err;
	}
	*out = (struct spool_ack_log){ .fd = fd };
	return 0;
}

void spool_ack_close(struct spool_ack_log *log)
{
	if (log->fd >= 0)
		close(log->fd);
	buf_free(&log->pending);
	buf_free(&log->flight);
	*log = (struct spool_ack_log){ .fd = -1 };
}

int spool_ack_add(struct spool_ack_log *log, uint64_t record_offset, uint32_t recipient, enum spool_outcome outcome)
{
	unsigned char entry[SPOOL_ACK_LEN] = { 0 };
	spool_bytes_put(entry + AT_RECORD, record_offset, 8);
	spool_bytes_put(entry + AT_RECIPIENT, recipient, 4);
	spool_bytes_put(entry + AT_OUTCOME, (uint64_t)outcome, 2);
	spool_bytes_put(entry + AT_MARK, ENTRY_MARK, 2);
	spool_bytes_put(entry + AT_CRC, crc32c(0, entry, AT_CRC), 4);
	return buf_append(&log->pending, entry, sizeof entry);
}

bool spool_ack_begin(struct spool_ack_log *log)
{
	if (log->pending.len == 0 || log->flight.len > 0)
		return false;
	struct buf empty = log->flight;
	log->flight = log->pending;
	log->pending = empty;
	return true;
}

/* A crash or a full disk may have left part of an entry: zeros make it a damaged one, and the next stands in its place. */
static int align(int fd)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return ERR_IO;
	off_t over = st.st_size % (off_t)SPOOL_ACK_LEN;
	return over == 0 || ftruncate(fd, st.st_size - over + (off_t)SPOOL_ACK_LEN) == 0 ? 0 : ERR_IO;
}

/* A test wants to die or fail in the middle of an entry. */
static int write_torn(const struct spool_ack_log *log)
{
	int err = spool_bytes_write_all(log->fd, log->flight.data, SPOOL_ACK_LEN / 2);
	int errnum = spool_fault(SPOOL_FAULT_ACK_TORN);
	if (!err && errnum)
		return err_from_errno(errnum);
	return err ? err : spool_bytes_write_all(log->fd, log->flight.data + SPOOL_ACK_LEN / 2, log->flight.len - SPOOL_ACK_LEN / 2);
}

static int write_flight(const struct spool_ack_log *log)
{
	int errnum = spool_fault(SPOOL_FAULT_ACK_WRITE);
	if (errnum)
		return err_from_errno(errnum);
	if (spool_fault_armed == SPOOL_FAULT_ACK_TORN)
		return write_torn(log);
	return spool_bytes_write_all(log->fd, log->flight.data, log->flight.len);
}

int spool_ack_write(struct spool_ack_log *log)
{
	int err = align(log->fd);
	if (!err)
		err = write_flight(log);
	if (err)
		return err;
	int errnum = spool_fault_sync(SPOOL_FAULT_ACK_SYNC, log->fd);
	if (errnum)
		return err_from_errno(errnum) == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
	(void)spool_fault(SPOOL_FAULT_ACK_AFTER_SYNC);
	return 0;
}

void spool_ack_end(struct spool_ack_log *log, int err)
{
	if (!err) {
		buf_clear(&log->flight);
		return;
	}
	/* Back to be appended once more, in front of what came since.  Without memory for that they stay in flight as they are and what came
	 * since is forgotten, which can only deliver something again. */
	struct buf merged = log->flight;
	(void)buf_append_span(&merged, buf_span(&log->pending));
	buf_clear(&log->pending);
	log->flight = log->pending;
	log->pending = merged;
}

/* ---- read */

static int compare(const void *left, const void *right)
{
	const struct spool_ack_entry *a = left, *b = right;
	if (a->record_offset != b->record_offset)
		return a->record_offset < b->record_offset ? -1 : 1;
	return (a->recipient > b->recipient) - (a->recipient < b->recipient);
}

static bool decode_entry(const unsigned char *at, struct spool_ack_entry *out)
{
	if (spool_bytes_get(at + AT_MARK, 2) != ENTRY_MARK || spool_bytes_get(at + AT_CRC, 4) != crc32c(0, at, AT_CRC))
		return false;
	out->record_offset = spool_bytes_get(at + AT_RECORD, 8);
	out->recipient = (uint32_t)spool_bytes_get(at + AT_RECIPIENT, 4);
	out->outcome = (uint16_t)spool_bytes_get(at + AT_OUTCOME, 2);
	return true;
}

int spool_ack_decode(struct span bytes, struct spool_ack_set *out)
{
	struct spool_ack_set set = { .void_offset = UINT64_MAX };
	size_t room = bytes.len / SPOOL_ACK_LEN;
	set.damaged = bytes.len % SPOOL_ACK_LEN != 0;
	set.entries = room ? malloc(room * sizeof *set.entries) : NULL;
	if (room && !set.entries)
		return ERR_NOMEM;
	for (size_t i = 0; i < room; i++) {
		struct spool_ack_entry entry;
		if (!decode_entry((const unsigned char *)bytes.ptr + i * SPOOL_ACK_LEN, &entry))
			set.damaged++;
		else if (entry.outcome == SPOOL_OUTCOME_VOID)
			set.void_offset = entry.record_offset < set.void_offset ? entry.record_offset : set.void_offset;
		else
			set.entries[set.count++] = entry;
	}
	if (set.count > 1)
		qsort(set.entries, set.count, sizeof *set.entries, compare);
	*out = set;
	return 0;
}

int spool_ack_load(const struct spool_dirs *dirs, const char *segment, struct spool_ack_set *out)
{
	char name[SPOOL_SEGMENT_NAME_CAP + 8];
	ack_name(segment, name);
	int fd = openat(dirs->ack, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? spool_ack_decode(SPAN_NONE, out) : err_from_errno(errno);
	struct stat st;
	struct buf bytes = { .cap = SPOOL_ACK_FILE_CAP };
	int err = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? 0 : ERR_IO;
	if (!err)
		err = buf_reserve(&bytes, (size_t)st.st_size + 1);
	if (!err) {
		int64_t got = spool_bytes_read_at(fd, bytes.data, (size_t)st.st_size, 0);
		bytes.len = got < 0 ? 0 : (size_t)got;
		err = got < 0 ? ERR_IO : spool_ack_decode(buf_span(&bytes), out);
	}
	buf_free(&bytes);
	close(fd);
	return err;
}

void spool_ack_set_free(struct spool_ack_set *set)
{
	free(set->entries);
	*set = (struct spool_ack_set){ .void_offset = UINT64_MAX };
}

enum spool_outcome spool_ack_get(const struct spool_ack_set *set, uint64_t record_offset, uint32_t recipient)
{
	if (set->count == 0)
		return SPOOL_OUTCOME_NONE;
	const uint32_t wanted[] = { SPOOL_ACK_ALL, recipient };
	for (size_t i = 0; i < 2; i++) {
		struct spool_ack_entry key = { record_offset, wanted[i], 0 };
		const struct spool_ack_entry *hit = bsearch(&key, set->entries, set->count, sizeof key, compare);
		if (hit)
			return (enum spool_outcome)hit->outcome;
	}
	return SPOOL_OUTCOME_NONE;
}
