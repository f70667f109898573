/* name_servers.h - which DNS servers to ask: from postern.conf or from resolv.conf(5).
 * A struct name_servers owns no memory and holds no pointer: it can be sent to a role as bytes.
 */
#ifndef POSTERN_NAME_SERVERS_H
#define POSTERN_NAME_SERVERS_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"

#define NAME_SERVERS_MAX 8
#define NAME_SERVERS_RESOLV_CONF "/etc/resolv.conf"

struct name_servers {
	uint64_t count; /* 0: nobody may be asked */
	struct endpoint list[NAME_SERVERS_MAX];
};

/* "192.0.2.53 192.0.2.54:5353 [2001:db8::53]:53 [2001:db8::54]", separated by spaces, tabs or commas; "none" is none at all.
 * ERR_SYNTAX with a reason; ERR_TOOLONG: more than NAME_SERVERS_MAX. */
int name_servers_parse(struct span text, struct name_servers *out, struct reason *why);

/* The nameserver lines of a resolv.conf.  Lines that make no sense and servers beyond the limit are passed over, as by the C library;
 * no server at all means 127.0.0.1. */
void name_servers_from_resolv_conf(struct span text, struct name_servers *out);

/* option: what `resolver =` says; "" reads NAME_SERVERS_RESOLV_CONF (a file that is not there counts as empty). */
int name_servers_find(const char *option, struct name_servers *out, struct reason *why);

#endif
