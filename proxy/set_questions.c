#include "set_questions.h"

#include <string.h>
#include <unistd.h>

#define READ_AT_ONCE 4096u

static void forget(struct set_question *q)
{
	if (q->fd >= 0)
		(void)close(q->fd);
	*q = (struct set_question){ .fd = -1 };
}

static void asker_gone(void *ctx)
{
	forget(ctx);
}

static void end(struct set_question *q, int err, const char *text)
{
	struct control_client *client = q->client;
	forget(q);
	control_on_gone(client, NULL, NULL);
	control_on_room(client, NULL, NULL);
	control_end(client, err, text);
}

int set_questions_begin(struct set_questions *all, struct control_client *client, struct span request, struct gate_question *out)
{
	struct set_question *q = all->list;
	while (q < all->list + SET_QUESTIONS_MAX && q->ticket)
		q++;
	if (q == all->list + SET_QUESTIONS_MAX)
		return ERR_BUSY;
	if (request.len >= sizeof out->text)
		return ERR_TOOLONG;
	*out = (struct gate_question){ .ticket = ++all->next_ticket, .len = (uint32_t)request.len };
	memcpy(out->text, request.ptr, request.len);
	*q = (struct set_question){ .ticket = out->ticket, .client = client, .fd = -1, .all = all };
	control_on_gone(client, asker_gone, q);
	return 0;
}

/* One line into kv's form: it is in it already. */
static int send_line(struct set_question *q, struct span line)
{
	struct kv kv;
	kv_init(&kv);
	if (line.len >= sizeof kv.text)
		return 0;
	memcpy(kv.text, line.ptr, line.len);
	kv.text[line.len] = '\0';
	kv.len = line.len;
	return control_line(q->client, &kv);
}

/* Lines until the asker has no more room; on it goes when there is. */
static void send_lines(void *ctx)
{
	struct set_question *q = ctx;
	char bytes[READ_AT_ONCE];
	for (;;) {
		ssize_t got = pread(q->fd, bytes, sizeof bytes, q->at);
		struct span rest = { bytes, got > 0 ? (size_t)got : 0 };
		size_t sent = 0, newline;
		while ((newline = span_find(rest, '\n', sent)) < rest.len) {
			int err = send_line(q, span_sub(rest, sent, newline));
			if (err == ERR_EOF)
				return;
			if (err == ERR_AGAIN) {
				q->at += (long long)sent;
				control_on_room(q->client, send_lines, q);
				return;
			}
			sent = newline + 1;
		}
		if (sent == 0)
			break;
		q->at += (long long)sent;
	}
	end(q, 0, "");
}

void set_questions_answer(struct set_questions *all, const struct gate_answer *answer, int fd)
{
	struct gate_answer said = *answer;
	said.why.text[sizeof said.why.text - 1] = '\0';
	for (size_t i = 0; i < SET_QUESTIONS_MAX; i++) {
		struct set_question *q = &all->list[i];
		if (!answer->ticket || q->ticket != answer->ticket || q->fd >= 0)
			continue;
		if (said.err || fd < 0) {
			end(q, (int)said.err, said.why.text);
			break;
		}
		q->fd = fd;
		send_lines(q);
		return;
	}
	if (fd >= 0)
		(void)close(fd);
}

void set_questions_fail(struct set_questions *all, const char *why)
{
	for (size_t i = 0; i < SET_QUESTIONS_MAX; i++)
		if (all->list[i].ticket && all->list[i].fd < 0)
			end(&all->list[i], ERR_EOF, why);
}
