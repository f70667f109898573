/* ipc.h - messages with descriptors between processes of ours, over SOCK_SEQPACKET socketpairs.
 * One packet is one message: a header (type, length) that the receiver checks against the packet, a payload of at most
 * IPC_PAYLOAD_CAP bytes, at most IPC_FDS_CAP descriptors.  The receiver checks the payload's size for its type: a sibling may be
 * taken over.  Structs are sent as bytes: both ends are the same executable (roles are re-executed from /proc/self/exe).
 * A process that is out of descriptors gets a message without them: the receiver checks fd_count, and only that request fails.
 * Fails: ERR_PROTO with a packet that is no message; the channel should then be closed.
 */
#ifndef POSTERN_IPC_H
#define POSTERN_IPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "loop.h"

#define IPC_PAYLOAD_CAP 65536u
#define IPC_FDS_CAP 4

struct ipc_message {
	uint32_t type;
	size_t len;
	int fds[IPC_FDS_CAP]; /* the receiver owns them; -1 beyond fd_count */
	size_t fd_count;
	const void *payload;  /* valid until the next receive; aligned for any type */
};

/* A pair of sockets, close-on-exec, not blocking.  The caller owns both. */
int ipc_pair(int fds_out[2]);

/* Send one message; the descriptors stay the caller's.  ERR_AGAIN when the socket is full, ERR_EOF when the other end is gone. */
int ipc_send(int fd, uint32_t type, const void *payload, size_t len, const int *fds, size_t fd_count);

/* Wait up to timeout_ms for one message: for the start of a role, before there is a loop.  ERR_TIMEOUT, ERR_EOF, ERR_PROTO. */
int ipc_receive_wait(int fd, int timeout_ms, struct ipc_message *out);

/* The descriptor in that place, the caller's from here on; -1: none came, or it was taken. */
int ipc_message_take_fd(struct ipc_message *msg, size_t index);

/* Close the descriptors of a message that nobody wants. */
void ipc_message_drop(struct ipc_message *msg);

/* A channel on the loop.  Owns fd.  on_message may destroy the channel; descriptors it does not take (sets to -1) are closed
 * behind it.  on_closed runs once, when the other end is gone or broke the protocol; the channel is then dead and still to be
 * destroyed.  Sending queues what does not fit at once, up to a bound (ERR_NOSPACE beyond it: the other end hangs). */
struct ipc_channel;
typedef void (*ipc_message_fn)(void *ctx, struct ipc_message *msg);
typedef void (*ipc_closed_fn)(void *ctx, int err);

int ipc_channel_create(struct loop *loop, int fd, ipc_message_fn on_message, ipc_closed_fn on_closed, void *ctx, struct ipc_channel **out);
int ipc_channel_send(struct ipc_channel *ch, uint32_t type, const void *payload, size_t len, const int *fds, size_t fd_count);

/* The other end does not read as fast as we send: something is queued. */
bool ipc_channel_is_behind(const struct ipc_channel *ch);
void ipc_channel_destroy(struct ipc_channel **ch);

#endif
