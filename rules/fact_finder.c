#include "fact_lookup.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "err.h"

struct fact_service {
	struct loop *loop;
	const struct dns_source *source;
	struct fact_service_options options;
	struct fact_service_stats stats;
	struct list_health *health;
	struct loop_timer *timer;
	struct fact_lookup *first_due, *last_due;
};

static const struct fact_lookup_kind *const kinds[FACT_KIND_COUNT] = {
	[FACT_NAME] = &fact_lookup_name,
	[FACT_IDENT] = &fact_lookup_ident,
	[FACT_NS_CLIENT] = &fact_lookup_hosts,
	[FACT_NS_DOMAIN] = &fact_lookup_hosts,
	[FACT_RBL] = &fact_lookup_list,
	[FACT_RHS] = &fact_lookup_list,
};

/* ---- deadlines: one timer for all lookups of the worker */

static void schedule(struct fact_service *service)
{
	uint64_t now = loop_now_ms(service->loop);
	if (service->first_due)
		loop_timer_start(service->timer, service->first_due->due_ms > now ? service->first_due->due_ms - now : 0);
	else
		loop_timer_stop(service->timer);
}

static void due_join(struct fact_service *service, struct fact_lookup *lookup)
{
	/* They come in order, but for a reload that makes the deadline shorter. */
	struct fact_lookup *before = service->last_due;
	while (before && before->due_ms > lookup->due_ms)
		before = before->due_prev;
	lookup->due_prev = before;
	lookup->due_next = before ? before->due_next : service->first_due;
	*(lookup->due_next ? &lookup->due_next->due_prev : &service->last_due) = lookup;
	*(before ? &before->due_next : &service->first_due) = lookup;
	if (service->first_due == lookup)
		schedule(service);
}

static void due_leave(struct fact_service *service, struct fact_lookup *lookup)
{
	if (lookup->kind->has_own_deadline)
		return;
	*(lookup->due_prev ? &lookup->due_prev->due_next : &service->first_due) = lookup->due_next;
	*(lookup->due_next ? &lookup->due_next->due_prev : &service->last_due) = lookup->due_prev;
}

static void overdue(void *ctx)
{
	struct fact_service *service = ctx;
	uint64_t now = loop_now_ms(service->loop);
	while (service->first_due && service->first_due->due_ms <= now)
		fact_lookup_failed(service->first_due, "time-out");
	schedule(service);
}

/* ---- lookups */

static void lookup_free(struct fact_lookup *lookup)
{
	struct fact_finder *finder = lookup->finder;
	due_leave(finder->service, lookup);
	*(lookup->prev ? &lookup->prev->next : &finder->lookups) = lookup->next;
	if (lookup->next)
		lookup->next->prev = lookup->prev;
	if (lookup->kind->cancel)
		lookup->kind->cancel(lookup);
	dns_batch_cancel(&lookup->batch);
	arena_free(&lookup->arena);
	free(lookup);
}

static void lookup_settled(struct fact_lookup *lookup)
{
	struct fact_finder *finder = lookup->finder;
	lookup_free(lookup);
	loop_task_post(finder->service->loop, &finder->settled);
}

/* A fact that is gone meanwhile (its transaction ended) is a miss, which is normal. */
void fact_lookup_present(struct fact_lookup *lookup, const struct fact_value *value)
{
	(void)facts_settle_present(lookup->finder->facts, lookup->fact_id, value);
	lookup_settled(lookup);
}

void fact_lookup_absent(struct fact_lookup *lookup, struct span why)
{
	(void)facts_settle_absent(lookup->finder->facts, lookup->fact_id, why);
	lookup_settled(lookup);
}

void fact_lookup_failed(struct fact_lookup *lookup, const char *fmt, ...)
{
	char why[FACT_TEXT_MAX + 1];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	(void)facts_settle_failed(lookup->finder->facts, lookup->fact_id, span_of(why));
	lookup->finder->service->stats.failed++;
	lookup_settled(lookup);
}

void fact_lookup_round(struct fact_lookup *lookup, dns_batch_fn answered, loop_fn finished)
{
	dns_batch_cancel(&lookup->batch);
	dns_batch_start(&lookup->batch, lookup->finder->service->source, &lookup->finder->facts->client.addr, answered, finished, lookup);
}

struct loop *fact_lookup_loop(const struct fact_lookup *lookup)
{
	return lookup->finder->service->loop;
}

struct list_health *fact_lookup_health(const struct fact_lookup *lookup)
{
	return lookup->finder->service->health;
}

uint64_t fact_lookup_ident_timeout(const struct fact_lookup *lookup)
{
	return lookup->finder->service->options.ident_timeout_ms;
}

struct ident_stats *fact_lookup_ident_stats(const struct fact_lookup *lookup)
{
	return &lookup->finder->service->stats.ident;
}

void fact_lookup_count_list_error(struct fact_lookup *lookup)
{
	lookup->finder->service->stats.list_errors++;
}

void fact_lookup_note(struct fact_lookup *lookup, enum fact_note note, struct span name)
{
	const struct fact_finder *finder = lookup->finder;
	if (finder->hooks->note)
		finder->hooks->note(finder->ctx, note, name);
}

void fact_lookup_tell_listed(struct fact_lookup *lookup, const struct addr *answers, uint32_t count, uint32_t ttl_s)
{
	const struct fact_finder *finder = lookup->finder;
	if (finder->hooks->listed && ttl_s)
		finder->hooks->listed(finder->ctx, lookup->key.zone, answers, count, ttl_s);
}

static void lookup_start(struct fact_finder *finder, const struct fact *fact)
{
	struct fact_service *service = finder->service;
	struct fact_lookup *lookup = calloc(1, sizeof *lookup);
	if (lookup) {
		lookup->key = (struct fact_key){ fact->key.kind, arena_copy(&lookup->arena, fact->key.zone), arena_copy(&lookup->arena, fact->key.subject) };
		if (!lookup->key.zone.ptr || !lookup->key.subject.ptr) {
			arena_free(&lookup->arena);
			free(lookup);
			lookup = NULL;
		}
	}
	if (!lookup) {
		(void)facts_settle_failed(finder->facts, fact->id, SPAN_LIT("no memory"));
		loop_task_post(service->loop, &finder->settled);
		return;
	}
	(void)facts_set_pending(finder->facts, fact->id);
	lookup->finder = finder;
	lookup->kind = kinds[fact->key.kind];
	lookup->fact_id = fact->id;
	lookup->due_ms = loop_now_ms(service->loop) + service->options.deadline_ms;
	lookup->next = finder->lookups;
	if (lookup->next)
		lookup->next->prev = lookup;
	finder->lookups = lookup;
	if (!lookup->kind->has_own_deadline)
		due_join(service, lookup);
	lookup->kind->start(lookup);
}

/* ---- finders */

static void settled(void *ctx)
{
	struct fact_finder *finder = ctx;
	for (struct fact_lookup *lookup = finder->lookups, *next; lookup; lookup = next) {
		next = lookup->next;
		if (lookup->kind->wake)
			lookup->kind->wake(lookup);
	}
	fact_finder_fetch(finder);
	finder->hooks->arrived(finder->ctx);
}

void fact_finder_open(struct fact_finder *finder, struct fact_service *service, struct rules_facts *facts, uint16_t client_port,
		      uint16_t dst_port, const struct fact_finder_hooks *hooks, void *ctx)
{
	*finder = (struct fact_finder){ .service = service, .facts = facts, .client_port = client_port, .dst_port = dst_port,
					.hooks = hooks, .ctx = ctx };
	finder->settled = (struct loop_task){ .fn = settled, .ctx = finder };
}

void fact_finder_fetch(struct fact_finder *finder)
{
	const struct fact *fact;
	/* A lookup may want a fact itself: the one behind it in the table. */
	while ((fact = facts_next_unasked(finder->facts, 0)) != NULL)
		lookup_start(finder, fact);
}

void fact_finder_reset_txn(struct fact_finder *finder)
{
	for (struct fact_lookup *lookup = finder->lookups, *next; lookup; lookup = next) {
		next = lookup->next;
		if (!facts_get(finder->facts, lookup->fact_id))
			lookup_free(lookup);
	}
}

void fact_finder_close(struct fact_finder *finder)
{
	if (!finder->service)
		return;
	while (finder->lookups)
		lookup_free(finder->lookups);
	loop_task_cancel(&finder->settled);
	finder->service = NULL;
}

/* ---- the service */

int fact_service_create(struct loop *loop, const struct dns_source *source, const struct fact_service_options *options, struct fact_service **out)
{
	struct fact_service *service = calloc(1, sizeof *service);
	if (!service)
		return ERR_NOMEM;
	service->loop = loop;
	service->source = source;
	int err = list_health_create(loop, source, &service->health);
	if (!err)
		err = loop_timer_create(loop, overdue, service, &service->timer);
	if (err) {
		fact_service_destroy(&service);
		return err;
	}
	fact_service_set_options(service, options);
	*out = service;
	return 0;
}

void fact_service_set_options(struct fact_service *service, const struct fact_service_options *options)
{
	bool is_changed = options->list_check_ms != service->options.list_check_ms;
	service->options = *options;
	if (is_changed)
		list_health_set_interval(service->health, options->list_check_ms);
}

void fact_service_watch_lists(struct fact_service *service, const struct rules *rules)
{
	struct rules_facts facts = { .last_id = 0 };
	const struct fact *fact = NULL;
	rules_prefetch(rules, &facts);
	list_health_begin_update(service->health);
	while ((fact = facts_next_unasked(&facts, fact ? fact->id : 0)) != NULL)
		if (fact->key.kind == FACT_RBL)
			list_health_watch(service->health, fact->key.zone);
	list_health_end_update(service->health);
	facts_free(&facts);
}

void fact_service_on_broken_list(struct fact_service *service, void (*broken)(void *ctx, struct span zone), void *ctx)
{
	list_health_on_broken(service->health, broken, ctx);
}

const struct fact_service_stats *fact_service_stats(const struct fact_service *service)
{
	return &service->stats;
}

void fact_service_destroy(struct fact_service **service)
{
	if (!*service)
		return;
	list_health_destroy(&(*service)->health);
	loop_timer_destroy(&(*service)->timer);
	free(*service);
	*service = NULL;
}
