/* milter_macros.h - what filters are told beside the commands: the macros of sendmail, as far as we know their values.
 * Pure.  A filter may have said which macros it wants at which stage (SETSYMLIST); without, it gets those that sendmail and Postfix send.
 */
#ifndef POSTERN_MILTER_MACROS_H
#define POSTERN_MILTER_MACROS_H

#include "addr.h"
#include "milter_packet.h"

enum milter_resolve { MILTER_NAME_TEMP, MILTER_NAME_OK, MILTER_NAME_FAIL };

/* About one connection and one message.  Empty spans are not known. */
struct milter_facts {
	struct span hostname;     /* j */
	struct span iface;        /* {daemon_name}, {if_name}: where the client came in */
	struct endpoint client;
	struct endpoint dst;      /* {daemon_addr}, {daemon_port}, {if_addr}: where it wanted to go */
	struct span client_name;  /* confirmed */
	enum milter_resolve resolve;
	uint32_t connections;     /* {client_connections}; 0: not counted */
	struct span helo;
	struct span proto;        /* r: ESMTP or SMTP */
	int64_t time;             /* b: when the message came, seconds since 1970; 0: not known */
	struct span id;           /* i */
	struct span from;         /* without angle brackets */
	struct span from_args;    /* ESMTP, separated by one space */
};

/* Where in the message. */
struct milter_moment {
	struct span rcpt;         /* at RCPT, without angle brackets */
	struct span rcpt_args;    /* ESMTP, separated by one space */
	struct span rcpt_refusal; /* at RCPT: the reply that it got instead; empty: it was accepted */
	size_t rcpts;             /* {nrcpts} */
};

/* "name [address]", or "[address]". */
#define MILTER_CLIENT_TEXT_CAP 320u
struct span milter_client_text(const struct milter_facts *facts, char out[MILTER_CLIENT_TEXT_CAP]);

/* Append the macro packet that goes in front of the command; nothing where no macro is known.  names: of a filter (milter_options), ptr
 * NULL: those that are usual at that stage. */
int milter_macros_write(struct buf *out, enum milter_stage stage, enum milter_command command, struct span names,
			const struct milter_facts *facts, const struct milter_moment *moment);

#endif
