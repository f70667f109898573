#include "rules_keeper.h"

#include <time.h>
#include <unistd.h>

#include "log.h"
#include "rules.h"
#include "rules_lint.h"

/* More of them at each reload would hide what else the log says; `postern rules check` shows more. */
#define WARNINGS_LOGGED 20u

uint64_t rules_keeper_now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool has_same_options(const struct conf *a, const struct conf *b)
{
	return a->no_match == b->no_match && a->on_unknown == b->on_unknown && a->deny_delay_s == b->deny_delay_s &&
	       a->noto_delay_s == b->noto_delay_s;
}

static int compile(const struct conf *conf, size_t worker_count, struct rules_source *source, struct rules_kept *kept,
		   struct reason *why)
{
	struct rules_options options = {
		.no_match = (enum no_match)conf->no_match,
		.on_unknown = (enum on_unknown)conf->on_unknown,
		.deny_delay_s = conf->deny_delay_s,
		.noto_delay_s = conf->noto_delay_s,
	};
	struct rules *rules = NULL;
	int err = rules_compile(source, &options, &kept->diags, &rules);
	if (err == ERR_SYNTAX)
		return reason_set(why, err, "%s: %u error%s in the rules", conf->rules, kept->diags.errors, kept->diags.errors == 1 ? "" : "s");
	if (err)
		return reason_set(why, err, "%s: no memory for the rules", conf->rules);
	kept->is_compiled = true;
	kept->rule_count = rules_count(rules);
	kept->needs = rules_needs(rules);
	rules_measure(rules, &kept->size);
	/* Without memory for it some warnings are missing, and nothing else. */
	(void)rules_lint(rules, &kept->diags);
	if (kept->news == RULES_NEW && (err = rule_stats_create(rules, worker_count, &kept->stats)) != 0)
		reason_set(why, err, "shared memory for hits: %s", err_name(err));
	rules_release(&rules);
	return err;
}

int rules_keeper_read(const struct conf *conf, size_t worker_count, const struct rules_in_force *now, struct rules_kept *out,
		      struct reason *why)
{
	struct rules_source *source = NULL;
	uint64_t begin_ms = rules_keeper_now_ms();
	*out = (struct rules_kept){ .fd = -1 };
	int err = rules_source_read(conf->rules, &source, why);
	if (err == ERR_NOTFOUND)
		return reason_set(why, err, "there is no rule file %s: create it (rules.sample shows how) or name another", conf->rules);
	if (err)
		return reason_prefix(why, err, "rule file");
	err = rules_source_to_fd(source, &out->fd, why);
	if (!err && now->fd >= 0 && rules_source_is_same(out->fd, now->fd))
		out->news = has_same_options(conf, now->conf) ? RULES_UNCHANGED : RULES_SAME_TEXTS;
	/* What is in force was compiled once, and without an error. */
	if (!err && out->news != RULES_UNCHANGED)
		err = compile(conf, worker_count, source, out, why);
	rules_source_release(&source);
	if (out->fd >= 0 && (err || out->news == RULES_UNCHANGED)) {
		(void)close(out->fd);
		out->fd = -1;
	}
	out->took_ms = rules_keeper_now_ms() - begin_ms;
	return err;
}

void rules_keeper_log_diags(const struct rules_diags *diags, const char *event, const char *path)
{
	char line[RULES_DIAG_LINE_CAP];
	uint32_t errors = 0, warnings = 0;
	for (const struct rules_diag *d = diags->first; d; d = d->next) {
		if (d->severity == RULES_ERROR && ++errors)
			log_event(LOG_LEVEL_ERR, event, "%s", rules_diag_format(d, line));
		else if (warnings < WARNINGS_LOGGED && ++warnings)
			log_event(LOG_LEVEL_WARN, event, "%s", rules_diag_format(d, line));
	}
	if (diags->errors > errors)
		log_event(LOG_LEVEL_ERR, event, "%s: %u more errors", path, diags->errors - errors);
	if (diags->warnings > warnings)
		log_event(LOG_LEVEL_WARN, event, "%s: %u more warnings; postern check shows them", path, diags->warnings - warnings);
}

void rules_keeper_log(const struct rules_kept *kept, const char *path)
{
	struct kv kv;
	rules_keeper_log_diags(&kept->diags, "rules", path);
	if (!kept->is_compiled)
		return;
	kv_init(&kv);
	kv_text(&kv, "ev", "rules-read");
	kv_text(&kv, "rules", path);
	kv_u64(&kv, "count", kept->rule_count);
	kv_u64(&kv, "files", kept->size.files);
	kv_u64(&kv, "entries", kept->size.entries);
	kv_u64(&kv, "text_bytes", kept->size.text_bytes);
	kv_u64(&kv, "index_bytes", kept->size.index_bytes);
	kv_u64(&kv, "warnings", kept->diags.warnings);
	kv_u64(&kv, "ms", kept->took_ms);
	log_kv(LOG_LEVEL_INFO, &kv);
}

void rules_keeper_drop(struct rules_kept *kept)
{
	rule_stats_release(&kept->stats);
	rules_diags_free(&kept->diags);
	if (kept->fd >= 0)
		(void)close(kept->fd);
	kept->fd = -1;
}
