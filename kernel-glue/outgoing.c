#include "outgoing.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

int outgoing_open(enum addr_family family, bool is_transparent, int *fd_out, struct reason *why)
{
	bool v6 = family == ADDR_V6;
	const int on = 1;
	const uint32_t mark = CONF_OWN_MARK;
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "socket: %s", strerror(errno));
	const char *what = "SO_MARK";
	int failed = setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
	if (!failed && is_transparent) {
		what = "IP_TRANSPARENT";
		failed = setsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof on);
	}
	if (!failed) {
		/* The port is chosen at connect(), so many sockets may speak from one address. */
		what = "IP_BIND_ADDRESS_NO_PORT";
		failed = setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	}
	if (failed) {
		int err = reason_set(why, err_from_errno(errno), "%s: %s", what, strerror(errno));
		(void)close(fd);
		return err;
	}
	*fd_out = fd;
	return 0;
}

#define PEER_WORDS_MAX 4u
#define PEER_FILTER_CAP (PEER_WORDS_MAX * 2 + 4)

/* Lets in only what comes from one port of one address, and stays: whoever gets the descriptor may end the connection and begin another
 * from the same address, but hears nothing of its peer, so it never comes about. */
static int hear_only(int fd, const struct endpoint *peer, struct reason *why)
{
	struct sock_filter code[PEER_FILTER_CAP];
	unsigned words = addr_bits(&peer->addr) / 32, source_at = peer->addr.family == ADDR_V6 ? 8 : 12, n = 0;
	const int on = 1;
	for (unsigned i = 0; i < words; i++) {
		uint32_t word;
		memcpy(&word, peer->addr.bytes + 4 * i, sizeof word);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + source_at + 4 * i);
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(word), 0, (uint8_t)(2 * (words - 1 - i) + 3));
	}
	/* A filter of a TCP socket sees the packet from its TCP header on. */
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, peer->port, 0, 1);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = { (unsigned short)n, code };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) != 0)
		return reason_set(why, err_from_errno(errno), "SO_ATTACH_FILTER: %s", strerror(errno));
	return 0;
}

static int connect_from(int fd, const struct endpoint *from, unsigned ifindex, const struct endpoint *to, struct reason *why)
{
	struct sockaddr_storage sa;
	const int index = (int)ifindex;
	if (ifindex && setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof index) != 0)
		return reason_set(why, err_from_errno(errno), "SO_BINDTOIFINDEX: %s", strerror(errno));
	int err = hear_only(fd, to, why);
	if (err)
		return err;
	socklen_t len = endpoint_to_sockaddr(from, &sa);
	if (bind(fd, (struct sockaddr *)&sa, len) != 0)
		return reason_set(why, err_from_errno(errno), "bind: %s", strerror(errno));
	len = endpoint_to_sockaddr(to, &sa);
	if (connect(fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS)
		return reason_set(why, err_from_errno(errno), "connect: %s", strerror(errno));
	return 0;
}

int outgoing_connect_from(const struct addr *from, bool is_transparent, unsigned ifindex, const struct endpoint *to, int *fd_out,
			  struct reason *why)
{
	const struct endpoint local = { *from, 0 };
	int fd;
	int err = outgoing_open(from->family, is_transparent, &fd, why);
	if (err)
		return err;
	err = connect_from(fd, &local, ifindex, to, why);
	if (err)
		(void)close(fd);
	else
		*fd_out = fd;
	return err;
}
