#include "attempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "journal.h"

/* The list of recipients that are still to do. */
static int list_todo(struct attempt *a, const enum spool_outcome *outcomes, const struct spool_recipient_state *states)
{
	size_t count = a->envelope.recipient_count;
	a->todo = arena_alloc(&a->arena, count * sizeof *a->todo);
	if (!a->todo)
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++) {
		enum spool_outcome was = outcomes ? outcomes[i] : states ? states[i].outcome : SPOOL_OUTCOME_NONE;
		if (was == SPOOL_OUTCOME_NONE || was == SPOOL_OUTCOME_DEFERRED)
			a->todo[a->todo_count++].index = (uint32_t)i;
	}
	return a->todo_count ? 0 : ERR_EOF;
}

static int load_journal(const struct spool_dirs *dirs, struct attempt *a)
{
	struct fwd_message *m = a->message;
	struct spool_reader reader;
	struct spool_entry entry;
	/* Just this record: how far the segment is committed may change while we read in a job. */
	spool_reader_init(&reader, m->segment->fd, m->offset, m->offset + m->length, 0);
	enum spool_read read = spool_reader_next(&reader, &entry);
	int err = read == SPOOL_READ_RECORD ? 0 : read == SPOOL_READ_ERROR ? entry.err : ERR_CORRUPT;
	if (!err && !spool_id_eq(&entry.record.id, &m->id))
		err = ERR_CORRUPT;
	if (!err) {
		a->record = entry.record;
		a->envelope_lines = arena_copy(&a->arena, entry.envelope);
		err = a->envelope_lines.ptr ? spool_envelope_decode(a->envelope_lines, &a->arena, &a->envelope) : ERR_NOMEM;
	}
	spool_reader_free(&reader);
	if (!err)
		err = spool_body_open(dirs, m->segment->fd, &a->record, &a->body);
	if (!err && m->outcomes && m->outcome_count != a->envelope.recipient_count)
		err = ERR_CORRUPT;
	return err ? err : list_todo(a, m->outcomes, NULL);
}

static int load_queue(const struct spool_dirs *dirs, struct attempt *a)
{
	struct fwd_message *m = a->message;
	struct spool_queue_item item;
	int err = spool_queue_load(dirs, fwd_message_place(m), &m->id, 0, &a->arena, &item, &a->file_fd);
	if (err)
		return err;
	a->record = item.record;
	a->envelope = item.envelope;
	a->states = item.recipients;
	a->last_text = item.last_text;
	err = spool_body_open(dirs, a->file_fd, &a->record, &a->body);
	return err ? err : list_todo(a, NULL, item.recipients);
}

int attempt_load(const struct spool_dirs *dirs, struct fwd_message *message, struct attempt **out)
{
	struct attempt *a = calloc(1, sizeof *a);
	if (!a)
		return ERR_NOMEM;
	a->message = message;
	a->file_fd = a->body.fd = -1;
	int err = message->segment ? load_journal(dirs, a) : load_queue(dirs, a);
	if (err && err != ERR_EOF)
		attempt_destroy(&a);
	else
		*out = a;
	return err;
}

void attempt_close(struct attempt *a)
{
	if (a->body.fd >= 0)
		spool_body_close(&a->body);
	if (a->file_fd >= 0)
		(void)close(a->file_fd);
	a->body.fd = a->file_fd = -1;
}

void attempt_destroy(struct attempt **attempt)
{
	struct attempt *a = *attempt;
	if (!a)
		return;
	attempt_close(a);
	arena_free(&a->arena);
	free(a);
	*attempt = NULL;
}

/* ---- outcomes */

/* A status of the class that the outcome wants, behind the code of a reply: "550 5.1.1 no such user". */
static bool status_in(struct span text, char class, char out[10])
{
	text = span_sub(text, 4, text.len);
	size_t len = 0, dots = 0;
	while (len < text.len && len < 9 && ((text.ptr[len] >= '0' && text.ptr[len] <= '9') || text.ptr[len] == '.')) {
		dots += text.ptr[len] == '.';
		len++;
	}
	if (len < 5 || dots != 2 || text.ptr[0] != class || text.ptr[1] != '.' || text.ptr[len - 1] == '.')
		return false;
	memcpy(out, text.ptr, len);
	out[len] = '\0';
	return true;
}

static struct span one_line(struct arena *arena, struct span text)
{
	if (text.len > SPOOL_STATUS_TEXT_CAP)
		text.len = SPOOL_STATUS_TEXT_CAP;
	char *copy = arena_alloc(arena, text.len + 1);
	if (!copy)
		return SPAN_NONE;
	for (size_t i = 0; i < text.len; i++)
		copy[i] = (unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f ? ' ' : text.ptr[i];
	return (struct span){ copy, text.len };
}

void attempt_settle(struct attempt *a, size_t todo_index, enum spool_outcome outcome, unsigned code, struct span text)
{
	struct attempt_recipient *r = &a->todo[todo_index];
	char class = outcome == SPOOL_OUTCOME_DELIVERED ? '2' : outcome == SPOOL_OUTCOME_FAILED ? '5' : '4';
	r->outcome = outcome;
	r->code = (uint16_t)code;
	r->text = one_line(&a->arena, text);
	if (code == 0 || !status_in(r->text, class, r->status))
		(void)snprintf(r->status, sizeof r->status, "%c.0.0", class);
}

void attempt_settle_rest(struct attempt *a, enum spool_outcome outcome, unsigned code, struct span text)
{
	for (size_t i = 0; i < a->todo_count; i++) {
		if (a->todo[i].outcome == SPOOL_OUTCOME_NONE)
			attempt_settle(a, i, outcome, code, text);
	}
}

size_t attempt_count(const struct attempt *a, enum spool_outcome outcome)
{
	size_t count = 0;
	for (size_t i = 0; i < a->todo_count; i++)
		count += a->todo[i].outcome == outcome;
	return count;
}
