#include "sender_domain.h"

#include <stdlib.h>

#include "dns_batch.h"
#include "dns_name.h"
#include "err.h"

struct sender_domain {
	struct dns_batch batch;
	struct loop_timer *timer;
	struct loop_task bad_name;
	sender_domain_fn done;
	void *ctx;
	bool has_record, has_null_mx, has_failed;
};

static void answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct sender_domain *check = ctx;
	(void)index;
	if (answer->status == DNS_FAILED)
		check->has_failed = true;
	for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->count; i++) {
		/* RFC 7505: one record that names the root.  Only MX records have neither address nor name. */
		bool is_root = answer->records[i].addr.family == ADDR_NONE && answer->records[i].text.len == 0;
		check->has_null_mx |= is_root && answer->count == 1;
		check->has_record |= !is_root;
	}
}

/* done may give us back. */
static void finished(void *ctx)
{
	struct sender_domain *check = ctx;
	enum sender_domain_result result = SENDER_DOMAIN_NONE;
	loop_timer_stop(check->timer);
	if (check->has_null_mx)
		result = SENDER_DOMAIN_NULL_MX;
	else if (check->has_record)
		result = SENDER_DOMAIN_OK;
	else if (check->has_failed)
		result = SENDER_DOMAIN_UNKNOWN;
	check->done(check->ctx, result);
}

static void overdue(void *ctx)
{
	struct sender_domain *check = ctx;
	dns_batch_cancel(&check->batch);
	check->has_failed = true;
	finished(check);
}

static void not_a_name(void *ctx)
{
	finished(ctx);
}

int sender_domain_start(struct loop *loop, const struct dns_source *source, const struct addr *client, struct span domain,
			uint64_t deadline_ms, sender_domain_fn done, void *ctx, struct sender_domain **out)
{
	static const enum dns_type types[] = { DNS_MX, DNS_A, DNS_AAAA };
	struct sender_domain *check = calloc(1, sizeof *check);
	if (!check)
		return ERR_NOMEM;
	check->done = done;
	check->ctx = ctx;
	check->bad_name = (struct loop_task){ .fn = not_a_name, .ctx = check };
	int err = loop_timer_create(loop, overdue, check, &check->timer);
	dns_batch_start(&check->batch, source, client, answered, finished, check);
	if (!dns_name_is_askable(domain))
		loop_task_post(loop, &check->bad_name);
	else
		for (size_t i = 0; !err && i < sizeof types / sizeof types[0]; i++)
			err = dns_batch_ask(&check->batch, domain, types[i]);
	if (err) {
		sender_domain_cancel(&check);
		return err;
	}
	loop_timer_start(check->timer, deadline_ms);
	*out = check;
	return 0;
}

void sender_domain_cancel(struct sender_domain **check)
{
	if (!*check)
		return;
	loop_task_cancel(&(*check)->bad_name);
	dns_batch_cancel(&(*check)->batch);
	loop_timer_destroy(&(*check)->timer);
	free(*check);
	*check = NULL;
}
