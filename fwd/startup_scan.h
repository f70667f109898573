/* startup_scan.h - finds, at the start, every message that an earlier run left in the spool, while mail is delivered already.
 * Reads as long as BEFORE_DOORS_MS before anything else begins, so that a short queue is known from the first moment on; then in loop
 * jobs, a segment or 64 files at a time, until all is known.
 * What a record and a file of the same message, or a segment and its living writer, say at the same time is sorted out here: each
 * message is taken once.
 */
#ifndef POSTERN_STARTUP_SCAN_H
#define POSTERN_STARTUP_SCAN_H

#include "forwarder.h"

struct startup_scan;

/* Blocks for that long.  Sets f->startup_scan unless all is known when it returns. */
int startup_scan_begin(struct forwarder *f, struct reason *why);
/* The loop runs from now on. */
void startup_scan_go_on(struct forwarder *f);
/* Segments and messages that were not looked at yet; 0: it is over. */
size_t startup_scan_left(const struct forwarder *f);
/* While no job of it runs. */
void startup_scan_destroy(struct forwarder *f);

#endif
