/* The reading half of queue_file.h: a file of queue/ or hold/ as one item, nothing in it believed. */
#include "queue_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "err.h"
#include "spool_bytes.h"

#define STATUS_BYTES_CAP (UINT64_C(64) << 20)

static int read_record(int fd, struct spool_queue_item *item)
{
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	int64_t got = spool_bytes_read_at(fd, header, sizeof header, 0);
	if (got < 0)
		return ERR_IO;
	if ((size_t)got < sizeof header || spool_record_decode(header, &item->record) != 0 || item->record.offset != 0)
		return ERR_CORRUPT;
	return spool_record_length(&item->record) <= item->file_bytes ? 0 : ERR_CORRUPT;
}

static int read_span(int fd, uint64_t offset, uint64_t len, struct arena *arena, struct span *out)
{
	char *bytes = arena_alloc(arena, (size_t)len + 1);
	if (!bytes)
		return ERR_NOMEM;
	int64_t got = spool_bytes_read_at(fd, bytes, (size_t)len, offset);
	if (got < 0)
		return ERR_IO;
	if ((uint64_t)got < len)
		return ERR_CORRUPT;
	*out = (struct span){ bytes, (size_t)len };
	return 0;
}

static int read_envelope(int fd, struct arena *arena, struct spool_queue_item *item)
{
	struct span lines;
	int err = read_span(fd, SPOOL_RECORD_HEADER_LEN, item->record.envelope_len, arena, &lines);
	if (err)
		return err;
	if (crc32c(0, lines.ptr, lines.len) != item->record.envelope_crc)
		return ERR_CORRUPT;
	err = spool_envelope_decode(lines, arena, &item->envelope);
	if (err)
		return err == ERR_NOMEM ? err : ERR_CORRUPT;
	item->recipients = arena_alloc(arena, item->envelope.recipient_count * sizeof *item->recipients);
	return item->recipients ? 0 : ERR_NOMEM;
}

static void apply_to_recipients(struct spool_queue_item *item, const struct spool_status *status)
{
	size_t count = item->envelope.recipient_count;
	size_t first = status->recipient == SPOOL_ACK_ALL ? 0 : status->recipient;
	size_t end = status->recipient == SPOOL_ACK_ALL ? count : first + 1;
	for (size_t i = first; i < end && i < count; i++)
		item->recipients[i] = (struct spool_recipient_state){ status->outcome, status->text, status->time };
}

static void apply(struct spool_queue_item *item, const struct spool_status *status)
{
	if (status->attempt > item->attempts)
		item->attempts = status->attempt;
	if (status->attempt)
		item->last_time = status->time;
	if (status->next_time)
		item->next_time = status->next_time;
	/* What was delivered or refused for good is no reason why the message waits. */
	if (status->text.len > 0 && (!status->has_recipient || status->outcome == SPOOL_OUTCOME_DEFERRED))
		item->last_text = status->text;
	if (status->note.len > 0) {
		item->last_note = status->note;
		item->is_warned = item->is_warned || span_eq(status->note, SPAN_LIT("warned"));
	}
	if (status->has_recipient)
		apply_to_recipients(item, status);
}

static int read_history(int fd, struct arena *arena, struct spool_queue_item *item)
{
	uint64_t from = spool_record_length(&item->record), len = item->file_bytes - from;
	if (len > STATUS_BYTES_CAP)
		return ERR_CORRUPT;
	struct span rest, line;
	int err = read_span(fd, from, len, arena, &rest);
	if (err)
		return err;
	while (rest.len > 0 && span_cut(&rest, '\n', &line)) {
		if (!rest.ptr)
			break; /* no LF behind it: torn */
		struct spool_status status;
		err = spool_status_decode(line, arena, &status);
		if (err == ERR_NOMEM)
			return err;
		if (err)
			item->damaged_lines++;
		else
			apply(item, &status);
	}
	return 0;
}

static void count_pending(struct spool_queue_item *item)
{
	for (size_t i = 0; i < item->envelope.recipient_count; i++) {
		enum spool_outcome outcome = item->recipients[i].outcome;
		item->pending += outcome == SPOOL_OUTCOME_NONE || outcome == SPOOL_OUTCOME_DEFERRED;
	}
}

static int check_body(const struct spool_dirs *dirs, int fd, const struct spool_record *record)
{
	struct spool_body_source body;
	int err = spool_body_open(dirs, fd, record, &body);
	if (err)
		return err == ERR_NOTFOUND ? ERR_CORRUPT : err;
	err = spool_body_check(&body, record);
	spool_body_close(&body);
	return err;
}

int spool_queue_load(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, unsigned flags, struct arena *arena,
                     struct spool_queue_item *out, int *fd_out)
{
	int dirfd = place == SPOOL_IN_HOLD ? dirs->hold : dirs->queue;
	int fd = openat(dirfd, id->text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	struct stat st;
	struct spool_queue_item item = { .id = *id };
	int err = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? 0 : ERR_IO;
	if (!err) {
		item.file_bytes = (uint64_t)st.st_size;
		err = read_record(fd, &item);
	}
	if (!err && !spool_id_eq(id, &item.record.id))
		err = ERR_CORRUPT;
	if (!err)
		err = read_envelope(fd, arena, &item);
	if (!err)
		err = read_history(fd, arena, &item);
	if (!err)
		count_pending(&item);
	/* One with nothing left to do comes back after a power cut without its body, which is as it should be. */
	if (!err && (flags & SPOOL_LOAD_CHECK_BODY) && item.pending > 0)
		err = check_body(dirs, fd, &item.record);
	if (err || !fd_out)
		close(fd);
	if (err)
		return err;
	*out = item;
	if (fd_out)
		*fd_out = fd;
	return 0;
}
