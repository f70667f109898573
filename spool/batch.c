#include "batch.h"

#include <errno.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"
#include "err.h"
#include "fault.h"

#define PIECES_MAX 768 /* under IOV_MAX, three a record */

uint64_t spool_batch_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* What a full or broken disk says, in our two words for it. */
static int disk_error(int errnum)
{
	return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG ? ERR_NOSPACE : ERR_IO;
}

static void seal_item(struct spool_batch_item *item, uint64_t offset)
{
	struct spool_record *record = &item->record;
	record->offset = offset;
	record->envelope_len = (uint32_t)item->envelope.len;
	record->envelope_crc = crc32c(0, item->envelope.ptr, item->envelope.len);
	if (!spool_record_is_large(record)) {
		record->body_len = item->body.len;
		record->body_crc = crc32c(0, item->body.ptr, item->body.len);
	}
	spool_record_encode(record, item->header);
}

/* From *offset on, which moves with it. */
static int write_pieces(int fd, uint64_t *offset, struct iovec *pieces, int count)
{
	while (count > 0) {
		ssize_t n = pwritev(fd, pieces, count, (off_t)*offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? disk_error(errno) : ERR_IO;
		size_t left = (size_t)n;
		*offset += left;
		while (count > 0 && left >= pieces->iov_len) {
			left -= pieces->iov_len;
			pieces++;
			count--;
		}
		if (count > 0) {
			pieces->iov_base = (char *)pieces->iov_base + left;
			pieces->iov_len -= left;
		}
	}
	return 0;
}

static int add_piece(struct iovec *pieces, int count, const void *bytes, size_t len)
{
	if (len == 0)
		return count;
	pieces[count].iov_base = (void *)(uintptr_t)bytes;
	pieces[count].iov_len = len;
	return count + 1;
}

/* A test wants to die or fail in the middle of a record. */
static int write_half_a_header(struct spool_batch *batch, uint64_t *written, struct iovec *pieces)
{
	size_t half = SPOOL_RECORD_HEADER_LEN / 2;
	int err = write_pieces(batch->fd, written, &(struct iovec){ pieces[0].iov_base, half }, 1);
	pieces[0].iov_base = (char *)pieces[0].iov_base + half;
	pieces[0].iov_len -= half;
	int errnum = spool_fault(SPOOL_FAULT_JOURNAL_WRITE);
	return errnum ? disk_error(errnum) : err;
}

static int write_items(struct spool_batch *batch)
{
	struct iovec pieces[PIECES_MAX];
	int count = 0, err = 0;
	uint64_t offset = batch->start, written = batch->start;
	for (struct spool_batch_item *item = batch->items; item && !err; item = item->next) {
		seal_item(item, offset);
		offset += spool_record_length(&item->record);
		count = add_piece(pieces, count, item->header, sizeof item->header);
		count = add_piece(pieces, count, item->envelope.ptr, item->envelope.len);
		count = add_piece(pieces, count, item->body.ptr, item->body.len);
		if (item->next && count + 3 <= PIECES_MAX)
			continue;
		if (spool_fault_armed == SPOOL_FAULT_JOURNAL_WRITE)
			err = write_half_a_header(batch, &written, pieces);
		if (!err)
			err = write_pieces(batch->fd, &written, pieces, count);
		count = 0;
	}
	batch->end = offset;
	return err;
}

static int sync_once(struct spool_batch *batch)
{
	uint64_t before_us = spool_batch_now_us();
	int errnum = spool_fault_sync(SPOOL_FAULT_JOURNAL_SYNC, batch->fd);
	batch->sync_us = spool_batch_now_us() - before_us;
	return errnum ? disk_error(errnum) : 0;
}

static bool take_back(struct spool_batch *batch)
{
	batch->end = batch->start;
	return spool_fault(SPOOL_FAULT_JOURNAL_TRUNCATE) == 0 && ftruncate(batch->fd, (off_t)batch->start) == 0;
}

void spool_batch_run(struct spool_batch *batch)
{
	int errnum = spool_fault(SPOOL_FAULT_JOURNAL_BEFORE_WRITE);
	batch->err = errnum ? disk_error(errnum) : write_items(batch);
	if (batch->err) {
		batch->is_segment_bad = !take_back(batch);
		return;
	}
	(void)spool_fault(SPOOL_FAULT_JOURNAL_AFTER_WRITE);
	batch->err = sync_once(batch);
	if (batch->err) {
		/* The kernel may have thrown the pages away and called them clean: a second sync would lie.  And nobody knows what of the batch
		 * reached the disk, even once it is cut off: this segment is done. */
		batch->is_segment_bad = true;
		(void)take_back(batch);
		return;
	}
	(void)spool_fault(SPOOL_FAULT_JOURNAL_AFTER_SYNC);
}
