#include "rules_keeper.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "log.h"
#include "rules.h"

static void log_diags(const struct rules_diags *diags)
{
	char line[RULES_DIAG_LINE_CAP];
	for (const struct rules_diag *d = diags->first; d; d = d->next)
		log_event(d->severity == RULES_ERROR ? LOG_LEVEL_ERR : LOG_LEVEL_WARN, "rules", "%s", rules_diag_format(d, line));
}

int rules_keeper_load(const struct conf *conf, size_t worker_count, int *fd_out, struct rule_stats **stats_out, struct reason *why)
{
	struct rules_options options = {
		.no_match = (enum no_match)conf->no_match,
		.on_unknown = (enum on_unknown)conf->on_unknown,
		.deny_delay_s = conf->deny_delay_s,
		.noto_delay_s = conf->noto_delay_s,
	};
	struct rules_source *source = NULL;
	struct rules_diags diags = { 0 };
	struct rules *rules = NULL;
	int err = rules_source_read(conf->rules, &source, why);
	if (err == ERR_NOTFOUND)
		return reason_set(why, err, "there is no rule file %s: create it (rules.sample shows how) or name another", conf->rules);
	if (err)
		return reason_prefix(why, err, "rule file");
	err = rules_compile(source, &options, &diags, &rules);
	log_diags(&diags);
	struct rule_stats *stats = NULL;
	if (err)
		reason_set(why, err, "%s: %u error%s in the rules", conf->rules, diags.errors, diags.errors == 1 ? "" : "s");
	else if ((err = rule_stats_create(rules, worker_count, &stats)) != 0)
		reason_set(why, err, "shared memory for hits: %s", err_name(err));
	else
		err = rules_source_to_fd(source, fd_out, why);
	if (err)
		rule_stats_release(&stats);
	else
		*stats_out = stats;
	rules_release(&rules);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return err;
}

bool rules_keeper_same(int fd, int other_fd)
{
	struct stat a, b;
	if (fstat(fd, &a) != 0 || fstat(other_fd, &b) != 0 || a.st_size != b.st_size || a.st_size == 0)
		return false;
	size_t size = (size_t)a.st_size;
	void *x = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	void *y = mmap(NULL, size, PROT_READ, MAP_PRIVATE, other_fd, 0);
	bool same = x != MAP_FAILED && y != MAP_FAILED && memcmp(x, y, size) == 0;
	if (x != MAP_FAILED)
		(void)munmap(x, size);
	if (y != MAP_FAILED)
		(void)munmap(y, size);
	return same;
}
