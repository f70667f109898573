/* What strangers say to the forwarder: packets of a worker that is taken over, and replies of servers that end in a report to a sender.
 * A notice is only ever taken for a segment of the one worker that was introduced; no reply adds a line to a report's header. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "dsn.h"
#include "notice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Packets one after another: type, length, bytes. */
static void try_notices(const uint8_t *data, size_t size)
{
	struct notice_peer peer = { .is_known = false };
	while (size >= 3) {
		struct spool_committed what;
		size_t len = data[1] < size - 3 ? data[1] : size - 3;
		uint32_t type = data[0] % 4 ? NOTICE_COMMITTED + data[0] % 2 : data[0];
		bool was_known = peer.is_known;
		uint32_t worker = peer.worker;
		enum step step = notice_check(&peer, type, (struct span){ (const char *)data + 3, len }, data[2] == 255, &what);
		assert(!was_known || (peer.is_known && peer.worker == worker));
		if (step == STEP_DONE) {
			unsigned of = 0;
			struct span name = span_of(what.segment.text);
			assert(was_known && spool_segment_name_parse(name, NULL, NULL, &of) == 0 && of == worker);
		}
		data += 3 + len;
		size -= 3 + len;
	}
}

static size_t lines_of_header(struct span text)
{
	size_t lines = 0;
	for (size_t at = 0; at + 1 < text.len; lines++) {
		size_t end = span_find(text, '\n', at);
		if (end == at + 1)
			return lines;
		at = end + 1;
	}
	return lines;
}

static struct span cut(struct span *text, size_t len)
{
	struct span head = span_sub(*text, 0, len < text->len ? len : text->len);
	*text = span_sub(*text, head.len, text->len);
	return head;
}

static void write_report(struct span from, struct span reply, struct span remote, struct span path, struct span orcpt, struct span body,
			 struct buf *out)
{
	struct spool_recipient to = { .path = path.len ? path : SPAN_LIT("b@example.org"), .orcpt = orcpt };
	struct spool_envelope original = { .from = from, .recipients = &to, .recipient_count = 1 };
	struct dsn_recipient recipient = { .recipient = &to, .status = SPAN_LIT("5.0.0"), .reply = reply, .code = 550 };
	struct dsn_report report = { .kind = DSN_FAILED, .hostname = SPAN_LIT("fw.example.net"), .remote = remote, .original = &original,
				     .now = 1700000000, .recipients = &recipient, .count = 1, .original_body = body };
	(void)spool_id_parse(SPAN_LIT("0123456789abcd"), &report.id);
	(void)spool_id_parse(SPAN_LIT("0123456789abce"), &report.original_id);
	if (dsn_write(&report, out) != 0)
		out->len = 0;
}

static void check_lines(struct span text)
{
	struct span line;
	while (span_cut(&text, '\n', &line))
		assert(line.len <= 999);
}

static void try_report(struct span text)
{
	static const struct span from = { "a@example.net", 13 };
	struct buf plain = { .cap = 0 }, hostile = { .cap = 0 };
	write_report(from, SPAN_LIT("no"), SPAN_LIT("mx"), SPAN_NONE, SPAN_NONE, SPAN_NONE, &plain);
	struct span reply = cut(&text, text.len / 2), remote = cut(&text, 60), path = cut(&text, 60), orcpt = cut(&text, 60);
	write_report(from, reply, remote, path, orcpt, SPAN_NONE, &hostile);
	check_lines(buf_span(&hostile));
	assert(hostile.len == 0 || lines_of_header(buf_span(&plain)) == lines_of_header(buf_span(&hostile)));
	/* Wire form: every line ends in CRLF, and the one final dot is the end. */
	for (size_t i = 0; i < hostile.len; i++)
		assert((hostile.data[i] != '\n' || (i > 0 && hostile.data[i - 1] == '\r')) && hostile.data[i] != '\0');
	for (size_t i = 0; i + 5 < hostile.len; i++)
		assert(memcmp(hostile.data + i, "\r\n.\r\n", 5) != 0 || i + 5 == hostile.len);
	buf_free(&hostile);
	/* As the sender, and as what is returned. */
	write_report(path, SPAN_LIT("no"), remote, path, orcpt, reply, &hostile);
	check_lines(buf_span(&hostile));
	buf_free(&hostile);
	buf_free(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_notices(data, size);
	try_report((struct span){ (const char *)data, size });
	return 0;
}
