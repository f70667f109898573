/* cli_queue_stats.h - `postern queue stats`: how long mail has waited, by destination, in the columns of Postfix's qshape.
 * Counts the lines of a listing as they come: memory for each destination (sender domain, client), not for each message.
 */
#ifndef POSTERN_CLI_QUEUE_STATS_H
#define POSTERN_CLI_QUEUE_STATS_H

#include <jansson.h>
#include <stdbool.h>

#include "cli_queue_select.h"
#include "span.h"

struct cli_queue_stats {
	enum cli_queue_by by;
	json_t *rows; /* name -> array: total, then one number an age */
};

void cli_queue_stats_begin(struct cli_queue_stats *stats, enum cli_queue_by by);
/* A control_answer's line; ctx is the stats. */
void cli_queue_stats_line(void *ctx, struct span line);
/* Prints, most first, and gives the memory back. is_complete false: prints nothing. */
void cli_queue_stats_end(struct cli_queue_stats *stats, bool is_json, bool is_complete);

#endif
