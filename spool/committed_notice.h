/* committed_notice.h - how a session worker tells posternfwd that records are durable.
 * Over SPOOL/fwd.sock (SOCK_SEQPACKET, packets of lib/ipc.h): the master connects, says whose connection this is (NOTICE_WORKER, the
 * number of the worker as uint32_t), and passes it to that worker.  From there on one way, worker to forwarder: NOTICE_COMMITTED with
 * one struct spool_committed, only for segments with that worker's number in their names.  The notices of a segment are cumulative:
 * a lost or repeated one does no harm, and none goes back behind another.  After a (re)connection the worker says again where its
 * segment stands.
 * The forwarder answers none of it.  The same connection carries questions about recipients (lib/verify_packet.h); all others go to
 * SPOOL/fwdctl.sock.
 */
#ifndef POSTERN_COMMITTED_NOTICE_H
#define POSTERN_COMMITTED_NOTICE_H

#include "writer.h"

enum { NOTICE_COMMITTED = 16, NOTICE_WORKER };

#define SPOOL_FWD_CTL_SOCKET "fwdctl.sock"

#endif
