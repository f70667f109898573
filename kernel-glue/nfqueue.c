#include "nfqueue.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "packet.h"

#define BATCH 64u
/* The head of a packet and what the kernel says about it: times, interfaces, hardware address, user. */
#define MESSAGE_CAP (PACKET_HEAD_MAX + 512u)
/* Bytes of packets that wait in the socket: at about 1 KiB of kernel memory each, as many as the queue may hold. */
#define SOCKET_BYTES (16 * 1024 * 1024)
#define ACK_TRIES 2048u
#define ACK_TIMEOUT_S 2

struct nfqueue {
	int fd;
	uint16_t number;
	struct mmsghdr headers[BATCH];
	struct iovec parts[BATCH];
	_Alignas(8) char messages[BATCH][MESSAGE_CAP];
	_Alignas(8) char verdicts[BATCH * NFQUEUE_VERDICT_CAP];
	size_t verdict_len;
	/* A run of packets with the same verdict, not written out yet. */
	bool has_run;
	uint32_t run_last_id;
	struct nfqueue_verdict run;
};

static bool same_verdict(const struct nfqueue_verdict *a, const struct nfqueue_verdict *b)
{
	return a->action == b->action && a->sets_mark == b->sets_mark && (!a->sets_mark || a->mark == b->mark);
}

static void end_run(struct nfqueue *q)
{
	if (q->has_run)
		q->verdict_len += nfqueue_verdict_build(q->number, q->run_last_id, &q->run, q->verdicts + q->verdict_len);
	q->has_run = false;
}

static void add_verdict(struct nfqueue *q, uint32_t id, const struct nfqueue_verdict *verdict)
{
	if (q->has_run && !same_verdict(&q->run, verdict))
		end_run(q);
	q->has_run = true;
	q->run_last_id = id;
	q->run = *verdict;
}

/* A verdict that could not be sent is made good by the next one, which speaks for all packets before it. */
static void send_verdicts(struct nfqueue *q)
{
	end_run(q);
	if (q->verdict_len)
		(void)send(q->fd, q->verdicts, q->verdict_len, 0);
	q->verdict_len = 0;
}

static int open_socket(struct nfqueue *q, struct reason *why)
{
	const struct sockaddr_nl own = { .nl_family = AF_NETLINK };
	const struct timeval timeout = { .tv_sec = ACK_TIMEOUT_S };
	const int on = 1, bytes = SOCKET_BYTES;
	q->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (q->fd < 0)
		return reason_set(why, errno == EPROTONOSUPPORT ? ERR_UNSUPPORTED : err_from_errno(errno),
				  "no netfilter netlink socket: %s (is the kernel module nfnetlink there?)", strerror(errno));
	if (bind(q->fd, (const struct sockaddr *)&own, sizeof own) != 0 || setsockopt(q->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
		return reason_set(why, err_from_errno(errno), "netlink socket: %s", strerror(errno));
	/* FORCE goes beyond net.core.rmem_max; without the right to that, what the limit allows. */
	if (setsockopt(q->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
		(void)setsockopt(q->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	/* What did not fit shows in the counters; an error to every reader would only take time from those that wait. */
	(void)setsockopt(q->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
	return 0;
}

static int refused(const struct nfqueue_setup *setup, int errnum, struct reason *why)
{
	struct nfqueue_counts counts;
	if (errnum == EPERM && nfqueue_counts_read(setup->number, &counts) == 0)
		return reason_set(why, ERR_BUSY, "queue %u is taken by another program (see /proc/net/netfilter/nfnetlink_queue)", setup->number);
	if (errnum == EINVAL || errnum == EOPNOTSUPP)
		return reason_set(why, ERR_UNSUPPORTED, "queue %u: this kernel has no NFQUEUE: load the module nfnetlink_queue", setup->number);
	return reason_set(why, err_from_errno(errnum), "queue %u: %s", setup->number, strerror(errnum));
}

/* Packets may come before the answer: they pass, since nobody is there to judge them yet. */
static int await_ack(struct nfqueue *q, const struct nfqueue_setup *setup, struct reason *why)
{
	static const struct nfqueue_verdict accept = { .action = NFQUEUE_ACCEPT };
	struct nfqueue_packet packet;
	int errnum = 0;
	for (unsigned tries = 0; tries < ACK_TRIES; tries++) {
		ssize_t len = recv(q->fd, q->messages[0], MESSAGE_CAP, 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return reason_set(why, ERR_TIMEOUT, "queue %u: no answer of the kernel: %s", setup->number, strerror(errno));
		switch (nfqueue_message_read((struct span){ q->messages[0], (size_t)len }, &packet, &errnum)) {
		case NFQUEUE_PACKET:
			add_verdict(q, packet.id, &accept);
			send_verdicts(q);
			break;
		case NFQUEUE_ACK: return errnum ? refused(setup, errnum, why) : 0;
		case NFQUEUE_OTHER: break;
		}
	}
	return reason_set(why, ERR_TIMEOUT, "queue %u: no answer of the kernel among its packets", setup->number);
}

int nfqueue_open(const struct nfqueue_setup *setup, struct nfqueue **out, struct reason *why)
{
	_Alignas(8) char message[NFQUEUE_SETUP_CAP];
	struct nfqueue *q = calloc(1, sizeof *q);
	if (!q)
		return reason_set(why, ERR_NOMEM, "no memory");
	q->number = setup->number;
	int err = open_socket(q, why);
	if (!err && send(q->fd, message, nfqueue_setup_build(setup, message), 0) < 0)
		err = refused(setup, errno, why);
	if (!err)
		err = await_ack(q, setup, why);
	for (size_t i = 0; i < BATCH; i++) {
		q->parts[i] = (struct iovec){ q->messages[i], MESSAGE_CAP };
		q->headers[i].msg_hdr = (struct msghdr){ .msg_iov = &q->parts[i], .msg_iovlen = 1 };
	}
	if (err)
		nfqueue_close(&q);
	else
		*out = q;
	return err;
}

int nfqueue_fd(const struct nfqueue *queue)
{
	return queue->fd;
}

void nfqueue_close(struct nfqueue **queue)
{
	if (!*queue)
		return;
	if ((*queue)->fd >= 0)
		(void)close((*queue)->fd);
	free(*queue);
	*queue = NULL;
}

int nfqueue_run(struct nfqueue *queue, nfqueue_judge_fn judge, void *ctx)
{
	struct nfqueue_packet packet;
	int errnum;
	for (unsigned done = 0; done < NFQUEUE_BUDGET; done += BATCH) {
		int count = recvmmsg(queue->fd, queue->headers, BATCH, MSG_DONTWAIT, NULL);
		if (count < 0)
			return errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM ? 0 : ERR_IO;
		for (int i = 0; i < count; i++) {
			struct span bytes = { queue->messages[i], queue->headers[i].msg_len };
			if (nfqueue_message_read(bytes, &packet, &errnum) != NFQUEUE_PACKET)
				continue;
			struct nfqueue_verdict verdict = judge(ctx, &packet);
			add_verdict(queue, packet.id, &verdict);
		}
		send_verdicts(queue);
		if ((unsigned)count < BATCH)
			break;
	}
	return 0;
}

int nfqueue_counts_read(uint16_t number, struct nfqueue_counts *out)
{
	/* Of this thread's network namespace: /proc/net is that of the process. */
	FILE *file = fopen("/proc/thread-self/net/netfilter/nfnetlink_queue", "re");
	char line[160];
	int err = file ? ERR_NOTFOUND : err_from_errno(errno);
	while (err == ERR_NOTFOUND && file && fgets(line, sizeof line, file)) {
		struct nfqueue_counts c;
		uint64_t found;
		if (sscanf(line, "%" SCNu64 " %*u %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64, &found, &c.waiting, &c.dropped_full,
			   &c.dropped_user, &c.queued) != 5 || found != number)
			continue;
		*out = c;
		err = 0;
	}
	if (file)
		(void)fclose(file);
	return err;
}
