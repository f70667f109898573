#include "queue_summary.h"

#include "queue_walk.h"
#include "scheduler.h"

#define TO_CAP 240u /* of a value's 256: recipients beyond are counted only */

void queue_summary_put_path(struct kv *kv, const char *key, struct span path)
{
	kv_printf(kv, key, "<%.*s>", SPAN_FMT(path));
}

static uint64_t seconds_to_next(const struct forwarder *f, const struct fwd_message *m)
{
	int64_t now = loop_wall_time();
	if (m->state == FWD_READY)
		return destination_probe_s(f->scheduler, m->destination);
	return m->state == FWD_WAITING && m->next_time > now ? (uint64_t)(m->next_time - now) : 0;
}

/* Those that are still to do, "<a@x> <b@y>", as many as there is room for, one at least. */
static void put_recipients(struct kv *kv, const struct attempt *a)
{
	char text[KV_VALUE_CAP];
	struct buf list = { .cap = sizeof text };
	for (size_t i = 0; i < a->todo_count; i++) {
		struct span path = a->envelope.recipients[a->todo[i].index].path;
		if (i > 0 && list.len + path.len + 3 > TO_CAP)
			break;
		path.len = path.len < TO_CAP ? path.len : TO_CAP;
		if (buf_printf(&list, "%s<%.*s>", i ? " " : "", SPAN_FMT(path)) != 0)
			break;
	}
	kv_span(kv, "to", buf_span(&list));
	buf_free(&list);
}

void queue_summary_put(struct kv *kv, const struct forwarder *f, const struct fwd_message *m, const struct attempt *a)
{
	struct span error = a ? a->last_text : SPAN_NONE;
	if (error.len == 0 && m->destination)
		error = span_of(destination_error(m->destination));
	if (m->state == FWD_HELD && a && a->envelope.hold.len)
		error = a->envelope.hold;
	else if (m->state == FWD_WAITING && !m->destination)
		error = SPAN_LIT("it has no destination: posternfwd's log says why");
	int64_t age = loop_wall_time() - m->accepted_time;
	kv_text(kv, "id", m->id.text);
	if (a) {
		queue_summary_put_path(kv, "from", a->envelope.from);
		put_recipients(kv, a);
	}
	kv_u64(kv, "rcpts", m->recipients);
	kv_u64(kv, "size", m->size_bytes);
	kv_i64(kv, "age_s", age > 0 ? age : 0);
	kv_text(kv, "state", queue_walk_state(m));
	kv_u64(kv, "attempts", m->attempts);
	kv_u64(kv, "next_s", seconds_to_next(f, m));
	kv_text(kv, "destination", m->destination ? destination_key(m->destination) : "");
	if (a)
		kv_addr(kv, "client", &a->envelope.client.addr);
	kv_span(kv, "error", error);
}
