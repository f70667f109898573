#include "nfnl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "nft_message.h"

/* A dump's datagrams are at most 32 KiB; what is heard is smaller. */
#define RECEIVE_CAP 65536
#define SEND_ROOM (8 << 20)
/* Some thousand elements at once, each in a datagram of its own. */
#define HEAR_ROOM (32 << 20)
/* An answer of millions of elements is none of ours. */
#define ASK_DATAGRAMS_MAX 200000u

struct nfnl {
	struct mnl_socket *socket;
	uint32_t seq;
	char buffer[RECEIVE_CAP] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static int open_groups(unsigned group, struct nfnl **out, struct reason *why)
{
	const int room = SEND_ROOM, hear_room = HEAR_ROOM;
	struct nfnl *nl = calloc(1, sizeof *nl);
	if (!nl)
		return reason_set(why, ERR_NOMEM, "netfilter's netlink: no memory");
	nl->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!nl->socket || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) != 0) {
		int err = err_from_errno(errno);
		reason_set(why, err, "netfilter's netlink: %s: does the kernel have nf_tables?", strerror(errno));
		nfnl_close(&nl);
		return err;
	}
	int fd = mnl_socket_get_fd(nl->socket), number = (int)group;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &hear_room, sizeof hear_room);
	if (group && mnl_socket_setsockopt(nl->socket, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) != 0) {
		int err = reason_set(why, err_from_errno(errno), "netfilter's netlink: no news of nf_tables: %s", strerror(errno));
		nfnl_close(&nl);
		return err;
	}
	*out = nl;
	return 0;
}

int nfnl_open(struct nfnl **out, struct reason *why)
{
	return open_groups(0, out, why);
}

int nfnl_open_changes(struct nfnl **out, struct reason *why)
{
	return open_groups(NFNLGRP_NFTABLES, out, why);
}

int nfnl_fd(const struct nfnl *nl)
{
	return mnl_socket_get_fd(nl->socket);
}

void nfnl_close(struct nfnl **nl)
{
	if (!*nl)
		return;
	if ((*nl)->socket)
		(void)mnl_socket_close((*nl)->socket);
	free(*nl);
	*nl = NULL;
}

/* 0: a message for the asker; 1: the end of an answer; else a refusal. */
static int judge(const struct nlmsghdr *m, int *errno_out)
{
	if (m->nlmsg_type == NLMSG_DONE)
		return 1;
	if (m->nlmsg_type != NLMSG_ERROR)
		return 0;
	const struct nlmsgerr *refusal = mnl_nlmsg_get_payload(m);
	if (mnl_nlmsg_get_payload_len(m) < sizeof *refusal)
		return ERR_PROTO;
	if (refusal->error == 0)
		return 1;
	if (errno_out)
		*errno_out = -refusal->error;
	return err_from_errno(-refusal->error);
}

int nfnl_send(struct nfnl *nl, const void *bytes, size_t len, int *errno_out)
{
	int err = 0, said = 0;
	if (mnl_socket_sendto(nl->socket, bytes, len) < 0) {
		if (errno_out)
			*errno_out = errno;
		return err_from_errno(errno);
	}
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof nl->buffer);
		if (got < 0 && errno == EINTR)
			continue;
		/* ENOBUFS: of thousands of refusals not all found room; the first one did. */
		if (got < 0 && errno == ENOBUFS)
			continue;
		if (got <= 0)
			break;
		struct span rest = { nl->buffer, (size_t)got };
		for (const struct nlmsghdr *m; (m = netlink_next(&rest)) != NULL;) {
			int verdict = judge(m, err ? NULL : &said);
			if (verdict < 0 && !err)
				err = verdict;
		}
	}
	if (err && errno_out)
		*errno_out = said;
	return err;
}

/* Is that all?  The first failure stays in *err; what comes behind it is still read, or the next question would find the socket busy. */
static bool hand_on(struct nfnl *nl, size_t len, int *err, nfnl_message_fn fn, void *ctx)
{
	struct span rest = { nl->buffer, len };
	for (const struct nlmsghdr *m; (m = netlink_next(&rest)) != NULL;) {
		if (m->nlmsg_seq != nl->seq)
			continue;
		int verdict = judge(m, NULL);
		if (m->nlmsg_flags & NLM_F_DUMP_INTR && !*err)
			*err = ERR_AGAIN;
		if (verdict < 0 && !*err)
			*err = verdict;
		if (verdict)
			return true;
		if (!*err || *err == ERR_AGAIN) {
			int failed = fn(ctx, m);
			*err = failed ? failed : *err;
		}
	}
	return false;
}

int nfnl_ask(struct nfnl *nl, const struct nlmsghdr *question, nfnl_message_fn fn, void *ctx)
{
	int err = 0;
	bool is_dump = (question->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct nlmsghdr *copy = (void *)nl->buffer;
	if (question->nlmsg_len > sizeof nl->buffer)
		return ERR_TOOLONG;
	memcpy(copy, question, question->nlmsg_len);
	copy->nlmsg_seq = ++nl->seq;
	if (mnl_socket_sendto(nl->socket, copy, copy->nlmsg_len) < 0)
		return err_from_errno(errno);
	for (unsigned i = 0; i < ASK_DATAGRAMS_MAX; i++) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof nl->buffer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err ? err : errno == EAGAIN && !is_dump ? 0 : err_from_errno(errno);
		if (hand_on(nl, (size_t)got, &err, fn, ctx))
			return err;
	}
	return ERR_TOOLONG;
}

int nfnl_hear(struct nfnl *nl, unsigned budget, nfnl_message_fn fn, void *ctx)
{
	while (budget--) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, nl->buffer, sizeof nl->buffer);
		if (got < 0)
			return errno == ENOBUFS ? ERR_NOSPACE : errno == EINTR || errno == EAGAIN ? ERR_EOF : ERR_IO;
		struct span rest = { nl->buffer, (size_t)got };
		for (const struct nlmsghdr *m; (m = netlink_next(&rest)) != NULL;)
			(void)fn(ctx, m);
	}
	return 0;
}
