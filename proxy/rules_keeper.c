#include "rules_keeper.h"

#include "log.h"
#include "rules.h"

static void log_diags(const struct rules_diags *diags)
{
	char line[RULES_DIAG_LINE_CAP];
	for (const struct rules_diag *d = diags->first; d; d = d->next)
		log_event(d->severity == RULES_ERROR ? LOG_LEVEL_ERR : LOG_LEVEL_WARN, "rules", "%s", rules_diag_format(d, line));
}

int rules_keeper_load(const struct conf *conf, int *fd_out, struct reason *why)
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
	if (err)
		reason_set(why, err, "%s: %u error%s in the rules", conf->rules, diags.errors, diags.errors == 1 ? "" : "s");
	else
		err = rules_source_to_fd(source, fd_out, why);
	rules_release(&rules);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return err;
}
