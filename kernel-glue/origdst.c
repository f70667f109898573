#include "origdst.h"

#include <errno.h>
#include <netinet/in.h> /* in front of the kernel's headers, which then leave out what it has */
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <string.h>
#include <sys/socket.h>

static int fail(struct reason *why, const char *what)
{
	/* ENOTCONN: reset between accept and now. */
	int err = errno == ENOTCONN || errno == EINVAL ? ERR_EOF : err_from_errno(errno);
	return reason_set(why, err, "%s: %s", what, strerror(errno));
}

/* A v4-mapped peer on a v6 socket is tracked as IPv4: SOL_IPV6 would give ENOENT for it. */
static int ask_conntrack(int fd, bool v6, struct endpoint *out, struct reason *why)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	int failed = v6 ? getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &sa, &len) : getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &sa, &len);
	if (failed) {
		if (errno == ENOENT)
			return reason_set(why, ERR_REFUSED, "not diverted: connection tracking does not know it (it looks in zone 0: see conntrack-zone)");
		if (errno == ENOPROTOOPT)
			return reason_set(why, ERR_UNSUPPORTED, "this kernel has no SO_ORIGINAL_DST (nf_conntrack): use mode = tproxy");
		return fail(why, "SO_ORIGINAL_DST");
	}
	return endpoint_from_sockaddr((struct sockaddr *)&sa, out);
}

int origdst_find(int fd, const struct endpoint *client, enum listen_mode mode, uint16_t listen_port, struct origdst *out, struct reason *why)
{
	struct origdst found = { .client = *client };
	struct endpoint local;
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return fail(why, "getsockname");
	int err = endpoint_from_sockaddr((struct sockaddr *)&sa, &local);
	if (err)
		return reason_set(why, err, "getsockname: unknown address family");
	len = sizeof found.mark;
	if (getsockopt(fd, SOL_SOCKET, SO_MARK, &found.mark, &len) != 0)
		found.mark = 0;
	found.mark &= ~CONF_TPROXY_MARK; /* ours, and says nothing about the client */
	found.original = local;
	if (mode == LISTEN_REDIRECT)
		err = ask_conntrack(fd, client->addr.family == ADDR_V6, &found.original, why);
	*out = found;
	if (err || mode == LISTEN_DIRECT)
		return err;
	/* Undiverted, both ways of asking give the listener's own end.  A diverted connection that was meant for port
	 * listen_port of another host can't be told from a hit on a transparent listener: refused too, on the safe side. */
	bool hit = mode == LISTEN_REDIRECT ? endpoint_eq(&found.original, &local) : local.port == listen_port;
	if (hit)
		return reason_set(why, ERR_REFUSED, "a direct hit on the listening port, not diverted");
	return 0;
}
