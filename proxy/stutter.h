/* stutter.h - replies that leave one character at a time: what becomes of clients that a rule sends into the tarpit, the way of OpenBSD's spamd.
 * A session that has said all but its last reply hands its connection over and ends; here it costs its descriptor, a small struct with the text,
 * and no timer and no poll of its own: nothing is read any more, and a client that has gone shows at the next character.
 * Promise: at most `max` are held, of each client `per_client`; one more lets the oldest (of that client) go with the rest of its reply at once.
 * Owns: from a successful start on the descriptor and the hold on the client.  Borrows: loop, clients.
 */
#ifndef POSTERN_STUTTER_H
#define POSTERN_STUTTER_H

#include "client_table.h"
#include "loop.h"
#include "span.h"

#define STUTTER_TEXT_CAP 640u /* with its struct well below 1 KiB */

struct stutter_options {
	uint64_t interval_ms; /* for each character; not 0 */
	uint64_t max, per_client;
};

struct stutterers;

int stutterers_create(struct loop *loop, struct client_table *clients, struct stutterers **out);

/* Everybody gets the rest of his reply. */
void stutterers_release(struct stutterers *st);
void stutterers_destroy(struct stutterers **stutterers);

/* client may be NULL: no limit for each then.  ERR_TOOLONG, ERR_NOMEM, or ERR_REFUSED when none may be held: fd and client stay the caller's. */
int stutter_start(struct stutterers *st, const struct stutter_options *options, const struct client_limits *limits, int fd, struct span text,
		  struct client *client);

size_t stutter_count(const struct stutterers *st);

#endif
