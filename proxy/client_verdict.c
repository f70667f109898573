#include "client_verdict.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"

void client_verdict_tell(struct ipc_channel *master, enum kernel_set_purpose purpose, uint32_t listen_index, int connection_fd)
{
	const struct role_client_verdict told = { .purpose = purpose, .listen_index = listen_index };
	if (master && !ipc_channel_is_behind(master))
		(void)ipc_channel_send(master, ROLE_CLIENT_VERDICT, &told, sizeof told, &connection_fd, 1);
}

static int ends_of(int fd, struct endpoint *client, struct endpoint *local)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	if (getpeername(fd, (struct sockaddr *)&sa, &len) != 0 || endpoint_from_sockaddr((struct sockaddr *)&sa, client) != 0)
		return ERR_PROTO;
	len = sizeof sa;
	return getsockname(fd, (struct sockaddr *)&sa, &len) != 0 || endpoint_from_sockaddr((struct sockaddr *)&sa, local) != 0 ? ERR_PROTO : 0;
}

/* Did it come in by that listener?  A connection of the worker's own has a port that the kernel chose, and is tied to no interface. */
static bool is_of_listener(int fd, const struct conf_listen *l, uint16_t local_port)
{
	unsigned ifindex = 0;
	socklen_t len = sizeof ifindex;
	bool has_port = local_port == l->port || (l->mode == LISTEN_TPROXY && local_port < 1024);
	if (strcmp(l->iface, "*") == 0)
		return has_port;
	return has_port && getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, &len) == 0 && ifindex != 0;
}

int client_verdict_who(const struct role_conf *conf, uint32_t listen_index, int connection_fd, struct addr *out)
{
	struct endpoint client, local;
	if (listen_index >= conf->conf.listen_count || connection_fd < 0 || ends_of(connection_fd, &client, &local) != 0 ||
	    !is_of_listener(connection_fd, &conf->conf.listen[listen_index], local.port))
		return ERR_PROTO;
	if (addr_is_loopback(&client.addr) || local_addrs_has(&conf->local_addrs, &client.addr))
		return ERR_PERM;
	*out = client.addr;
	return 0;
}

int client_verdict_check(struct client_verdicts *v, const struct role_conf *conf, uint32_t worker, uint64_t now_ms,
			 const struct role_client_verdict *told, int connection_fd, struct gate_client *out)
{
	struct addr client;
	assert(worker < LISTENER_MEMBERS_MAX);
	if (told->purpose != KSET_BLOCK && told->purpose != KSET_PASS && told->purpose != KSET_TARPIT)
		return ERR_PROTO;
	int err = client_verdict_who(conf, told->listen_index, connection_fd, &client);
	if (err)
		return err;
	if (told->purpose == KSET_BLOCK && conf->conf.listen[told->listen_index].trusted)
		return ERR_PERM;
	if (!token_bucket_take(&v->workers[worker], CLIENT_VERDICTS_A_MINUTE, now_ms)) {
		if (!v->has_complained)
			log_event(LOG_LEVEL_WARN, "client-verdicts", "worker %u says drop or pass of more than %u clients a minute: the rest is left to sessions",
				  worker, CLIENT_VERDICTS_A_MINUTE);
		v->has_complained = true;
		return ERR_AGAIN;
	}
	*out = (struct gate_client){ .purpose = told->purpose, .addr = client };
	return 0;
}
