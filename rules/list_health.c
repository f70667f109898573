#include "list_health.h"

#include <stdlib.h>
#include <string.h>

#include "dns_batch.h"
#include "dns_name.h"
#include "err.h"
#include "log.h"

#define BROKEN_FACTOR 12u

/* The first two must be listed in one of the families, the others in none. */
enum probe { PROBE_LISTED4, PROBE_LISTED6, PROBE_CLEAN4, PROBE_CLEAN6, PROBE_COUNT };

static const struct addr probes[PROBE_COUNT] = {
	[PROBE_LISTED4] = { ADDR_V4, { 127, 0, 0, 2 } },
	[PROBE_LISTED6] = { ADDR_V6, { [10] = 0xff, 0xff, 0x7f, 0, 0, 2 } },
	[PROBE_CLEAN4] = { ADDR_V4, { 127, 0, 0, 1 } },
	[PROBE_CLEAN6] = { ADDR_V6, { [10] = 0xff, 0xff, 0x7f, 0, 0, 1 } },
};

struct watched_list {
	struct watched_list *next;
	struct list_health *health;
	struct loop_timer *timer;
	struct dns_batch batch;
	enum dns_status answers[PROBE_COUNT];
	bool is_broken, is_wanted;
	size_t zone_len;
	char zone[DNS_NAME_CAP];
};

struct list_health {
	struct loop *loop;
	const struct dns_source *source;
	uint64_t interval_ms;
	struct watched_list *lists;
	void (*broken)(void *ctx, struct span zone);
	void *broken_ctx;
};

bool list_answer_is_error(const struct addr *answer)
{
	const uint8_t *b = answer->bytes;
	return answer->family != ADDR_V4 || b[0] != 127 || (b[1] == 255 && b[2] == 255);
}

static void answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct watched_list *list = ctx;
	enum dns_status status = answer->status;
	for (uint32_t i = 0; status == DNS_FOUND && i < answer->count; i++)
		if (list_answer_is_error(&answer->records[i].addr))
			status = DNS_FAILED;
	list->answers[index] = status;
}

static void set_broken(struct watched_list *list, bool is_broken, const char *why)
{
	const struct list_health *health = list->health;
	if (is_broken && health->broken)
		health->broken(health->broken_ctx, (struct span){ list->zone, list->zone_len });
	if (list->is_broken == is_broken)
		return;
	list->is_broken = is_broken;
	if (is_broken)
		log_event(LOG_LEVEL_WARN, "list-broken", "block list %s %s: it is switched off until it passes its test (RFC 5782)", list->zone, why);
	else
		log_event(LOG_LEVEL_INFO, "list-works", "block list %s passes its test: it is used again", list->zone);
}

static void judge(void *ctx)
{
	struct watched_list *list = ctx;
	const enum dns_status *a = list->answers;
	uint64_t wait_ms = list->health->interval_ms;
	dns_batch_cancel(&list->batch);
	if (a[PROBE_CLEAN4] == DNS_FOUND || a[PROBE_CLEAN6] == DNS_FOUND)
		set_broken(list, true, "lists what it must not (127.0.0.1)");
	else if (a[PROBE_LISTED4] == DNS_FOUND || a[PROBE_LISTED6] == DNS_FOUND)
		set_broken(list, false, NULL);
	else if (a[PROBE_LISTED4] != DNS_FAILED && a[PROBE_LISTED6] != DNS_FAILED)
		set_broken(list, true, "does not list its test entry (127.0.0.2)");
	else
		wait_ms /= BROKEN_FACTOR; /* not known: soon again */
	loop_timer_start(list->timer, list->is_broken ? wait_ms / BROKEN_FACTOR : wait_ms);
}

static void probe(void *ctx)
{
	struct watched_list *list = ctx;
	char name[DNS_NAME_CAP];
	const struct addr ourselves = { .family = ADDR_NONE };
	int err = 0;
	dns_batch_start(&list->batch, list->health->source, &ourselves, answered, judge, list);
	for (int i = 0; !err && i < PROBE_COUNT; i++) {
		list->answers[i] = DNS_FAILED;
		err = dns_name_reversed(&probes[i], (struct span){ list->zone, list->zone_len }, name);
		if (!err)
			err = dns_batch_ask(&list->batch, span_of(name), DNS_A);
	}
	if (err) {
		dns_batch_cancel(&list->batch);
		loop_timer_start(list->timer, list->health->interval_ms);
	}
}

static struct watched_list *find(const struct list_health *health, struct span zone)
{
	struct watched_list *list = health->lists;
	while (list && !span_eq_nocase((struct span){ list->zone, list->zone_len }, zone))
		list = list->next;
	return list;
}

void list_health_watch(struct list_health *health, struct span zone)
{
	struct watched_list *list = find(health, zone);
	if (list)
		list->is_wanted = true;
	if (list || health->interval_ms == 0 || !dns_name_is_askable(zone))
		return;
	list = calloc(1, sizeof *list);
	if (!list)
		return;
	*list = (struct watched_list){ .health = health, .is_wanted = true, .zone_len = zone.len };
	memcpy(list->zone, zone.ptr, zone.len);
	if (loop_timer_create(health->loop, probe, list, &list->timer)) {
		free(list);
		return;
	}
	list->next = health->lists;
	health->lists = list;
	probe(list);
}

static void forget(struct watched_list *list)
{
	dns_batch_cancel(&list->batch);
	loop_timer_destroy(&list->timer);
	free(list);
}

void list_health_begin_update(struct list_health *health)
{
	for (struct watched_list *list = health->lists; list; list = list->next)
		list->is_wanted = false;
}

void list_health_end_update(struct list_health *health)
{
	struct watched_list **link = &health->lists;
	while (*link) {
		struct watched_list *list = *link;
		if (list->is_wanted && health->interval_ms) {
			link = &list->next;
			continue;
		}
		*link = list->next;
		forget(list);
	}
}

void list_health_set_interval(struct list_health *health, uint64_t interval_ms)
{
	health->interval_ms = interval_ms;
	for (struct watched_list *list = health->lists; interval_ms && list; list = list->next)
		if (list->batch.open == 0)
			loop_timer_start(list->timer, interval_ms / BROKEN_FACTOR);
	if (interval_ms == 0)
		list_health_end_update(health);
}

void list_health_on_broken(struct list_health *health, void (*broken)(void *ctx, struct span zone), void *ctx)
{
	health->broken = broken;
	health->broken_ctx = ctx;
}

bool list_health_is_broken(const struct list_health *health, struct span zone)
{
	const struct watched_list *list = find(health, zone);
	return list && list->is_broken;
}

int list_health_create(struct loop *loop, const struct dns_source *source, struct list_health **out)
{
	struct list_health *health = calloc(1, sizeof *health);
	if (!health)
		return ERR_NOMEM;
	health->loop = loop;
	health->source = source;
	*out = health;
	return 0;
}

void list_health_destroy(struct list_health **health)
{
	if (!*health)
		return;
	list_health_begin_update(*health);
	list_health_end_update(*health);
	free(*health);
	*health = NULL;
}
