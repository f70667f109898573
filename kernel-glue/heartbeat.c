#include "heartbeat.h"

#include <string.h>

#define ALIVE "alive"
#define CLOSED "closed"

/* The type ifname . inet_service: each part fills whole registers of four bytes. */
struct alive_key {
	char name[16];
	uint8_t port[4];
};

static void one(struct nft_batch *batch, bool is_addition, const char *set, const void *key, size_t len, uint64_t timeout_ms)
{
	struct nft_elements e;
	if (is_addition)
		nft_elements_add(batch, set, &e);
	else
		nft_elements_delete(batch, set, &e);
	nft_elements_each(&e, key, len, 0, timeout_ms);
	nft_elements_end(&e);
}

/* Adding what is there already does not renew its time-out on every kernel; deleting what is not there fails: so all three. */
static void set_element(struct nft_batch *batch, bool is_there, const char *set, const void *key, size_t len, uint64_t timeout_ms)
{
	one(batch, true, set, key, len, timeout_ms);
	one(batch, false, set, key, len, 0);
	if (is_there)
		one(batch, true, set, key, len, timeout_ms);
}

void heartbeat_write(struct nft_batch *batch, const struct heartbeat_iface *ifaces, size_t count, uint64_t timeout_ms)
{
	for (size_t i = 0; i < count; i++) {
		struct alive_key key = { .port = { HEARTBEAT_PORT >> 8, HEARTBEAT_PORT & 0xff } };
		memcpy(key.name, ifaces[i].name, sizeof key.name);
		set_element(batch, ifaces[i].is_alive, ALIVE, &key, sizeof key, timeout_ms);
		if (ifaces[i].fail != HEARTBEAT_LEAVE)
			set_element(batch, ifaces[i].fail == HEARTBEAT_CLOSED, CLOSED, key.name, sizeof key.name, 0);
	}
}
