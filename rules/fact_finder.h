/* fact_finder.h - finds the facts that a rule evaluation lacks: by DNS and ident.
 * One fact_service a worker, one fact_finder a session.  The finder takes what stands as FACT_NOT_ASKED in its fact table, asks for all
 * of it at once, and settles each fact when its answers are in.
 * Promise: every fact is settled within the deadline (ident: ident_timeout_ms), at worst as failed; which answer came first changes
 * nothing about a fact; names that the DNS gives are checked before they become facts.
 * Owns: its lookups.  Borrows: facts and the endpoints in them, until fact_finder_close.
 * Calls back: arrived(ctx) on a later turn of the loop when facts were settled; note(ctx, …) when something about the client is worth a line.
 */
#ifndef POSTERN_FACT_FINDER_H
#define POSTERN_FACT_FINDER_H

#include <stdbool.h>
#include <stdint.h>

#include "dns_source.h"
#include "facts.h"
#include "ident.h"
#include "loop.h"
#include "rules.h"

struct fact_service;
struct fact_lookup;

struct fact_service_options {
	uint64_t deadline_ms;      /* for a fact, from the moment it was asked for */
	uint64_t ident_timeout_ms; /* 0: ident is never asked */
	uint64_t list_check_ms;    /* how often block lists are probed by their test entries (list_health.h); 0: never */
};

struct fact_service_stats {
	uint64_t failed;      /* facts that could not be found out */
	uint64_t list_errors; /* answers that lists use to say no: 127.255.255.x, or outside 127/8 */
	struct ident_stats ident;
};

/* source and loop are borrowed until fact_service_destroy.  All finders must be closed before that. */
int fact_service_create(struct loop *loop, const struct dns_source *source, const struct fact_service_options *options, struct fact_service **out);
void fact_service_set_options(struct fact_service *service, const struct fact_service_options *options);

/* Probe the block lists of these rules: at the start and after a reload. */
void fact_service_watch_lists(struct fact_service *service, const struct rules *rules);

/* broken(ctx, zone) at each probe that says so: what the list said before counts no more. */
void fact_service_on_broken_list(struct fact_service *service, void (*broken)(void *ctx, struct span zone), void *ctx);
const struct fact_service_stats *fact_service_stats(const struct fact_service *service);
void fact_service_destroy(struct fact_service **service);

enum fact_note {
	FACT_NOTE_SPOOF, /* a reverse name that does not resolve back to the client */
	FACT_NOTE_ATTACK /* a reverse name that looks like an IP address */
};

/* What a finder's owner is called for, each with the finder's ctx. */
struct fact_finder_hooks {
	loop_fn arrived;
	void (*note)(void *ctx, enum fact_note note, struct span name); /* or NULL */
	const struct ident_opener *opener;                              /* or NULL */
	/* A block list has said of the client that it is listed, by these addresses, or with none that it is not; it holds for ttl_s.  Or NULL. */
	void (*listed)(void *ctx, struct span zone, const struct addr *answers, uint32_t count, uint32_t ttl_s);
};

struct fact_finder {
	struct fact_service *service;
	struct rules_facts *facts;
	uint16_t client_port, dst_port; /* for ident */
	struct fact_lookup *lookups;
	struct loop_task settled;
	const struct fact_finder_hooks *hooks;
	void *ctx;
};

/* Must not be moved in memory while it is open.  hooks is borrowed until fact_finder_close. */
void fact_finder_open(struct fact_finder *finder, struct fact_service *service, struct rules_facts *facts, uint16_t client_port,
		      uint16_t dst_port, const struct fact_finder_hooks *hooks, void *ctx);

/* Start on every fact that nobody has asked for yet. */
void fact_finder_fetch(struct fact_finder *finder);

/* The facts of the envelope are gone (facts_reset_txn): their lookups, too. */
void fact_finder_reset_txn(struct fact_finder *finder);
void fact_finder_close(struct fact_finder *finder);

#endif
