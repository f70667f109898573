/* fwd_control.h - what posternfwd answers an administrator on fwdctl.sock (control.h): `status`, and `queue` with
 * list, brief, show, cat, delete, hold, release or retry (queue_answer.h).
 * docs: posternfwd(8).  Every list is sent in pieces as the asker reads, and never holds up deliveries.
 */
#ifndef POSTERN_FWD_CONTROL_H
#define POSTERN_FWD_CONTROL_H

#include "control.h"
#include "forwarder.h"

/* The control_fn; ctx is the struct forwarder. */
void fwd_control_ask(void *ctx, struct control_client *client, struct span request);

#endif
