/* fact_lookup.h - how one fact is found; shared by fact_finder.c and the fact_lookup_*.c files, nobody else.
 *   fact_lookup_name.c    the confirmed reverse name
 *   fact_lookup_list.c    block lists of addresses and of domains
 *   fact_lookup_hosts.c   name servers and mail exchangers
 *   fact_lookup_ident.c   the ident user
 * A lookup ends by one of the three settle functions, which free it; nothing of it may be touched behind them.  They may be called from start,
 * wake, and from the finished callback of the batch, not from its answered callback.
 */
#ifndef POSTERN_FACT_LOOKUP_H
#define POSTERN_FACT_LOOKUP_H

#include "arena.h"
#include "dns_batch.h"
#include "fact_finder.h"
#include "list_health.h"

struct fact_lookup_kind {
	bool has_own_deadline;
	void (*start)(struct fact_lookup *lookup);
	void (*wake)(struct fact_lookup *lookup);   /* some fact was settled; NULL: never waits for one */
	void (*cancel)(struct fact_lookup *lookup); /* give back what is not in the batch or the arena; NULL: nothing */
};

extern const struct fact_lookup_kind fact_lookup_name, fact_lookup_list, fact_lookup_hosts, fact_lookup_ident;

struct fact_lookup {
	struct fact_lookup *prev, *next;         /* of the finder */
	struct fact_lookup *due_prev, *due_next; /* of the service, in order of due_ms */
	struct fact_finder *finder;
	const struct fact_lookup_kind *kind;
	struct fact_key key; /* in the arena */
	uint64_t fact_id;
	uint64_t due_ms;
	struct arena arena;
	struct dns_batch batch;
	void *state; /* in the arena */
};

void fact_lookup_present(struct fact_lookup *lookup, const struct fact_value *value);
void fact_lookup_absent(struct fact_lookup *lookup, struct span why);
void fact_lookup_failed(struct fact_lookup *lookup, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Begin a round of questions; the one before it is over. */
void fact_lookup_round(struct fact_lookup *lookup, dns_batch_fn answered, loop_fn finished);

struct loop *fact_lookup_loop(const struct fact_lookup *lookup);
struct list_health *fact_lookup_health(const struct fact_lookup *lookup);
uint64_t fact_lookup_ident_timeout(const struct fact_lookup *lookup);
struct ident_stats *fact_lookup_ident_stats(const struct fact_lookup *lookup);
void fact_lookup_count_list_error(struct fact_lookup *lookup);
/* Of the client, by a block list. */
void fact_lookup_tell_listed(struct fact_lookup *lookup, const struct addr *answers, uint32_t count, uint32_t ttl_s);
void fact_lookup_note(struct fact_lookup *lookup, enum fact_note note, struct span name);

#endif
