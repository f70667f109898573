#include "filter_keeper.h"

#include <unistd.h>

#include "filter_file.h"
#include "filter_set.h"
#include "log.h"
#include "rules_keeper.h"
#include "rules_source.h"

static int compile(const struct rules_source *source, struct filter_kept *kept, struct reason *why)
{
	const struct rules_source_file *file = rules_source_get(source, 0);
	struct filter_set *set = NULL;
	int err = filter_set_compile(file->path, file->text, &kept->diags, &set);
	if (err == ERR_SYNTAX)
		return reason_set(why, err, "%.*s: %u error%s in the content filter", SPAN_FMT(file->path), kept->diags.errors,
				  kept->diags.errors == 1 ? "" : "s");
	if (err)
		return reason_set(why, err, "%.*s: no memory for the content filter", SPAN_FMT(file->path));
	kept->is_compiled = true;
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		struct filter_matcher_size size = filter_set_measure(set, (enum filter_kind)kind);
		kept->counts[kind] = size.patterns;
		kept->loose += size.loose;
	}
	filter_set_release(&set);
	return 0;
}

static int read_source(const struct conf *conf, struct filter_kept *kept, struct rules_source **out, struct reason *why)
{
	int err = rules_source_read_one(conf->filter, FILTER_FILE_MAX, out, why);
	if (err == ERR_NOTFOUND && conf->filter_may_lack) {
		kept->is_lacking = true;
		err = rules_source_from_text(span_of(conf->filter), SPAN_LIT(""), out);
	}
	return err ? reason_prefix(why, err, "filter") : 0;
}

int filter_keeper_read(const struct conf *conf, int now_fd, struct filter_kept *out, struct reason *why)
{
	struct rules_source *source = NULL;
	uint64_t begin_ms = rules_keeper_now_ms();
	*out = (struct filter_kept){ .fd = -1, .is_changed = now_fd >= 0 };
	if (!conf->filter[0])
		return 0;
	int err = read_source(conf, out, &source, why);
	if (!err)
		err = rules_source_to_fd(source, &out->fd, why);
	out->is_changed = !err && !(now_fd >= 0 && rules_source_is_same(out->fd, now_fd));
	/* What is in force was compiled once, and without an error. */
	if (out->is_changed)
		err = compile(source, out, why);
	rules_source_release(&source);
	if (out->fd >= 0 && (err || !out->is_changed)) {
		(void)close(out->fd);
		out->fd = -1;
	}
	out->took_ms = rules_keeper_now_ms() - begin_ms;
	return err;
}

void filter_keeper_log(const struct filter_kept *kept, const char *path)
{
	struct kv kv;
	rules_keeper_log_diags(&kept->diags, "filter", path);
	if (!kept->is_compiled || kept->is_lacking)
		return;
	kv_init(&kv);
	kv_text(&kv, "ev", "filter-read");
	kv_text(&kv, "filter", path);
	for (int kind = 0; kind < FILTER_KINDS; kind++)
		kv_u64(&kv, filter_kind_name((enum filter_kind)kind), kept->counts[kind]);
	kv_u64(&kv, "loose", kept->loose);
	kv_u64(&kv, "warnings", kept->diags.warnings);
	kv_u64(&kv, "ms", kept->took_ms);
	log_kv(LOG_LEVEL_INFO, &kv);
}

void filter_keeper_take(struct filter_kept *kept, int *now_fd)
{
	if (!kept->is_changed)
		return;
	if (*now_fd >= 0)
		(void)close(*now_fd);
	*now_fd = kept->fd;
	kept->fd = -1;
}

void filter_keeper_drop(struct filter_kept *kept)
{
	rules_diags_free(&kept->diags);
	if (kept->fd >= 0)
		(void)close(kept->fd);
	kept->fd = -1;
}
