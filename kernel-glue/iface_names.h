/* iface_names.h - from the index of an interface, as packets carry it, to its name, without opening anything after the start.
 * Interfaces can be renamed and made anew: what was found is asked again when iface_names_forget has been called.
 */
#ifndef POSTERN_IFACE_NAMES_H
#define POSTERN_IFACE_NAMES_H

#include <net/if.h>
#include <stdint.h>

#include "err.h"

#define IFACE_NAMES_KEPT 64u

struct iface_names {
	int fd; /* any socket can be asked */
	struct {
		uint32_t index; /* 0: free */
		char name[IF_NAMESIZE];
	} kept[IFACE_NAMES_KEPT];
};

int iface_names_open(struct iface_names *out);
void iface_names_close(struct iface_names *names);

/* "" when there is none of that index.  Valid until the next call. */
const char *iface_names_get(struct iface_names *names, uint32_t index);
void iface_names_forget(struct iface_names *names);

#endif
