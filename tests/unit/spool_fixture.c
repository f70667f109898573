#include "spool_fixture.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define WORKER 3

void spool_fixture_make(struct spool_fixture *fixture)
{
	struct reason why = { "" };
	strcpy(fixture->path, "/tmp/postern-spool-XXXXXX");
	assert_non_null(mkdtemp(fixture->path));
	assert_int_equal(spool_dir_prepare(fixture->path, geteuid(), getegid(), &why), 0);
	assert_int_equal(spool_dirs_open(fixture->path, &fixture->dirs, &why), 0);
}

void spool_fixture_remove(struct spool_fixture *fixture)
{
	char command[128];
	spool_dirs_close(&fixture->dirs);
	(void)snprintf(command, sizeof command, "rm -rf %s", fixture->path);
	assert_int_equal(system(command), 0);
}

const struct spool_envelope *sample_envelope(unsigned recipients)
{
	static struct spool_recipient list[16];
	static struct spool_envelope envelope;
	assert_true(recipients <= 16);
	for (unsigned i = 0; i < 16; i++)
		list[i] = (struct spool_recipient){ .path = SPAN_LIT("to@example.org") };
	envelope = (struct spool_envelope){ .from = SPAN_LIT("from@example.com"), .recipients = list, .recipient_count = recipients, .time = 1700000000 };
	return &envelope;
}

/* ---- writer */

static void need_segment(void *ctx)
{
	struct writer_host *host = ctx;
	uint64_t number = 0;
	struct spool_segment_name name;
	int fd = -1;
	if (host->has_no_segment) {
		spool_writer_no_segment(host->writer, ERR_NOSPACE);
		return;
	}
	assert_int_equal(spool_segment_next_number(host->dirs, &number), 0);
	int err = spool_segment_create(host->dirs, number, WORKER, geteuid(), getegid(), &name, &fd);
	if (!err && host->prepare_bytes)
		assert_int_equal(spool_segment_prepare(fd, host->prepare_bytes, 0), 0);
	if (!err && host->zero_bytes)
		(void)!ftruncate(fd, (off_t)host->zero_bytes); /* refused where a test has made the disk small */
	if (err)
		spool_writer_no_segment(host->writer, err);
	else
		assert_int_equal(spool_writer_segment(host->writer, fd, &name), 0);
}

static void need_large(void *ctx, const struct spool_id *id)
{
	struct writer_host *host = ctx;
	int fd = -1;
	if (host->has_no_large) {
		spool_writer_large(host->writer, id, ERR_NOSPACE, -1);
		return;
	}
	int err = spool_large_create(host->dirs, id, geteuid(), getegid(), &fd);
	spool_writer_large(host->writer, id, err, fd);
}

static void committed(void *ctx, const struct spool_committed *what)
{
	struct writer_host *host = ctx;
	host->last = *what;
	host->announced++;
	host->sealed += what->is_sealed;
	host->voided += what->is_void;
}

void writer_host_make(struct writer_host *host, struct spool_dirs *dirs, const struct spool_writer_options *options)
{
	static const struct spool_writer_options defaults;
	memset(host, 0, sizeof *host);
	host->dirs = dirs;
	spool_id_source_init(&host->ids, WORKER);
	assert_int_equal(loop_create(&host->loop), 0);
	struct spool_writer_events events = { need_segment, need_large, committed, host };
	assert_int_equal(spool_writer_create(host->loop, options ? options : &defaults, &events, &host->writer), 0);
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

void writer_host_remove(struct writer_host *host)
{
	spool_writer_destroy(&host->writer, stop, host->loop);
	loop_run(host->loop);
	loop_destroy(&host->loop);
}

static void sent(void *ctx, int err)
{
	struct writer_host *host = ctx;
	host->done++;
	host->failed += err != 0;
	host->last_err = err;
	if (host->done == host->expected)
		loop_stop(host->loop);
}

static void ignore(void *ctx)
{
	(void)ctx;
}

void writer_host_send(struct writer_host *host, struct span body)
{
	struct spool_id id = spool_id_next(&host->ids);
	struct spool_txn *txn = NULL;
	assert_int_equal(spool_txn_open(host->writer, &id, ignore, host, &txn), 0);
	(void)spool_txn_append(txn, body);
	spool_txn_commit(txn, sample_envelope(2), sent, host);
}

void writer_host_run(struct writer_host *host, unsigned expected)
{
	host->done = host->failed = 0;
	host->expected = expected;
	loop_run(host->loop);
	assert_int_equal(host->done, expected);
}

/* ---- recovery */

static int found_message(void *ctx, const struct spool_found *found)
{
	struct recovered *r = ctx;
	unsigned at = r->messages++;
	r->in_queue += found->is_in_queue;
	if (at >= 64 || !found->segment)
		return 0;
	struct spool_body_source body;
	assert_int_equal(spool_body_open(r->dirs, found->segment_fd, found->record, &body), 0);
	assert_int_equal(spool_body_check(&body, found->record), 0);
	size_t want = body.len < sizeof r->bodies[0] - 1 ? (size_t)body.len : sizeof r->bodies[0] - 1;
	assert_int_equal(pread(body.fd, r->bodies[at], want, (off_t)body.offset), (ssize_t)want);
	spool_body_close(&body);
	r->ids[at] = found->record->id;
	r->offsets[at] = found->offset;
	return 0;
}

static void found_broken(void *ctx, const struct spool_broken *broken)
{
	struct recovered *r = ctx;
	r->broken += !broken->is_torn && !broken->is_void;
	r->torn += broken->is_torn;
	r->voided += broken->is_void;
	if (broken->is_torn)
		r->torn_length = broken->length;
}

static int found_segment(void *ctx, const struct spool_segment_info *info)
{
	struct recovered *r = ctx;
	r->segments++;
	r->live += info->is_live;
	r->unsettled += info->unsettled;
	return 0;
}

int recover_with(const struct spool_dirs *dirs, const struct spool_recovery_events *events)
{
	struct spool_recovery *r;
	struct reason why;
	int done = spool_recovery_start(dirs, events, &r, &why);
	if (done)
		return done;
	while (done == 0)
		done = spool_recovery_step(r, &why);
	spool_recovery_free(&r);
	return done < 0 ? done : 0;
}

void recover(struct spool_dirs *dirs, struct recovered *out)
{
	memset(out, 0, sizeof *out);
	out->dirs = dirs;
	struct spool_recovery_events events = { found_message, found_broken, found_segment, out };
	assert_int_equal(recover_with(dirs, &events), 0);
}
