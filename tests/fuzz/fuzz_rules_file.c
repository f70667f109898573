/* A rule file of any bytes loads or is refused; what loads judges without fault.  The same bytes are tried as a FILE= list, too. */
#include "rules.h"

static void judge(struct rules *rules)
{
	static const struct addr answer = { .family = ADDR_V4, .bytes = { 127, 0, 0, 2 } };
	const struct fact_value value = { .text = SPAN_LIT("mail.foo.com"), .addrs = &answer, .addr_count = 1 };
	struct rules_facts facts = { .client = { .addr = { ADDR_V4, { 10, 1, 2, 3 } }, .iface = SPAN_LIT("eth0"), .helo = SPAN_LIT("x") } };
	struct rules_verdict verdict;
	struct rules_eval eval;
	const struct fact *fact;
	unsigned n = 0;
	rules_prefetch(rules, &facts);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("<bob@foo.com>"), SPAN_LIT("alice@ours.org"), NULL);
	while (rules_eval_run(&eval, &verdict) == STEP_WAIT)
		while ((fact = facts_next_unasked(&facts, 0)) != NULL) {
			if (n++ % 3 == 0)
				(void)facts_settle_failed(&facts, fact->id, SPAN_LIT("time-out"));
			else
				(void)facts_settle_present(&facts, fact->id, &value);
		}
	rules_eval_end(&eval);
	facts_free(&facts);
}

static void try_file(struct span text, struct span list)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_diags diags = { 0 };
	struct rules_options options;
	rules_options_defaults(&options);
	if (rules_source_from_text(SPAN_LIT("f"), text, &source))
		return;
	(void)rules_source_add(source, SPAN_LIT("l"), list);
	if (rules_compile(source, &options, &diags, &rules) == 0)
		judge(rules);
	rules_release(&rules);
	rules_diags_free(&diags);
	rules_source_release(&source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = { (const char *)data, size };
	try_file(bytes, bytes);
	try_file(SPAN_LIT("noto:FILE=l:FILE=l:FILE=l\n"), bytes);
	/* A source list has lines of its own, which are errors in the others. */
	try_file(SPAN_LIT("noto:FILE=l:ALL:ALL\n"), bytes);
	return 0;
}
