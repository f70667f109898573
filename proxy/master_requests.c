#include "master_requests.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct request {
	struct request *next;
	uint64_t ticket, due_ms;
	alignas(max_align_t) unsigned char asker[];
};

/* In the order of their tickets, in which the master answers, and of their deadlines. */
struct master_requests {
	struct loop *loop;
	struct ipc_channel *master;
	const struct master_request_kind *kind;
	struct loop_timer *deadline;
	uint64_t last_ticket;
	size_t count;
	struct request *first, **end;
};

/* The caller frees it. */
static struct request *unlink_request(struct master_requests *r, struct request **link)
{
	struct request *request = *link;
	*link = request->next;
	if (!*link)
		r->end = link;
	r->count--;
	return request;
}

static struct request **find(struct master_requests *r, uint64_t ticket)
{
	struct request **link = &r->first;
	while (*link && (*link)->ticket != ticket)
		link = &(*link)->next;
	return link;
}

static void tell(struct master_requests *r, struct request **link, const void *answer, int fd)
{
	struct request *request = unlink_request(r, link);
	r->kind->answered(request->asker, answer, fd);
	free(request);
}

static void overdue(void *ctx)
{
	struct master_requests *r = ctx;
	uint64_t now = loop_now_ms(r->loop);
	while (r->first && r->first->due_ms <= now)
		tell(r, &r->first, NULL, -1);
	if (r->first)
		loop_timer_start(r->deadline, r->first->due_ms - now);
}

int master_requests_create(struct loop *loop, struct ipc_channel *master, const struct master_request_kind *kind, struct master_requests **out)
{
	struct master_requests *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	*r = (struct master_requests){ .loop = loop, .master = master, .kind = kind, .end = &r->first };
	int err = kind->deadline_ms ? loop_timer_create(loop, overdue, r, &r->deadline) : 0;
	if (err)
		free(r);
	else
		*out = r;
	return err;
}

void master_requests_destroy(struct master_requests **requests)
{
	struct master_requests *r = *requests;
	if (!r)
		return;
	while (r->first)
		free(unlink_request(r, &r->first));
	loop_timer_destroy(&r->deadline);
	free(r);
	*requests = NULL;
}

int master_requests_ask(struct master_requests *r, void *question, size_t len, int fd, const void *asker)
{
	const uint64_t ticket = r->last_ticket + 1;
	if (r->count >= r->kind->max || ipc_channel_is_behind(r->master))
		return ERR_BUSY;
	struct request *request = calloc(1, sizeof *request + r->kind->asker_size);
	if (!request)
		return ERR_NOMEM;
	memcpy(question, &ticket, sizeof ticket);
	int err = ipc_channel_send(r->master, r->kind->type, question, len, &fd, fd >= 0);
	if (err) {
		free(request);
		return err;
	}
	memcpy(request->asker, asker, r->kind->asker_size);
	request->ticket = r->last_ticket = ticket;
	request->due_ms = loop_now_ms(r->loop) + r->kind->deadline_ms;
	if (r->deadline && !r->first)
		loop_timer_start(r->deadline, r->kind->deadline_ms);
	*r->end = request;
	r->end = &request->next;
	r->count++;
	return 0;
}

void master_requests_cancel(struct master_requests *r, uint64_t ticket)
{
	struct request **link = find(r, ticket);
	if (*link)
		free(unlink_request(r, link));
}

bool master_requests_cancel_one(struct master_requests *r, bool (*is_meant)(const void *asker, const void *ctx), const void *ctx, void *asker_out)
{
	struct request **link = &r->first;
	while (*link && !is_meant((*link)->asker, ctx))
		link = &(*link)->next;
	if (!*link)
		return false;
	struct request *request = unlink_request(r, link);
	memcpy(asker_out, request->asker, r->kind->asker_size);
	free(request);
	return true;
}

void master_requests_take(struct master_requests *r, uint64_t ticket, const void *answer, int fd)
{
	struct request **link = find(r, ticket);
	if (*link)
		tell(r, link, answer, fd);
	else if (fd >= 0)
		(void)close(fd);
}

size_t master_requests_count(const struct master_requests *r)
{
	return r->count;
}
