/* milter_script.h - what a filter is told of a message, stage by stage, each with its macros, and what a filter may spare itself of it.
 * Pure: appends packets (milter_packet.h) to a buffer.
 */
#ifndef POSTERN_MILTER_SCRIPT_H
#define POSTERN_MILTER_SCRIPT_H

#include "milter_headers.h"
#include "milter_macros.h"

/* In their order.  At those without a command nothing is said. */
enum milter_script_stage {
	SCRIPT_CLOSED, /* no connection yet */
	SCRIPT_CONNECTING,
	SCRIPT_NEGOTIATE,
	SCRIPT_CONNECT,
	SCRIPT_HELO,
	SCRIPT_MAIL,
	SCRIPT_READY, /* nothing to do */
	SCRIPT_RCPT,
	SCRIPT_DATA,
	SCRIPT_HEADER,
	SCRIPT_EOH,
	SCRIPT_BODY,
	SCRIPT_END,
	SCRIPT_OVER, /* nothing more will be said */
	SCRIPT_STAGES
};

struct milter_script_part {
	const char *name; /* for logs */
	enum milter_command command;
	bool has_macros;
	enum milter_stage macros;
	uint32_t no, no_reply; /* bits of milter_options.steps: it does not want to hear this; it will not answer */
};
extern const struct milter_script_part milter_script[SCRIPT_STAGES];

/* There is nothing to tell at this stage, or the filter does not want to hear it. */
bool milter_script_is_unwanted(enum milter_script_stage stage, const struct milter_options *options, const struct milter_facts *facts,
			       const struct milter_moment *moment);

/* All that is said at a stage other than HEADER and BODY: its macros, its command.  All fail as buf does. */
int milter_script_write(struct buf *out, enum milter_script_stage stage, const struct milter_options *options, const struct milter_facts *facts,
			const struct milter_moment *moment);

/* One field of the header, cut to what a packet holds.  has_space: as milter_field_show. */
int milter_script_write_field(struct buf *out, const struct milter_field *field, bool has_space);

/* As much of the body's piece as goes into a packet: cut off its front. */
int milter_script_write_piece(struct buf *out, struct span *piece);

#endif
