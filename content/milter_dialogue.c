#include "milter_dialogue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "milter_body.h"
#include "milter_script.h"

#define OUT_HIGH_BYTES 131072u /* no more is made ready before some of it is sent */
#define READ_BYTES 16384u

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
	enum milter_script_stage stage;
	bool is_waiting;  /* for the filter's answer */
	bool is_reading;  /* the body's next piece */
	bool has_skipped; /* it wants no more of the body */

	struct milter_options options;
	struct arena arena; /* of the macro lists */

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
	bool goes_on = outcome == MILTER_PASS || (outcome == MILTER_REFUSE && d->stage == SCRIPT_RCPT);
	d->answer.outcome = outcome;
	d->answer.stage = milter_script[d->stage].name;
	d->stage = goes_on ? SCRIPT_READY : SCRIPT_OVER;
	d->is_waiting = false;
	milter_body_destroy(&d->body);
	loop_timer_stop(d->timer);
	loop_task_post(d->loop, &d->tell);
}

static void broken(struct milter_dialogue *d, int err)
{
	if (d->stage == SCRIPT_OVER) {
		loop_io_destroy(&d->io);
		return;
	}
	d->answer.err = err;
	if (d->stage != SCRIPT_READY) {
		finish(d, MILTER_BROKEN);
		return;
	}
	/* Between two steps nobody waits for an answer: the next one finds out. */
	d->stage = SCRIPT_OVER;
	loop_io_destroy(&d->io);
}

static void refuse(struct milter_dialogue *d, const struct smtp_reply_text *reply)
{
	milter_refusal_set(&d->answer.refusal, reply);
	finish(d, MILTER_REFUSE);
}

/* ---- what comes next */

static void body_arrived(void *ctx, int err, struct span piece);

/* One thing more to say; false: the rest has to wait, or there is none. */
static bool say(struct milter_dialogue *d)
{
	const struct milter_field *field;
	int err = 0;
	bool is_said, is_unwanted = milter_script_is_unwanted(d->stage, &d->options, d->facts, &d->moment);
	switch (d->stage) {
	case SCRIPT_CLOSED:
	case SCRIPT_CONNECTING:
	case SCRIPT_READY:
	case SCRIPT_OVER: return false;
	case SCRIPT_HEADER:
		field = is_unwanted ? NULL : milter_headers_next(milter_message_headers(d->message), &d->field_at);
		is_said = field != NULL;
		if (field)
			err = milter_script_write_field(&d->out, field, milter_dialogue_has_space(d));
		break;
	case SCRIPT_BODY:
		if (!is_unwanted && !d->has_skipped && !d->has_piece) {
			d->is_reading = true;
			milter_body_next(d->body);
			return false;
		}
		/* The last piece is empty. */
		is_said = !is_unwanted && !d->has_skipped && d->piece.len > 0;
		if (is_said)
			err = milter_script_write_piece(&d->out, &d->piece);
		d->has_piece = d->piece.len > 0;
		break;
	default:
		is_said = !is_unwanted;
		if (is_said)
			err = milter_script_write(&d->out, d->stage, &d->options, d->facts, &d->moment);
		break;
	}
	if (err) {
		broken(d, err);
		return false;
	}
	d->is_waiting = is_said && !(d->options.steps & milter_script[d->stage].no_reply);
	if (d->is_waiting || (is_said && (d->stage == SCRIPT_HEADER || d->stage == SCRIPT_BODY)))
		return !d->is_waiting;
	if (d->stage == SCRIPT_MAIL || d->stage == SCRIPT_RCPT)
		finish(d, MILTER_PASS);
	else
		d->stage++;
	return true;
}

static bool is_speaking(const struct milter_dialogue *d)
{
	return d->stage >= SCRIPT_NEGOTIATE && d->stage != SCRIPT_READY && d->stage != SCRIPT_OVER;
}

static void flush(struct milter_dialogue *d)
{
	while (d->out.len && d->io) {
		ssize_t n = send(d->fd, d->out.data, d->out.len, MSG_NOSIGNAL);
		if (n > 0) {
			buf_consume(&d->out, (size_t)n);
			loop_timer_start(d->timer, d->stage == SCRIPT_END ? d->times.content_ms : d->times.command_ms);
		} else if (n < 0 && errno == EAGAIN) {
			break;
		} else if (n < 0 && errno != EINTR) {
			broken(d, err_from_errno(errno));
			return;
		}
	}
	if (d->out.len == 0)
		buf_free(&d->out);
	/* What is not answered is said in portions, so that others have their turn: the socket calls for the next. */
	bool has_more = d->out.len || (is_speaking(d) && !d->is_waiting && !d->is_reading);
	if (d->io && loop_io_want(d->io, LOOP_READ | (has_more ? LOOP_WRITE : 0)) != 0)
		broken(d, ERR_IO);
}

static void go_on(struct milter_dialogue *d)
{
	while (!d->is_waiting && !d->is_reading && d->out.len < OUT_HIGH_BYTES && say(d))
		continue;
	flush(d);
	if (d->stage == SCRIPT_READY || d->stage == SCRIPT_OVER)
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
	d->answer.has_negotiated = true;
	d->is_waiting = false;
	d->stage = SCRIPT_CONNECT;
	return 0;
}

/* CONTINUE, or SKIP in its place. */
static void passed(struct milter_dialogue *d)
{
	d->is_waiting = false;
	switch (d->stage) {
	case SCRIPT_MAIL:
	case SCRIPT_RCPT: finish(d, MILTER_PASS); break;
	case SCRIPT_END:
		d->answer.err = milter_edits_finish(d->edits);
		d->answer.limit = d->edits->limit;
		finish(d, d->answer.err ? MILTER_BROKEN : MILTER_PASS);
		break;
	case SCRIPT_HEADER:
	case SCRIPT_BODY: break;
	default: d->stage++; break;
	}
}

static void accepted(struct milter_dialogue *d)
{
	if (d->stage == SCRIPT_END)
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
	if (!needed || d->stage != SCRIPT_END || !(d->options.actions & needed))
		return ERR_PROTO;
	loop_timer_start(d->timer, d->times.content_ms);
	int err = milter_edits_take(d->edits, (enum milter_reply)packet->command, change);
	d->answer.limit = d->edits->limit;
	return err;
}

static int take_answer(struct milter_dialogue *d, const struct milter_packet *packet)
{
	static const struct smtp_reply_text rejected = { 550, "5.7.1", "Command rejected" };
	static const struct smtp_reply_text later = { 451, "4.7.1", "Service unavailable, try again later" };
	static const struct smtp_reply_text closing = { 421, "4.7.0", "Service closing, try again later" };
	struct milter_change change;
	if (packet->command == MILTER_PROGRESS) {
		loop_timer_start(d->timer, d->stage == SCRIPT_END ? d->times.content_ms : d->times.command_ms);
		return 0;
	}
	if (!d->is_waiting)
		return ERR_PROTO;
	if (d->stage == SCRIPT_NEGOTIATE)
		return negotiated(d, packet);
	int err = milter_change_read(packet, &change);
	if (err)
		return err;
	switch (packet->command) {
	case MILTER_CONTINUE: passed(d); return 0;
	case MILTER_SKIP:
		if (d->stage != SCRIPT_BODY)
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
	while (!err && d->stage != SCRIPT_OVER) {
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
		d->stage = SCRIPT_NEGOTIATE;
}

static void io_ready(void *ctx, unsigned events)
{
	struct milter_dialogue *d = ctx;
	if (d->stage == SCRIPT_CONNECTING) {
		if (events & (LOOP_WRITE | LOOP_HANGUP))
			connection_stands(d);
	} else if (events & LOOP_READ) {
		read_answers(d);
	}
	if (d->io && d->stage != SCRIPT_CONNECTING)
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
	d->stage = SCRIPT_CONNECTING;
	int err = loop_io_create(d->loop, fd, io_ready, d, &d->io);
	if (!err)
		err = loop_io_want(d->io, LOOP_WRITE);
	if (err)
		broken(d, err);
	else
		loop_timer_start(d->timer, d->times.connect_ms);
}

/* False: the filter has gone since the last step. */
static bool begin(struct milter_dialogue *d, enum milter_script_stage stage)
{
	bool is_there = d->stage == SCRIPT_READY;
	d->stage = stage;
	if (!is_there) {
		finish(d, MILTER_BROKEN);
		return false;
	}
	return true;
}

void milter_dialogue_rcpt(struct milter_dialogue *d, const struct milter_rcpt *rcpt, size_t accepted_count)
{
	d->moment = (struct milter_moment){ .rcpt = rcpt->path, .rcpt_args = rcpt->args, .rcpt_refusal = rcpt->refusal, .rcpts = accepted_count };
	if (begin(d, SCRIPT_RCPT))
		go_on(d);
}

void milter_dialogue_message(struct milter_dialogue *d, const struct milter_message *message, size_t rcpt_count, struct milter_edits *edits)
{
	uint64_t from;
	const struct content_image *body = milter_message_body(message, &from);
	d->message = message;
	d->edits = edits;
	d->moment = (struct milter_moment){ .rcpts = rcpt_count };
	if (!begin(d, SCRIPT_DATA))
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
	if (d->io && d->stage > SCRIPT_NEGOTIATE && d->out.len == 0)
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
