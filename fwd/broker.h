/* broker.h - the small process that opens the sockets of our own connections: marked (the loop guard) and, for `identity = spoof`,
 * transparent.  Both need CAP_NET_ADMIN, which the forwarder itself gives away: it reads what servers say.
 * The process is this program, executed anew with BROKER_ROLE_ARG; it keeps that capability alone, in an empty chroot, and answers
 * one question only.  It can't be started again after the drop; while it is gone, plain sockets serve where they can.
 */
#ifndef POSTERN_BROKER_H
#define POSTERN_BROKER_H

#include <stdbool.h>

#include "addr.h"
#include "err.h"
#include "loop.h"
#include "priv.h"

#define BROKER_ROLE_ARG "--role=sockets"

struct broker;
struct broker_request;

/* Start the process; *fd_out is our end of its pipe. */
int broker_start_prepriv(const struct priv_user *user, const char *chroot_dir, int *fd_out, struct reason *why);

/* Its main: argv carries the user, descriptors the pipe and the directory of the chroot. */
int broker_run(int argc, char **argv);

/* fd -1: there is no process, sockets are plain.  Owns fd. */
int broker_create(struct loop *loop, int fd, struct broker **out);
void broker_destroy(struct broker **broker);
bool broker_is_alive(const struct broker *broker);

/* A socket: not blocking, not bound.  Without the process: plain, or ERR_UNSUPPORTED where it has to be transparent.
 * done runs on the loop, once, unless cancelled; err 0: fd is the receiver's. */
typedef void (*broker_done_fn)(void *ctx, int err, int fd);
int broker_ask(struct broker *broker, enum addr_family family, bool is_transparent, broker_done_fn done, void *ctx,
	       struct broker_request **out);
void broker_cancel(struct broker_request **request);

#endif
