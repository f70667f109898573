#include "content_milter.h"

#include <stdio.h>
#include <stdlib.h>

#include "milter_talk.h"

struct state {
	struct content_check *check;
};

static bool is_configured(const struct session_host *host)
{
	return host->milters.count > 0;
}

static int open_state(struct content_check *check, struct session_host *host, uint64_t sid, void **state_out)
{
	struct state *s = calloc(1, sizeof *s);
	(void)host;
	(void)sid;
	if (!s)
		return ERR_NOMEM;
	s->check = check;
	*state_out = s;
	return 0;
}

static void judged(void *ctx, enum milter_outcome outcome, const struct milter_refusal *refusal, const char *who, const struct content_change *change)
{
	struct state *s = ctx;
	struct content_verdict v = { .outcome = CONTENT_PASS };
	if (outcome == MILTER_DROP)
		v.outcome = CONTENT_DISCARD;
	if (refusal) {
		v.outcome = CONTENT_REFUSE;
		v.code = refusal->code;
		(void)snprintf(v.enhanced, sizeof v.enhanced, "%s", refusal->enhanced);
		(void)snprintf(v.text, sizeof v.text, "%s", refusal->text);
	}
	(void)snprintf(v.why, sizeof v.why, who[0] ? "milter %s" : "milters%s", who);
	content_engine_done(s->check, &v, change);
}

static void run(void *state, const struct content_image *image, const struct spool_envelope *envelope)
{
	struct state *s = state;
	(void)envelope;
	milter_talk_message(content_engine_milters(s->check), image, judged, s);
}

static void close_state(void *state)
{
	free(state);
}

const struct content_engine content_milter = {
	.need = NEED_MILTER, .is_configured = is_configured, .open = open_state, .run = run, .close = close_state
};
