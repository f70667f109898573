/* cli_queue_print.h - the answers about the queue on standard output: as text, as JSON, in the manner of mailq.
 * Each printer takes lines as they come (struct control_answer), so that a long queue needs no memory.
 */
#ifndef POSTERN_CLI_QUEUE_PRINT_H
#define POSTERN_CLI_QUEUE_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "span.h"

enum cli_queue_form { CLI_QUEUE_TEXT, CLI_QUEUE_JSON, CLI_QUEUE_MAILQ };

struct cli_queue_printer {
	enum cli_queue_form form;
	bool has_filter;          /* set between begin and end: what is not shown may be there all the same */
	uint64_t count, bytes;
	json_t *message, *others; /* show: what=message, and the rest by what */
};

/* A listing: begin, a line for each message, end. */
void cli_queue_list_begin(struct cli_queue_printer *printer, enum cli_queue_form form);
void cli_queue_list_line(void *printer, struct span line);
void cli_queue_list_end(struct cli_queue_printer *printer, bool is_complete);

/* One message: collected, then printed by end.  JSON: {"message": {}, "recipients": [], ...}. */
void cli_queue_show_begin(struct cli_queue_printer *printer, enum cli_queue_form form);
void cli_queue_show_line(void *printer, struct span line);
void cli_queue_show_end(struct cli_queue_printer *printer);

/* The text of a message: every byte as it is, but onto a terminal only what is harmless there.  ctx is not used. */
void cli_queue_cat_bytes(void *ctx, struct span bytes);

#endif
