/* milter_spec.h - which filters there are: the `milter` vocabulary of postern.conf.
 *   milter = "inet:127.0.0.1:11332 name=rspamd fail=accept, unix:/run/opendkim/opendkim.sock"
 * Filters in their order, separated by commas.  Each is an address and, behind it, what is to be different for it:
 *   inet:HOST:PORT   HOST is a name, an IPv4 address or a bracketed IPv6 address
 *   inet6:HOST:PORT  the same; a name is looked up as IPv6
 *   unix:/path
 *   name=WORD        in the log and in postern status; else the address
 *   fail=tempfail|accept|reject, connect-timeout=, command-timeout=, content-timeout=  else what milter-fail and the like say
 * A struct milter_specs owns no memory and holds no pointer.
 */
#ifndef POSTERN_MILTER_SPEC_H
#define POSTERN_MILTER_SPEC_H

#include <stdint.h>

#include "addr.h"
#include "err.h"
#include "span.h"

#define MILTERS_MAX 8u
#define MILTER_NAME_CAP 64u

/* What becomes of a message, or of a recipient, when the filter can't be asked. */
enum milter_fail { MILTER_FAIL_TEMPFAIL, MILTER_FAIL_ACCEPT, MILTER_FAIL_REJECT };

struct milter_spec {
	char name[MILTER_NAME_CAP];
	char path[108];          /* unix; else empty */
	char host[256];          /* without brackets */
	uint16_t port;
	enum addr_family family; /* inet: ADDR_V4, inet6: ADDR_V6; an address in host goes before it */
	enum milter_fail fail;
	uint64_t connect_s, command_s, content_s;
};

struct milter_specs {
	size_t count;
	struct milter_spec list[MILTERS_MAX];
};

struct milter_defaults {
	enum milter_fail fail;
	uint64_t connect_s, command_s, content_s;
};

/* Empty text: none.  ERR_SYNTAX, ERR_TOOLONG, with a reason that says what was expected. */
int milter_specs_parse(struct span text, const struct milter_defaults *defaults, struct milter_specs *out, struct reason *why);

/* "inet:HOST:PORT" and the like, as it could stand in the configuration.  Returns text. */
#define MILTER_ADDRESS_CAP 288u
const char *milter_spec_address(const struct milter_spec *spec, char text[MILTER_ADDRESS_CAP]);

/* Another number for another address (but by chance). */
uint64_t milter_spec_address_hash(const struct milter_spec *spec);

const char *milter_fail_name(enum milter_fail fail);

#endif
