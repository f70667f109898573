/* route.h - where a message goes next, and in whose name: the answer of the configuration to one envelope.
 * The listen section whose name the envelope carries decides; without that section there is no route, as any other may lead where
 * this mail must not go.  Our own messages (reports to senders), and all of a configuration without sections, take `bounce-via`; there
 * the original destination is the host that the reported mail came from.
 * Pure.
 */
#ifndef POSTERN_ROUTE_H
#define POSTERN_ROUTE_H

#include <stdbool.h>

#include "conf.h"
#include "envelope.h"
#include "message_id.h"

struct route {
	struct forward_spec spec;
	enum forward_identity identity;
	struct endpoint original; /* spec.kind FORWARD_ORIGINAL: the server */
	struct addr spoofed;      /* identity spoof: speak from here; else ADDR_NONE */
	enum forward_identity spoof_fallback; /* IDENTITY_SPOOF: mail waits */
	bool is_for_clients; /* the server judges the client, not us: spoof or xclient */
	bool is_verified; /* the section asks its server about recipients */
	enum tls_level tls;
	char tls_name[CONF_NAME_CAP]; /* whom the certificate must prove; empty: nobody known */
};

#define ROUTE_KEY_CAP 720

/* ERR_NOTFOUND: the listen section is not there (any more).  ERR_INVAL: `original`, but the envelope knows no original destination. */
int route_choose(const struct conf *conf, const struct spool_id *id, const struct spool_envelope *envelope, struct route *out);

/* The section that the envelope names, or the only one where it names none; NULL: there is no such. */
const struct conf_listen *route_find_listen(const struct conf *conf, const struct spool_envelope *envelope);

/* Where mail that comes in by that section now would go; in our own name, whatever its identity is.  ERR_NOTFOUND, ERR_INVAL as
 * above; ERR_UNSUPPORTED: the section does not ask its server about recipients. */
int route_choose_for_question(const struct conf *conf, const char *listener, const struct endpoint *dst, struct route *out);

/* The name of the destination: messages with the same key may share connections.  Returns key. */
const char *route_key(const struct route *route, char key[ROUTE_KEY_CAP]);

/* Is any way of this configuration a program (`sendmail:`)? */
bool route_uses_programs(const struct conf *conf);
/* Does any way ask for a certificate that proves a name? */
bool route_uses_verify(const struct conf *conf);
/* Does any way speak from a client's address? */
bool route_uses_spoof(const struct conf *conf);

/* Written by this forwarder itself. */
bool route_is_own(const struct spool_id *id);

#endif
