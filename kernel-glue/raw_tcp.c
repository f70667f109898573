#include "raw_tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf.h"

/* IPPROTO_RAW: sends packets with their IP header, and receives nothing. */
static int open_one(int family, int *fd_out, struct reason *why)
{
	const uint32_t mark = CONF_OWN_MARK;
	const int bytes = 4 * 1024 * 1024;
	int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0 && errno == EAFNOSUPPORT)
		return 0;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
		int errnum = errno;
		if (fd >= 0)
			(void)close(fd);
		return reason_set(why, err_from_errno(errnum), "raw socket for IPv%d: %s", family == AF_INET ? 4 : 6, strerror(errnum));
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	*fd_out = fd;
	return 0;
}

int raw_tcp_open_prepriv(struct raw_tcp *out, struct reason *why)
{
	struct raw_tcp raw = { -1, -1 };
	int err = open_one(AF_INET, &raw.v4_fd, why);
	if (!err)
		err = open_one(AF_INET6, &raw.v6_fd, why);
	if (err)
		raw_tcp_close(&raw);
	*out = raw;
	return err;
}

void raw_tcp_close(struct raw_tcp *raw)
{
	if (raw->v4_fd >= 0)
		(void)close(raw->v4_fd);
	if (raw->v6_fd >= 0)
		(void)close(raw->v6_fd);
	raw->v4_fd = raw->v6_fd = -1;
}

int raw_tcp_send(const struct raw_tcp *raw, const struct packet_answer *answer, uint32_t ifindex)
{
	uint8_t packet[PACKET_ANSWER_CAP];
	struct sockaddr_storage sa;
	const struct endpoint to = { .addr = answer->to.addr }; /* a port would be taken for a protocol */
	const bool is_v6 = to.addr.family == ADDR_V6;
	const int fd = is_v6 ? raw->v6_fd : raw->v4_fd;
	if (fd < 0)
		return ERR_UNSUPPORTED;
	socklen_t sa_len = endpoint_to_sockaddr(&to, &sa);
	if (is_v6 && to.addr.bytes[0] == 0xfe && (to.addr.bytes[1] & 0xc0) == 0x80)
		((struct sockaddr_in6 *)&sa)->sin6_scope_id = ifindex;
	size_t len = packet_build(answer, packet);
	return sendto(fd, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sa, sa_len) < 0 ? err_from_errno(errno) : 0;
}
