#include "cli_facts.h"

#include <stdio.h>

#include "fact_finder.h"
#include "resolver.h"

#define DEADLINE_MS 15000u
#define IDENT_MS 0u /* no connection stands behind the question */

struct waiting {
	struct loop *loop;
	struct rules_facts *facts;
};

static bool is_settled(const struct fact_table *table)
{
	for (const struct fact *f = table->first; f; f = f->next)
		if (f->state == FACT_NOT_ASKED || f->state == FACT_PENDING)
			return false;
	return true;
}

static void arrived(void *ctx)
{
	const struct waiting *waiting = ctx;
	if (is_settled(&waiting->facts->session) && is_settled(&waiting->facts->txn))
		loop_stop(waiting->loop);
}

void cli_facts_fetch(struct rules_facts *facts)
{
	const struct fact_service_options options = { .deadline_ms = DEADLINE_MS, .ident_timeout_ms = IDENT_MS };
	struct waiting waiting = { .facts = facts };
	struct resolver *resolver = NULL;
	struct fact_service *service = NULL;
	struct fact_finder finder;
	struct name_servers servers;
	struct reason why = { "" };
	int err = name_servers_find("", &servers, &why);
	if (!err)
		err = resolver_create_prepriv(&resolver);
	if (!err)
		err = loop_create(&waiting.loop);
	if (!err)
		err = resolver_start(resolver, waiting.loop, &servers);
	if (!err)
		err = fact_service_create(waiting.loop, resolver_source(resolver), &options, &service);
	if (!err) {
		fact_finder_open(&finder, service, facts, 0, 0, arrived, NULL, &waiting);
		fact_finder_fetch(&finder);
		if (!is_settled(&facts->session) || !is_settled(&facts->txn))
			loop_run(waiting.loop);
		fact_finder_close(&finder);
	}
	if (err)
		(void)fprintf(stderr, "postern rules: nothing is looked up: %s\n", why.text[0] ? why.text : err_name(err));
	fact_service_destroy(&service);
	resolver_destroy(&resolver);
	loop_destroy(&waiting.loop);
	facts_fail_unasked(facts, "no resolver");
}
