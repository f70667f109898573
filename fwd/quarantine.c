#include "quarantine.h"

#include <stdlib.h>

#include "log.h"
#include "scheduler.h"
#include "settle.h"

struct holding {
	struct forwarder *f;
	struct fwd_message *message;
};

bool quarantine_wants(const struct fwd_message *message, const struct spool_envelope *envelope)
{
	return message->segment && envelope->hold.len > 0;
}

/* When its time comes connection.c asks quarantine_wants again. */
static void try_later(struct forwarder *f, struct fwd_message *m)
{
	scheduler_take(f->scheduler, m);
	m->next_time = loop_wall_time() + (int64_t)f->in.conf.retry_min_s;
	scheduler_wait(f->scheduler, m);
}

static void held(void *ctx, int err)
{
	struct holding h = *(struct holding *)ctx;
	free(ctx);
	if (err)
		try_later(h.f, h.message);
}

void quarantine_hold(struct forwarder *f, struct fwd_message *m, const struct spool_envelope *envelope)
{
	struct holding *h = malloc(sizeof *h);
	struct kv kv;
	if (h)
		*h = (struct holding){ f, m };
	if (!h || settle_wish(f->settle, m, SETTLE_QUARANTINE, held, h) != 0) {
		free(h);
		try_later(f, m);
		return;
	}
	kv_init(&kv);
	kv_text(&kv, "ev", "quarantined");
	kv_text(&kv, "id", m->id.text);
	kv_span(&kv, "from", envelope->from);
	kv_span(&kv, "hold", envelope->hold);
	log_kv(LOG_LEVEL_INFO, &kv);
}
