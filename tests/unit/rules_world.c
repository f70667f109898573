#include "rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const struct addr listed_addr = { .family = ADDR_V4, .bytes = { 127, 0, 0, 2 } };

enum world_answer world_listed(const struct world *world, struct span zone, struct span subject, struct addr *answer_out)
{
	unsigned digit = zone.len ? (unsigned char)zone.ptr[zone.len - 1] : 0;
	if (subject.len)
		digit += (unsigned char)span_lower(subject.ptr[0]) + (unsigned char)span_lower(subject.ptr[subject.len - 1]);
	const struct addr *answer = &world->answers[digit % 8];
	*answer_out = answer->family == ADDR_NONE ? listed_addr : *answer;
	return world->listed[digit % 8];
}

const struct world_hosts *world_hosts_of(const struct world *world, enum fact_kind kind, struct span subject)
{
	return &world->hosts[kind == FACT_NS_CLIENT || subject.len == 0 ? 0 : 1 + (unsigned char)span_lower(subject.ptr[0]) % 3];
}

void world_settle(const struct world *world, struct rules_facts *facts, const struct fact *fact)
{
	struct fact_value value = { 0 };
	struct addr addr;
	struct span name;
	enum world_answer answer = WORLD_FAILED;
	const struct world_hosts *hosts;
	switch (fact->key.kind) {
	case FACT_NAME:
		answer = world->name;
		value.text = span_of(world->name_text);
		break;
	case FACT_IDENT:
		answer = world->ident;
		value.text = span_of(world->ident_text);
		break;
	case FACT_RBL:
	case FACT_RHS:
		answer = world_listed(world, fact->key.zone, fact->key.subject, &addr);
		value = (struct fact_value){ .addrs = &addr, .addr_count = 1 };
		break;
	case FACT_NS_CLIENT:
	case FACT_NS_DOMAIN:
		hosts = world_hosts_of(world, fact->key.kind, fact->key.subject);
		answer = hosts->answer;
		name = span_of(hosts->name);
		value = (struct fact_value){ .addrs = &hosts->addr, .addr_count = hosts->addr.family != ADDR_NONE, .names = &name,
					     .name_count = hosts->name != NULL, .exact = hosts->exact };
		break;
	case FACT_KIND_COUNT: break;
	}
	int err = answer == WORLD_PRESENT ? facts_settle_present(facts, fact->id, &value) :
		  answer == WORLD_ABSENT  ? facts_settle_absent(facts, fact->id, SPAN_NONE) :
					    facts_settle_failed(facts, fact->id, SPAN_LIT("time-out"));
	assert_int_equal(err, 0);
}

struct rules *world_compile(const char *text, const struct world_file *files, const struct rules_options *options)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_diags diags = { 0 };
	char line[RULES_DIAG_LINE_CAP];
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(text), &source), 0);
	for (; files && files->path; files++)
		assert_int_equal(rules_source_add(source, span_of(files->path), span_of(files->text)), 0);
	int err = rules_compile(source, options, &diags, &rules);
	for (const struct rules_diag *d = diags.first; d && err; d = d->next)
		print_error("%s\n", rules_diag_format(d, line));
	assert_int_equal(err, 0);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return rules;
}

void world_judge(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from, const char *to,
		 struct rules_verdict *out)
{
	struct rules_facts facts = { .client = *client };
	struct rules_eval eval;
	const struct fact *fact;
	rules_eval_start(&eval, rules, &facts, span_of(from), span_of(to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT) {
		assert_non_null(facts_next_unasked(&facts, 0));
		while ((fact = facts_next_unasked(&facts, 0)) != NULL)
			world_settle(world, &facts, fact);
	}
	rules_eval_end(&eval);
	facts_free(&facts);
}
