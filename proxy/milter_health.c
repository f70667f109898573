#include "milter_health.h"

#include <inttypes.h>

#include "log.h"
#include "loop.h"

static struct milter_state *find(struct milter_health *h, size_t place, const struct milter_spec *spec)
{
	struct milter_state *state = &h->filters[place];
	uint64_t hash = milter_spec_address_hash(spec);
	if (state->address_hash != hash)
		*state = (struct milter_state){ .address_hash = hash };
	return state;
}

bool milter_health_may_try(struct milter_health *h, size_t place, const struct milter_spec *spec, uint64_t now_ms)
{
	struct milter_state *state = find(h, place, spec);
	if (!state->pause_until_ms)
		return true;
	if (now_ms < state->pause_until_ms)
		return false;
	state->pause_until_ms = now_ms + MILTER_HEALTH_PAUSE_MS;
	return true;
}

static const char *effect_of(enum milter_fail fail)
{
	switch (fail) {
	case MILTER_FAIL_TEMPFAIL: break;
	case MILTER_FAIL_ACCEPT: return "mail passes without it";
	case MILTER_FAIL_REJECT: return "mail is refused with 550";
	}
	return "mail gets 451";
}

void milter_health_failed(struct milter_health *h, size_t place, const struct milter_spec *spec, const char *stage, int err, bool has_spoken,
			  struct counter_slot *slot, uint64_t now_ms)
{
	struct milter_state *state = find(h, place, spec);
	state->failures++;
	state->is_down = !has_spoken;
	if (has_spoken)
		state->pause_until_ms = 0;
	else if (err == ERR_TIMEOUT && now_ms >= state->pause_until_ms)
		state->pause_until_ms = now_ms + MILTER_HEALTH_PAUSE_MS;
	if (slot)
		milter_counters_state(slot, place, has_spoken ? MILTER_UP : MILTER_DOWN, loop_wall_time());
	if (now_ms < state->log_ms)
		return;
	log_event(LOG_LEVEL_ERR, "milter-trouble", "milter %s fails (%s at %s), %" PRIu64 " since the last such line: %s", spec->name, err_name(err), stage,
		  state->failures, effect_of(spec->fail));
	state->log_ms = now_ms + MILTER_HEALTH_LOG_MS;
	state->failures = 0;
	state->is_told = state->is_told || state->is_down;
}

void milter_health_answers(struct milter_health *h, size_t place, const struct milter_spec *spec, struct counter_slot *slot)
{
	struct milter_state *state = find(h, place, spec);
	if (slot)
		milter_counters_state(slot, place, MILTER_UP, loop_wall_time());
	if (state->is_down && state->is_told) {
		log_event(LOG_LEVEL_INFO, "milter-back", "milter %s answers again", spec->name);
		state->is_told = false;
	}
	state->is_down = false;
	state->pause_until_ms = 0;
}
