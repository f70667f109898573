#include "milter_dialogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "milter_body.h"

#define OUT_HIGH_BYTES 131072u /* no more is made ready before some of it is sent */
#define FIELD_SHOWN_CAP (MILTER_CHUNK_BYTES - MILTER_FIELD_NAME_CAP - 2)
#define READ_BYTES 16384u
#define ARGS_MAX 32u

enum stage {
	STAGE_CLOSED, /* no connection yet */
	STAGE_CONNECTING,
	STAGE_NEGOTIATE,
	STAGE_CONNECT,
	STAGE_HELO,
	STAGE_MAIL,
	STAGE_READY, /* nothing to do */
	STAGE_RCPT,
	STAGE_DATA,
	STAGE_HEADER,
	STAGE_EOH,
	STAGE_BODY,
	STAGE_END,
	STAGE_OVER, /* nothing more will be said */
};

/* What each stage says, and what a filter may spare itself. */
static const struct {
	const char *name;
	enum milter_command command;
	bool has_macros;
	enum milter_stage macros;
	uint32_t no, no_reply;
} stages[] = {
	[STAGE_CLOSED] = { .name = "connection" },
	[STAGE_CONNECTING] = { .name = "connection" },
	[STAGE_NEGOTIATE] = { "negotiation", MILTER_NEGOTIATE, false, 0, 0, 0 },
	[STAGE_CONNECT] = { "connect", MILTER_CONNECT, true, MILTER_AT_CONNECT, MILTER_NO_CONNECT, MILTER_NR_CONNECT },
	[STAGE_HELO] = { "helo", MILTER_HELO, true, MILTER_AT_HELO, MILTER_NO_HELO, MILTER_NR_HELO },
	[STAGE_MAIL] = { "mail", MILTER_MAIL, true, MILTER_AT_MAIL, MILTER_NO_MAIL, MILTER_NR_MAIL },
	[STAGE_READY] = { .name = "between" },
	[STAGE_RCPT] = { "rcpt", MILTER_RCPT, true, MILTER_AT_RCPT, MILTER_NO_RCPT, MILTER_NR_RCPT },
	[STAGE_DATA] = { "data", MILTER_DATA, true, MILTER_AT_DATA, MILTER_NO_DATA, MILTER_NR_DATA },
	[STAGE_HEADER] = { "header", MILTER_HEADER, false, 0, MILTER_NO_HEADERS, MILTER_NR_HEADER },
	[STAGE_EOH] = { "eoh", MILTER_HEADERS_END, true, MILTER_AT_EOH, MILTER_NO_EOH, MILTER_NR_EOH },
	[STAGE_BODY] = { "body", MILTER_BODY, false, 0, MILTER_NO_BODY, MILTER_NR_BODY },
	[STAGE_END] = { "end", MILTER_BODY_END, true, MILTER_AT_END, 0, 0 },
	[STAGE_OVER] = { .name = "over" },
};

struct milter_dialogue {
	struct loop *loop;
	const struct milter_facts *facts;
	struct milter_times times;
	milter_answer_fn answered;
	void *ctx;

	int fd;
	struct loop_io *io;
	struct loop_timer *timer;
	struct buf in, out;
	enum stage stage;
	bool is_waiting;  /* for the filter's answer */
	bool is_reading;  /* the body's next piece */
	bool has_skipped; /* it wants no more of the body */

	struct milter_options options;
	struct arena arena; /* of the macro lists */

	struct milter_rcpt rcpt;
	struct milter_moment moment;
	const struct milter_message *message;
	struct milter_edits *edits;
	size_t field_at;
	struct milter_body *body;
	struct span piece; /* of the body, not yet said */
	bool has_piece;

	struct milter_answer answer;
	struct loop_task tell;
};

/* ---- answers */

static void tell(void *ctx)
{
	struct milter_dialogue *d = ctx;
	d->answered(d->ctx, &d->answer);
}

static void finish(struct milter_dialogue *d, enum milter_outcome outcome)
{
	bool goes_on = outcome == MILTER_PASS || (outcome == MILTER_REFUSE && d->stage == STAGE_RCPT);
	d->answer.outcome = outcome;
	d->answer.stage = stages[d->stage].name;
	d->stage = goes_on ? STAGE_READY : STAGE_OVER;
	d->is_waiting = false;
	milter_body_destroy(&d->body);
	loop_timer_stop(d->timer);
	loop_task_post(d->loop, &d->tell);
}

static void broken(struct milter_dialogue *d, int err)
{
	if (d->stage == STAGE_OVER) {
		loop_io_destroy(&d->io);
		return;
	}
	d->answer.err = err;
	if (d->stage != STAGE_READY) {
		finish(d, MILTER_BROKEN);
		return;
	}
	/* Between two steps nobody waits for an answer: the next one finds out. */
	d->stage = STAGE_OVER;
	loop_io_destroy(&d->io);
}

static void refuse(struct milter_dialogue *d, const struct smtp_reply_text *reply)
{
	milter_refusal_set(&d->answer.refusal, reply);
	finish(d, MILTER_REFUSE);
}

/* ---- what is said */

static int write_connect(struct milter_dialogue *d)
{
	const struct endpoint *client = &d->facts->client;
	char address[ADDR_TEXT_CAP], text[ADDR_TEXT_CAP + 2];
	struct span name = d->facts->client_name;
	(void)addr_format(&client->addr, address);
	if (!name.len) {
		/* As sendmail names who has no name. */
		(void)snprintf(text, sizeof text, "[%s]", address);
		name = span_of(text);
	}
	return milter_connect_write(&d->out, name, client->addr.family == ADDR_V6 ? '6' : '4', client->port, span_of(address));
}

/* "<path>" and its arguments, each a text. */
static int write_path(struct milter_dialogue *d, struct span path, struct span args)
{
	struct span texts[ARGS_MAX], arg;
	struct buf bracketed = { .cap = 2048 };
	size_t count = 1;
	int err = buf_printf(&bracketed, "<%.*s>", SPAN_FMT(path));
	texts[0] = buf_span(&bracketed);
	while (args.len && count < ARGS_MAX && span_cut(&args, ' ', &arg))
		texts[count++] = arg;
	if (!err)
		err = milter_command_write(&d->out, stages[d->stage].command, texts, count);
	buf_free(&bracketed);
	return err;
}

static int write_field(struct milter_dialogue *d, const struct milter_field *field)
{
	struct buf value = { .cap = MILTER_CHUNK_BYTES };
	int err = milter_field_show(field, milter_dialogue_has_space(d), FIELD_SHOWN_CAP, &value);
	const struct span texts[] = { span_sub(field->name, 0, MILTER_FIELD_NAME_CAP), buf_span(&value) };
	if (!err)
		err = milter_command_write(&d->out, MILTER_HEADER, texts, 2);
	buf_free(&value);
	return err;
}

static int write_piece(struct milter_dialogue *d)
{
	struct span now = span_sub(d->piece, 0, MILTER_CHUNK_BYTES);
	int err = milter_body_head_write(&d->out, now.len);
	if (!err)
		err = buf_append_span(&d->out, now);
	d->piece = span_sub(d->piece, now.len, d->piece.len);
	return err;
}

static int write_command(struct milter_dialogue *d)
{
	const enum milter_command command = stages[d->stage].command;
	int err = 0;
	if (stages[d->stage].has_macros)
		err = milter_macros_write(&d->out, stages[d->stage].macros, command, d->options.macros[stages[d->stage].macros], d->facts,
					  &d->moment);
	if (err)
		return err;
	switch (d->stage) {
	case STAGE_NEGOTIATE: return milter_options_write(&d->out, MILTER_ACTIONS, MILTER_STEPS);
	case STAGE_CONNECT: return write_connect(d);
	case STAGE_HELO: return milter_command_write(&d->out, command, &d->facts->helo, 1);
	case STAGE_MAIL: return write_path(d, d->facts->from, d->facts->from_args);
	case STAGE_RCPT: return write_path(d, d->rcpt.path, d->rcpt.args);
	case STAGE_BODY: return write_piece(d);
	default: return milter_command_write(&d->out, command, NULL, 0);
	}
}

/* ---- what comes next */

static void body_arrived(void *ctx, int err, struct span piece);

static bool is_unwanted(const struct milter_dialogue *d)
{
	bool has_nothing = (d->stage == STAGE_HELO && !d->facts->helo.len) || (d->stage == STAGE_DATA && d->options.version < 4) ||
			   (d->stage == STAGE_RCPT && d->rcpt.refusal.len && !(d->options.steps & MILTER_RCPT_REJECTED));
	return has_nothing || (d->options.steps & stages[d->stage].no);
}

/* One thing more to say; false: the rest has to wait, or there is none. */
static bool say(struct milter_dialogue *d)
{
	const struct milter_field *field;
	int err = 0;
	bool is_said = true;
	switch (d->stage) {
	case STAGE_CLOSED:
	case STAGE_CONNECTING:
	case STAGE_READY:
	case STAGE_OVER: return false;
	case STAGE_HEADER:
		field = is_unwanted(d) ? NULL : milter_headers_next(milter_message_headers(d->message), &d->field_at);
		is_said = field != NULL;
		if (field)
			err = write_field(d, field);
		break;
	case STAGE_BODY:
		if (!is_unwanted(d) && !d->has_skipped && !d->has_piece) {
			d->is_reading = true;
			milter_body_next(d->body);
			return false;
		}
		/* The last piece is empty. */
		is_said = !is_unwanted(d) && !d->has_skipped && d->piece.len > 0;
		if (is_said)
			err = write_command(d);
		d->has_piece = d->piece.len > 0;
		break;
	default:
		is_said = !is_unwanted(d);
		if (is_said)
			err = write_command(d);
		break;
	}
	if (err) {
		broken(d, err);
		return false;
	}
	d->is_waiting = is_said && !(d->options.steps & stages[d->stage].no_reply);
	if (d->is_waiting || (is_said && (d->stage == STAGE_HEADER || d->stage == STAGE_BODY)))
		return !d->is_waiting;
	if (d->stage == STAGE_MAIL || d->stage == STAGE_RCPT)
		finish(d, MILTER_PASS);
	else
		d->stage++;
	return true;
}

static void flush(struct milter_dialogue *d)
{
	while (d->out.len && d->io) {
		ssize_t n = send(d->fd, d->out.data, d->out.len, MSG_NOSIGNAL);
		if (n > 0) {
			buf_consume(&d->out, (size_t)n);
			loop_timer_start(d->timer, d->stage == STAGE_END ? d->times.content_ms : d->times.command_ms);
		} else if (n < 0 && errno == EAGAIN) {
			break;
		} else if (n < 0 && errno != EINTR) {
			broken(d, err_from_errno(errno));
			return;
		}
	}
	if (d->out.len == 0)
		buf_free(&d->out);
	if (d->io && loop_io_want(d->io, LOOP_READ | (d->out.len ? LOOP_WRITE : 0)) != 0)
		broken(d, ERR_IO);
}

static void go_on(struct milter_dialogue *d)
{
	while (!d->is_waiting && !d->is_reading && d->out.len < OUT_HIGH_BYTES && say(d))
		continue;
	flush(d);
	if (d->stage == STAGE_READY || d->stage == STAGE_OVER)
		loop_timer_stop(d->timer);
}

static void body_arrived(void *ctx, int err, struct span piece)
{
	struct milter_dialogue *d = ctx;
	d->is_reading = false;
	d->has_piece = true;
	d->piece = piece;
	if (err)
		broken(d, err);
	else
		go_on(d);
}

/* ---- what it answers */

static int negotiated(struct milter_dialogue *d, const struct milter_packet *packet)
{
	struct milter_options options;
	if (packet->command != MILTER_NEGOTIATE || milter_options_read(packet->data, &options) != 0)
		return ERR_PROTO;
	/* What we did not offer can't be kept: it would wait for, or leave out, what we do not know of. */
	if (options.version > MILTER_VERSION || (options.steps & ~(uint32_t)MILTER_STEPS) || (options.actions & ~(uint32_t)MILTER_ACTIONS))
		return ERR_UNSUPPORTED;
	for (size_t i = 0; i < MILTER_STAGES; i++) {
		if (!options.macros[i].ptr)
			continue;
		options.macros[i] = arena_copy(&d->arena, options.macros[i]);
		if (!options.macros[i].ptr)
			return ERR_NOMEM;
	}
	d->options = options;
	d->is_waiting = false;
	d->stage = STAGE_CONNECT;
	return 0;
}

/* CONTINUE, or SKIP in its place. */
static void passed(struct milter_dialogue *d)
{
	d->is_waiting = false;
	switch (d->stage) {
	case STAGE_MAIL:
	case STAGE_RCPT: finish(d, MILTER_PASS); break;
	case STAGE_END:
		d->answer.err = milter_edits_finish(d->edits);
		finish(d, d->answer.err ? MILTER_BROKEN : MILTER_PASS);
		break;
	case STAGE_HEADER:
	case STAGE_BODY: break;
	default: d->stage++; break;
	}
}

static void accepted(struct milter_dialogue *d)
{
	if (d->stage == STAGE_END)
		passed(d);
	else
		finish(d, MILTER_ACCEPTED);
}

static uint32_t permission(char command)
{
	switch (command) {
	case MILTER_ADD_HEADER:
	case MILTER_INSERT_HEADER: return MILTER_MAY_ADD_HEADERS;
	case MILTER_CHANGE_HEADER: return MILTER_MAY_CHANGE_HEADERS;
	case MILTER_REPLACE_BODY: return MILTER_MAY_CHANGE_BODY;
	case MILTER_ADD_RCPT: return MILTER_MAY_ADD_RCPT;
	case MILTER_ADD_RCPT_PAR: return MILTER_MAY_ADD_RCPT_PAR;
	case MILTER_DEL_RCPT: return MILTER_MAY_DEL_RCPT;
	case MILTER_CHANGE_FROM: return MILTER_MAY_CHANGE_FROM;
	case MILTER_QUARANTINE: return MILTER_MAY_QUARANTINE;
	default: return 0;
	}
}

static int take_edit(struct milter_dialogue *d, const struct milter_packet *packet, const struct milter_change *change)
{
	uint32_t needed = permission(packet->command);
	if (!needed || d->stage != STAGE_END || !(d->options.actions & needed))
		return ERR_PROTO;
	loop_timer_start(d->timer, d->times.content_ms);
	return milter_edits_take(d->edits, (enum milter_reply)packet->command, change);
}

static int take_answer(struct milter_dialogue *d, const struct milter_packet *packet)
{
	static const struct smtp_reply_text rejected = { 550, "5.7.1", "Command rejected" };
	static const struct smtp_reply_text later = { 451, "4.7.1", "Service unavailable, try again later" };
	static const struct smtp_reply_text closing = { 421, "4.7.0", "Service closing, try again later" };
	struct milter_change change;
	if (packet->command == MILTER_PROGRESS) {
		loop_timer_start(d->timer, d->stage == STAGE_END ? d->times.content_ms : d->times.command_ms);
		return 0;
	}
	if (!d->is_waiting)
		return ERR_PROTO;
	if (d->stage == STAGE_NEGOTIATE)
		return negotiated(d, packet);
	int err = milter_change_read(packet, &change);
	if (err)
		return err;
	switch (packet->command) {
	case MILTER_CONTINUE: passed(d); return 0;
	case MILTER_SKIP:
		if (d->stage != STAGE_BODY)
			return ERR_PROTO;
		d->has_skipped = true;
		passed(d);
		return 0;
	case MILTER_ACCEPT: accepted(d); return 0;
	case MILTER_REJECT: refuse(d, &rejected); return 0;
	case MILTER_TEMPFAIL: refuse(d, &later); return 0;
	case MILTER_SHUTDOWN:
	case MILTER_CONN_FAIL: refuse(d, &closing); return 0;
	case MILTER_DISCARD: finish(d, MILTER_DROP); return 0;
	case MILTER_REPLY_CODE:
		err = milter_refusal_read(change.first, &d->answer.refusal);
		if (!err)
			finish(d, MILTER_REFUSE);
		return err;
	default: return take_edit(d, packet, &change);
	}
}

static int take_packets(struct milter_dialogue *d)
{
	struct milter_packet packet;
	size_t used, done = 0;
	int err = 0;
	while (!err && d->stage != STAGE_OVER) {
		err = milter_packet_read(span_sub(buf_span(&d->in), done, d->in.len), &packet, &used);
		if (err)
			break;
		done += used;
		err = take_answer(d, &packet);
	}
	buf_consume(&d->in, done);
	if (d->in.len == 0)
		buf_free(&d->in);
	return err == ERR_AGAIN ? 0 : err;
}

static void read_answers(struct milter_dialogue *d)
{
	int err = buf_reserve(&d->in, READ_BYTES);
	ssize_t n = err ? 0 : recv(d->fd, d->in.data + d->in.len, READ_BYTES, 0);
	if (n > 0) {
		d->in.len += (size_t)n;
		err = take_packets(d);
	} else if (n == 0 && !err) {
		err = ERR_EOF;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		err = err_from_errno(errno);
	}
	if (err)
		broken(d, err);
}

/* ---- events */

static void connection_stands(struct milter_dialogue *d)
{
	int failed = 0;
	socklen_t len = sizeof failed;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
		failed = errno;
	if (failed)
		broken(d, err_from_errno(failed));
	else
		d->stage = STAGE_NEGOTIATE;
}

static void io_ready(void *ctx, unsigned events)
{
	struct milter_dialogue *d = ctx;
	if (d->stage == STAGE_CONNECTING) {
		if (events & (LOOP_WRITE | LOOP_HANGUP))
			connection_stands(d);
	} else if (events & LOOP_READ) {
		read_answers(d);
	}
	if (d->io && d->stage != STAGE_CONNECTING)
		go_on(d);
}

static void time_is_up(void *ctx)
{
	broken(ctx, ERR_TIMEOUT);
}

/* ---- steps */

int milter_dialogue_create(struct loop *loop, const struct milter_facts *facts, const struct milter_times *times, milter_answer_fn answered, void *ctx,
			   struct milter_dialogue **out)
{
	struct milter_dialogue *d = calloc(1, sizeof *d);
	if (!d)
		return ERR_NOMEM;
	*d = (struct milter_dialogue){
		.loop = loop, .facts = facts, .times = *times, .answered = answered, .ctx = ctx, .fd = -1,
		.in = { .cap = MILTER_PACKET_CAP + READ_BYTES + MILTER_HEAD_BYTES }, .out = { .cap = OUT_HIGH_BYTES + 4 * MILTER_CHUNK_BYTES },
	};
	d->tell = (struct loop_task){ .fn = tell, .ctx = d };
	int err = loop_timer_create(loop, time_is_up, d, &d->timer);
	if (err)
		free(d);
	else
		*out = d;
	return err;
}

void milter_dialogue_open(struct milter_dialogue *d, int fd)
{
	d->fd = fd;
	d->stage = STAGE_CONNECTING;
	int err = loop_io_create(d->loop, fd, io_ready, d, &d->io);
	if (!err)
		err = loop_io_want(d->io, LOOP_WRITE);
	if (err)
		broken(d, err);
	else
		loop_timer_start(d->timer, d->times.connect_ms);
}

/* False: the filter has gone since the last step. */
static bool begin(struct milter_dialogue *d, enum stage stage)
{
	bool is_there = d->stage == STAGE_READY;
	d->stage = stage;
	if (!is_there) {
		finish(d, MILTER_BROKEN);
		return false;
	}
	return true;
}

void milter_dialogue_rcpt(struct milter_dialogue *d, const struct milter_rcpt *rcpt, size_t accepted_count)
{
	d->rcpt = *rcpt;
	d->moment = (struct milter_moment){ .rcpt = rcpt->path, .rcpt_refusal = rcpt->refusal, .rcpts = accepted_count };
	if (begin(d, STAGE_RCPT))
		go_on(d);
}

void milter_dialogue_message(struct milter_dialogue *d, const struct milter_message *message, size_t rcpt_count, struct milter_edits *edits)
{
	uint64_t from;
	const struct content_image *body = milter_message_body(message, &from);
	d->message = message;
	d->edits = edits;
	d->moment = (struct milter_moment){ .rcpts = rcpt_count };
	if (!begin(d, STAGE_DATA))
		return;
	int err = milter_body_create(d->loop, body, from, body_arrived, d, &d->body);
	if (err)
		broken(d, err);
	else
		go_on(d);
}

bool milter_dialogue_has_space(const struct milter_dialogue *d)
{
	return d->options.steps & MILTER_LEADING_SPACE;
}

void milter_dialogue_destroy(struct milter_dialogue **dialogue)
{
	/* ABORT and QUIT, ready made. */
	static const char goodbye[] = { 0, 0, 0, 1, MILTER_ABORT, 0, 0, 0, 1, MILTER_QUIT };
	struct milter_dialogue *d = *dialogue;
	if (!d)
		return;
	*dialogue = NULL;
	/* Not in the middle of a packet. */
	if (d->io && d->stage > STAGE_NEGOTIATE && d->out.len == 0)
		(void)!send(d->fd, goodbye, sizeof goodbye, MSG_NOSIGNAL);
	loop_task_cancel(&d->tell);
	milter_body_destroy(&d->body);
	loop_io_destroy(&d->io);
	loop_timer_destroy(&d->timer);
	if (d->fd >= 0)
		(void)close(d->fd);
	buf_free(&d->in);
	buf_free(&d->out);
	arena_free(&d->arena);
	free(d);
}
