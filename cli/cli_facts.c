#include "cli_facts.h"

#include <stdio.h>
#include <stdlib.h>

#include "fact_finder.h"
#include "resolver.h"

#define DEADLINE_MS 15000u
#define IDENT_MS 0u /* no connection stands behind the question */

struct cli_facts {
	struct loop *loop;
	struct resolver *resolver;
	struct fact_service *service;
	struct rules_facts *facts; /* of the fetch that is under way */
};

static bool is_settled(const struct fact_table *table)
{
	for (const struct fact *f = table->first; f; f = f->next)
		if (f->state == FACT_NOT_ASKED || f->state == FACT_PENDING)
			return false;
	return true;
}

static bool are_settled(const struct rules_facts *facts)
{
	return is_settled(&facts->session) && is_settled(&facts->txn);
}

static void arrived(void *ctx)
{
	const struct cli_facts *c = ctx;
	if (are_settled(c->facts))
		loop_stop(c->loop);
}

static int open_service(struct cli_facts *c, struct reason *why)
{
	const struct fact_service_options options = { .deadline_ms = DEADLINE_MS, .ident_timeout_ms = IDENT_MS };
	struct name_servers servers;
	int err = name_servers_find("", &servers, why);
	if (!err)
		err = resolver_create_prepriv(&c->resolver);
	if (!err)
		err = loop_create(&c->loop);
	if (!err)
		err = resolver_start(c->resolver, c->loop, &servers);
	return err ? err : fact_service_create(c->loop, resolver_source(c->resolver), &options, &c->service);
}

struct cli_facts *cli_facts_open(void)
{
	struct cli_facts *c = calloc(1, sizeof *c);
	struct reason why = { "" };
	int err = c ? open_service(c, &why) : ERR_NOMEM;
	if (!err)
		return c;
	(void)fprintf(stderr, "postern rules: nothing is looked up: %s\n", why.text[0] ? why.text : err_name(err));
	cli_facts_close(&c);
	return NULL;
}

void cli_facts_fetch(struct cli_facts *c, struct rules_facts *facts)
{
	static const struct fact_finder_hooks hooks = { .arrived = arrived };
	struct fact_finder finder;
	if (c) {
		c->facts = facts;
		fact_finder_open(&finder, c->service, facts, 0, 0, &hooks, c);
		fact_finder_fetch(&finder);
		if (!are_settled(facts))
			loop_run(c->loop);
		fact_finder_close(&finder);
	}
	facts_fail_unasked(facts, "no resolver");
}

void cli_facts_close(struct cli_facts **finder)
{
	struct cli_facts *c = *finder;
	if (!c)
		return;
	fact_service_destroy(&c->service);
	resolver_destroy(&c->resolver);
	loop_destroy(&c->loop);
	free(c);
	*finder = NULL;
}
