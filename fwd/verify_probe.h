/* verify_probe.h - asks servers whether they take a recipient: MAIL FROM:<>, RCPT TO, RSET, on connections of its own, so that no mail
 * waits behind a question.  Few to one server, bounded in all, kept for further questions as those for mail are.
 * A server that can't be reached, hangs or breaks off is left alone for a minute: questions are refused meanwhile.
 * Calls back: on the loop, once for each question, never before the start has returned.  Owns: its connections.
 */
#ifndef POSTERN_VERIFY_PROBE_H
#define POSTERN_VERIFY_PROBE_H

#include <stddef.h>

#include "forwarder.h"
#include "route.h"
#include "verify_packet.h"

struct verify_probes;

int verify_probes_create(struct forwarder *f, struct verify_probes **out);
/* Questions under way are not answered any more. */
void verify_probes_destroy(struct verify_probes **probes);

/* reply: for VERIFY_NO the server's own ("550 5.1.1 no"); else why nobody can say.  For the call only. */
typedef void (*verify_probe_fn)(void *ctx, enum verify_result result, struct span reply);

/* key: of the route; both are copied.  ERR_BUSY: too many questions at once; ERR_REFUSED: the server does not answer at present. */
int verify_probe_start(struct verify_probes *probes, const struct route *route, const char *key, const char *path, verify_probe_fn done,
		       void *ctx);

size_t verify_probes_connections(const struct verify_probes *probes);

#endif
