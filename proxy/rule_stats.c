#include "rule_stats.h"

#include <stdlib.h>
#include <unistd.h>

#include "arena.h"
#include "rule_hits.h"

struct rule_title {
	uint32_t line;
	struct span action;
};

struct rule_stats {
	unsigned holders;
	struct arena arena;
	struct rule_title *titles;
	uint32_t count;
	struct rule_hits hits;
	int fd;
};

/* An answer under way. */
struct answer {
	struct rule_stats *stats;
	struct control_client *client;
	uint32_t next;
};

static int make_titles(struct rule_stats *stats, const struct rules *rules)
{
	stats->count = rules_count(rules);
	stats->titles = arena_alloc(&stats->arena, stats->count * sizeof *stats->titles);
	for (uint32_t i = 0; stats->titles && i < stats->count; i++) {
		struct span action = rules_action_text(rules, i);
		struct rule_title *title = &stats->titles[i];
		title->line = rules_line(rules, i);
		/* Most rules say the same as the one before. */
		title->action = i && span_eq(action, title[-1].action) ? title[-1].action : arena_copy(&stats->arena, action);
		if (!title->action.ptr)
			return ERR_NOMEM;
	}
	return stats->titles ? 0 : ERR_NOMEM;
}

int rule_stats_create(const struct rules *rules, size_t worker_count, struct rule_stats **out)
{
	struct rule_stats *stats = calloc(1, sizeof *stats);
	if (!stats)
		return ERR_NOMEM;
	stats->holders = 1;
	stats->fd = -1;
	int err = make_titles(stats, rules);
	if (!err)
		err = rule_hits_create(stats->count, worker_count, &stats->hits, &stats->fd);
	if (err)
		rule_stats_release(&stats);
	else
		*out = stats;
	return err;
}

void rule_stats_release(struct rule_stats **stats)
{
	struct rule_stats *s = *stats;
	*stats = NULL;
	if (!s || --s->holders > 0)
		return;
	rule_hits_unmap(&s->hits);
	if (s->fd >= 0)
		(void)close(s->fd);
	arena_free(&s->arena);
	free(s);
}

int rule_stats_fd(const struct rule_stats *stats)
{
	return stats->fd;
}

static void end_answer(void *ctx)
{
	struct answer *answer = ctx;
	rule_stats_release(&answer->stats);
	free(answer);
}

static void go_on(void *ctx)
{
	struct answer *answer = ctx;
	const struct rule_stats *stats = answer->stats;
	struct control_client *client = answer->client;
	for (; answer->next < stats->count; answer->next++) {
		const struct rule_title *title = &stats->titles[answer->next];
		struct kv kv;
		kv_init(&kv);
		kv_text(&kv, "what", "rule");
		kv_u64(&kv, "line", title->line);
		kv_u64(&kv, "hits", rule_hits_sum(&stats->hits, answer->next));
		kv_span(&kv, "action", title->action);
		/* No room: called again when there is.  Gone: end_answer is called. */
		if (control_line(client, &kv) != 0)
			return;
	}
	control_on_gone(client, NULL, NULL);
	control_on_room(client, NULL, NULL);
	end_answer(answer);
	control_end(client, 0, "");
}

void rule_stats_answer(struct rule_stats *stats, struct control_client *client)
{
	struct answer *answer = malloc(sizeof *answer);
	if (!answer) {
		control_end(client, ERR_NOMEM, "no memory");
		return;
	}
	*answer = (struct answer){ .stats = stats, .client = client };
	stats->holders++;
	control_on_gone(client, end_answer, answer);
	control_on_room(client, go_on, answer);
	go_on(answer);
}
