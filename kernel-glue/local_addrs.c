#include "local_addrs.h"

#include <errno.h>
#include <ifaddrs.h>
#include <string.h>

#include "err.h"

int local_addrs_read(struct local_addrs *out)
{
	struct ifaddrs *list;
	struct local_addrs found = { 0 };
	if (getifaddrs(&list) != 0)
		return err_from_errno(errno);
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		struct endpoint e;
		if (!i->ifa_addr || endpoint_from_sockaddr(i->ifa_addr, &e) != 0)
			continue;
		if (found.count == LOCAL_ADDRS_MAX)
			found.is_cut = true;
		else
			found.addrs[found.count++] = e.addr;
	}
	freeifaddrs(list);
	*out = found;
	return 0;
}

bool local_addrs_eq(const struct local_addrs *a, const struct local_addrs *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!addr_eq(&a->addrs[i], &b->addrs[i]))
			return false;
	return true;
}

bool local_addrs_has(const struct local_addrs *set, const struct addr *a)
{
	if (addr_is_loopback(a) || addr_is_any(a))
		return true;
	for (uint32_t i = 0; i < set->count && i < LOCAL_ADDRS_MAX; i++)
		if (addr_eq(&set->addrs[i], a))
			return true;
	return false;
}
