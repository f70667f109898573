/* Files of queue/ and hold/: a good record, then lines of history that the input writes, each with a good checksum or a bad one, cut anywhere.
 * The same lines go through the reader of one line. */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "queue_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENVELOPE "FROM <a@example.net>\nRCPT <b@example.org>\nRCPT <c@example.org> NOTIFY=NEVER\nRCPT <d@example.org>\nHELO x\n"
#define BODY "Subject: x\r\n\r\nhello\r\n.\r\n"
#define RECIPIENTS 3u

static char directory[64];
static struct spool_dirs dirs;

static void clean_up(void)
{
	(void)unlinkat(dirs.queue, "0123456789abcd", 0);
	(void)rmdir(directory);
}

static void set_up(void)
{
	dirs = SPOOL_DIRS_CLOSED;
	(void)snprintf(directory, sizeof directory, "%s/postern-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert(mkdtemp(directory));
	dirs.queue = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert(dirs.queue >= 0 && atexit(clean_up) == 0);
}

static void put_header(struct buf *file, uint8_t damage)
{
	struct spool_record record = { .envelope_len = sizeof ENVELOPE - 1, .body_len = sizeof BODY - 1 };
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	(void)spool_id_parse(SPAN_LIT("0123456789abcd"), &record.id);
	record.envelope_crc = crc32c(0, ENVELOPE, sizeof ENVELOPE - 1);
	record.body_crc = crc32c(0, BODY, sizeof BODY - 1);
	spool_record_encode(&record, header);
	if (damage > 250)
		header[damage % SPOOL_RECORD_HEADER_LEN] ^= 1;
	assert(buf_append(file, header, sizeof header) == 0 && buf_append(file, ENVELOPE, sizeof ENVELOPE - 1) == 0);
	assert(buf_append(file, BODY, sizeof BODY - 1) == 0);
}

static void check_line(struct span line)
{
	struct arena arena = { NULL, 0 };
	struct spool_status status, again;
	struct buf out = { .cap = 0 };
	if (spool_status_decode(line, &arena, &status) == 0) {
		assert(status.text.len <= SPOOL_STATUS_TEXT_CAP && spool_status_encode(&status, &out) == 0);
		assert(spool_status_decode(span_sub(buf_span(&out), 0, out.len - 1), &arena, &again) == 0);
		assert(again.attempt == status.attempt && again.outcome == (status.has_recipient ? status.outcome : SPOOL_OUTCOME_NONE));
		assert(again.time == status.time && span_eq(again.text, status.text));
	}
	buf_free(&out);
	arena_free(&arena);
}

/* Lines of the input; a first byte over 240 spoils the checksum. */
static void put_lines(struct buf *file, struct span text)
{
	struct span line;
	while (text.len > 0 && span_cut(&text, '\n', &line)) {
		bool is_spoiled = line.len > 0 && (unsigned char)line.ptr[0] > 240;
		size_t start = file->len;
		assert(buf_printf(file, "crc=%08x ", crc32c(0, line.ptr, line.len) ^ is_spoiled) == 0 && buf_append_span(file, line) == 0);
		check_line(span_sub(buf_span(file), start, file->len));
		assert(buf_append(file, "\n", 1) == 0);
	}
}

static void check_item(const struct spool_queue_item *item)
{
	uint32_t pending = 0;
	assert(item->envelope.recipient_count == RECIPIENTS);
	for (size_t i = 0; i < RECIPIENTS; i++)
		pending += item->recipients[i].outcome == SPOOL_OUTCOME_NONE || item->recipients[i].outcome == SPOOL_OUTCOME_DEFERRED;
	assert(item->pending == pending && span_eq(item->envelope.from, SPAN_LIT("a@example.net")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = { NULL, 0 };
	struct buf file = { .cap = 0 };
	struct spool_queue_item item;
	struct spool_id id;
	if (!directory[0])
		set_up();
	if (size < 2 || size > 60000)
		return 0;
	put_header(&file, data[0]);
	put_lines(&file, (struct span){ (const char *)data + 2, size - 2 });
	size_t cut = data[1] < 128 ? file.len : file.len * (size_t)(255 - data[1]) / 127;
	(void)spool_id_parse(SPAN_LIT("0123456789abcd"), &id);
	int fd = openat(dirs.queue, id.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert(fd >= 0 && write(fd, file.data, cut) == (ssize_t)cut);
	close(fd);
	int err = spool_queue_load(&dirs, SPOOL_IN_QUEUE, &id, SPOOL_LOAD_CHECK_BODY, &arena, &item, NULL);
	if (err == 0)
		check_item(&item);
	else
		assert(data[0] > 250 || cut < SPOOL_RECORD_HEADER_LEN + sizeof ENVELOPE + sizeof BODY - 2);
	buf_free(&file);
	arena_free(&arena);
	return 0;
}
