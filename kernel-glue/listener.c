#include "listener.h"

#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(struct reason *why, const struct listener_spec *spec, const char *what)
{
	char at[ENDPOINT_TEXT_CAP];
	int errnum = errno;
	endpoint_format(&spec->local, at);
	return reason_set(why, err_from_errno(errnum), "%s%s%s: %s: %s", at, spec->iface ? " on " : "", spec->iface ? spec->iface : "", what,
			  strerror(errnum));
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

static int make_transparent(int fd, const struct listener_spec *spec, struct reason *why)
{
	bool v6 = spec->local.addr.family == ADDR_V6;
	if (set_int(fd, v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1) == 0)
		return 0;
	if (errno == ENOPROTOOPT)
		return reason_set(why, ERR_UNSUPPORTED,
				  "this kernel has no transparent sockets (IP_TRANSPARENT): use mode = redirect, or a kernel with TPROXY (nft_tproxy)");
	return fail(why, spec, "IP_TRANSPARENT");
}

/* A socket that is bound but does not listen yet. */
static int open_bound(const struct listener_spec *spec, bool shared, int *fd_out, struct reason *why)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = endpoint_to_sockaddr(&spec->local, &sa);
	bool v6 = spec->local.addr.family == ADDR_V6;
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = 0;
	if (fd < 0)
		return fail(why, spec, "socket");
	if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) != 0 || (shared && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) != 0))
		err = fail(why, spec, "SO_REUSEPORT");
	/* v4 and v6 have groups of their own: their steering programs read different headers. */
	else if (v6 && set_int(fd, SOL_IPV6, IPV6_V6ONLY, 1) != 0)
		err = fail(why, spec, "IPV6_V6ONLY");
	else if (spec->iface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, spec->iface, (socklen_t)strlen(spec->iface) + 1) != 0)
		err = fail(why, spec, "SO_BINDTODEVICE");
	if (!err && spec->is_transparent)
		err = make_transparent(fd, spec, why);
	if (!err && bind(fd, (struct sockaddr *)&sa, sa_len) != 0) {
		err = fail(why, spec, "bind");
		if (err == ERR_BUSY)
			err = reason_prefix(why, err, "the port is taken, perhaps by another mail server or postern (see: ss -ltnp)");
	}
	if (err)
		(void)close(fd);
	else
		*fd_out = fd;
	return err;
}

/* With SO_REUSEPORT the kernel lets a second server of the same user share the port without a word.  A bind without it sees
 * whether somebody is there. */
static int check_port_is_free(const struct listener_spec *spec, struct reason *why)
{
	int fd;
	int err = open_bound(spec, false, &fd, why);
	if (err)
		return err;
	/* Listening members of another group show only at listen(). */
	if (listen(fd, 1) != 0) {
		err = fail(why, spec, "listen");
		if (err == ERR_BUSY)
			err = reason_prefix(why, err, "the port is taken, perhaps by another mail server or postern (see: ss -ltnp)");
	}
	(void)close(fd);
	return err;
}

/* hash(source address) mod members.  Multiplicative hashing (Knuth): neighbours spread over all workers.  with_port: the port behind a
 * header of the usual length counts, too; options in the header only make another number of it. */
static int steer_by_source(int fd, bool v6, bool with_port, size_t members)
{
	const uint32_t net = (uint32_t)SKF_NET_OFF;
	struct sock_filter v4_code[] = {
		BPF_STMT(BPF_LD | (with_port ? BPF_H | BPF_ABS : BPF_IMM), with_port ? net + 20 : 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, net + 12),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1u),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, (uint32_t)members),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_filter v6_code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, net + 8),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, net + 12),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | (with_port ? BPF_H | BPF_ABS : BPF_IMM), with_port ? net + 40 : 0),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1u),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, (uint32_t)members),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog prog = { .len = sizeof v4_code / sizeof *v4_code, .filter = v4_code };
	if (v6)
		prog = (struct sock_fprog){ .len = sizeof v6_code / sizeof *v6_code, .filter = v6_code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof prog);
}

int listener_open_group(const struct listener_spec *spec, size_t members, int fds_out[LISTENER_MEMBERS_MAX], struct reason *why)
{
	int fds[LISTENER_MEMBERS_MAX];
	size_t opened = 0;
	assert(members > 0 && members <= LISTENER_MEMBERS_MAX);
	if (spec->iface && if_nametoindex(spec->iface) == 0)
		return reason_set(why, ERR_NOTFOUND, "there is no interface '%s' (see: ip link)", spec->iface);
	int err = check_port_is_free(spec, why);
	while (!err && opened < members) {
		err = open_bound(spec, true, &fds[opened], why);
		if (err)
			break;
		/* The order of listen() is the index that the program returns. */
		if (listen(fds[opened++], spec->backlog) != 0)
			err = fail(why, spec, "listen");
	}
	if (!err && members > 1 && steer_by_source(fds[0], spec->local.addr.family == ADDR_V6, spec->is_behind_balancer, members) != 0)
		err = fail(why, spec, "SO_ATTACH_REUSEPORT_CBPF");
	if (err) {
		while (opened > 0)
			(void)close(fds[--opened]);
		return err;
	}
	memcpy(fds_out, fds, sizeof fds[0] * members);
	return 0;
}
