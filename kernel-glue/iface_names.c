#include "iface_names.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int iface_names_open(struct iface_names *out)
{
	memset(out, 0, sizeof *out);
	out->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return out->fd < 0 ? err_from_errno(errno) : 0;
}

void iface_names_close(struct iface_names *names)
{
	if (names->fd >= 0)
		(void)close(names->fd);
	names->fd = -1;
}

const char *iface_names_get(struct iface_names *names, uint32_t index)
{
	struct ifreq ask = { .ifr_ifindex = (int)index };
	const size_t slot = index % IFACE_NAMES_KEPT;
	if (names->kept[slot].index == index && index)
		return names->kept[slot].name;
	names->kept[slot].index = index;
	names->kept[slot].name[0] = '\0';
	if (index && ioctl(names->fd, SIOCGIFNAME, &ask) == 0)
		memcpy(names->kept[slot].name, ask.ifr_name, IF_NAMESIZE - 1);
	return names->kept[slot].name;
}

void iface_names_forget(struct iface_names *names)
{
	for (size_t i = 0; i < IFACE_NAMES_KEPT; i++)
		names->kept[i].index = 0;
}
