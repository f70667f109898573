/* control.h - an administrator's question to a running daemon, and its answer, over a unix socket.
 * A question is one line of words ("queue list"); an answer is key=value lines (kv.h), each a record of the listing, or raw bytes
 * (a message's text), and an end with a result.  SOCK_SEQPACKET with the packets of ipc.h.
 * Only root and the daemon's own user are answered (SO_PEERCRED), whatever the socket's mode.
 */
#ifndef POSTERN_CONTROL_H
#define POSTERN_CONTROL_H

#include <stdint.h>

#include "err.h"
#include "ipc.h"
#include "kv.h"
#include "loop.h"
#include "span.h"

/* Packet types below 16 are control.h's; other protocols over ipc.h count from 16. */
enum { CONTROL_REQUEST = 1, CONTROL_LINE = 2, CONTROL_BYTES = 3, CONTROL_END = 4 };

#define CONTROL_REQUEST_CAP 4096

/* A listening socket at path, mode 0600; a stale one that nobody listens on is replaced.  ERR_BUSY: another daemon is there. */
int control_listen(const char *path, int *fd_out, struct reason *why);

/* ---- the daemon's side */

struct control_server;
struct control_client; /* one connection; goes away by itself */

/* Called for each question.  It may answer at once or later, with any number of lines and exactly one control_end.  When the asker hangs
 * up meanwhile, gone runs (if set by control_on_gone) and the client must not be used any more. */
typedef void (*control_fn)(void *ctx, struct control_client *client, struct span request);

int control_server_create(struct loop *loop, int listen_fd, control_fn fn, void *ctx, struct control_server **out); /* owns listen_fd */
void control_server_destroy(struct control_server **server);

/* What the asker does not take at once is queued.  ERR_AGAIN: too much of it (256 KiB), the asker reads slowly, wait for room (control_on_room) and send this one again; ERR_EOF: the asker is gone. */
int control_line(struct control_client *client, const struct kv *kv);
int control_bytes(struct control_client *client, struct span bytes); /* at most IPC_PAYLOAD_CAP */
void control_end(struct control_client *client, int err, const char *text);
void control_on_gone(struct control_client *client, loop_fn gone, void *ctx);
void control_on_room(struct control_client *client, loop_fn room, void *ctx);

/* ---- the asker's side: blocks */

struct control_answer {
	void (*line)(void *ctx, struct span line);
	void (*bytes)(void *ctx, struct span bytes);
	void *ctx;
};

/* Ask and hand on the answer as it comes.  ERR_NOTFOUND or ERR_REFUSED: no daemon listens there; ERR_TIMEOUT: silent for timeout_ms;
 * else what the daemon said at the end, with its text as the reason. */
int control_ask(const char *path, const char *request, int timeout_ms, const struct control_answer *answer, struct reason *why);

#endif
