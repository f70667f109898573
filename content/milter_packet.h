/* milter_packet.h - the packets of the milter protocol, version 6, as sendmail and Postfix speak it with libmilter's filters.
 * Pure: bytes in, values out, and the other way round.  A packet is a length of 4 bytes (network order; of the command and its data), the
 * command, its data.  A filter is a stranger: every length and every end of a text is checked, and what is no packet is ERR_PROTO.
 * Borrows: the spans in a packet or an answer lie in the bytes it was read from.
 */
#ifndef POSTERN_MILTER_PACKET_H
#define POSTERN_MILTER_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "span.h"

#define MILTER_VERSION 6u
#define MILTER_PACKET_CAP (1u << 20)  /* read: command and data; a longer one is ERR_PROTO */
#define MILTER_CHUNK_BYTES 65535u     /* written: the data of a packet; libmilter takes no more unless asked to */
#define MILTER_TEXT_CAP 65536u        /* read: of one text */
#define MILTER_HEAD_BYTES 5u          /* length and command */

/* What we say. */
enum milter_command {
	MILTER_ABORT = 'A',
	MILTER_BODY = 'B',
	MILTER_CONNECT = 'C',
	MILTER_MACRO = 'D',
	MILTER_BODY_END = 'E',
	MILTER_HELO = 'H',
	MILTER_HEADER = 'L',
	MILTER_MAIL = 'M',
	MILTER_HEADERS_END = 'N',
	MILTER_NEGOTIATE = 'O',
	MILTER_QUIT = 'Q',
	MILTER_RCPT = 'R',
	MILTER_DATA = 'T',
};

/* What the filter answers (MILTER_NEGOTIATE, too). */
enum milter_reply {
	MILTER_ADD_RCPT = '+',
	MILTER_DEL_RCPT = '-',
	MILTER_ADD_RCPT_PAR = '2',
	MILTER_SHUTDOWN = '4',
	MILTER_ACCEPT = 'a',
	MILTER_REPLACE_BODY = 'b',
	MILTER_CONTINUE = 'c',
	MILTER_DISCARD = 'd',
	MILTER_CHANGE_FROM = 'e',
	MILTER_CONN_FAIL = 'f',
	MILTER_ADD_HEADER = 'h',
	MILTER_INSERT_HEADER = 'i',
	MILTER_CHANGE_HEADER = 'm',
	MILTER_PROGRESS = 'p',
	MILTER_QUARANTINE = 'q',
	MILTER_REJECT = 'r',
	MILTER_SKIP = 's',
	MILTER_TEMPFAIL = 't',
	MILTER_REPLY_CODE = 'y',
};

/* What a filter may do at the end of a message. */
enum {
	MILTER_MAY_ADD_HEADERS = 0x1,
	MILTER_MAY_CHANGE_BODY = 0x2,
	MILTER_MAY_ADD_RCPT = 0x4,
	MILTER_MAY_DEL_RCPT = 0x8,
	MILTER_MAY_CHANGE_HEADERS = 0x10,
	MILTER_MAY_QUARANTINE = 0x20,
	MILTER_MAY_CHANGE_FROM = 0x40,
	MILTER_MAY_ADD_RCPT_PAR = 0x80,
	MILTER_MAY_SET_MACROS = 0x100,
	MILTER_ACTIONS = 0x1ff, /* all that we know */
};

/* What a filter does not want to be told, or will not answer (NR). */
enum {
	MILTER_NO_CONNECT = 0x1,
	MILTER_NO_HELO = 0x2,
	MILTER_NO_MAIL = 0x4,
	MILTER_NO_RCPT = 0x8,
	MILTER_NO_BODY = 0x10,
	MILTER_NO_HEADERS = 0x20,
	MILTER_NO_EOH = 0x40,
	MILTER_NR_HEADER = 0x80,
	MILTER_NO_UNKNOWN = 0x100,
	MILTER_NO_DATA = 0x200,
	MILTER_CAN_SKIP = 0x400,
	MILTER_RCPT_REJECTED = 0x800, /* wants to hear of refused recipients as well */
	MILTER_NR_CONNECT = 0x1000,
	MILTER_NR_HELO = 0x2000,
	MILTER_NR_MAIL = 0x4000,
	MILTER_NR_RCPT = 0x8000,
	MILTER_NR_DATA = 0x10000,
	MILTER_NR_UNKNOWN = 0x20000,
	MILTER_NR_EOH = 0x40000,
	MILTER_NR_BODY = 0x80000,
	MILTER_LEADING_SPACE = 0x100000, /* header values with the space behind the colon, both ways */
	MILTER_STEPS = 0x1fffff,         /* all that we know */
};

/* Where macros are sent; the numbers of the list in a filter's MILTER_NEGOTIATE. */
enum milter_stage {
	MILTER_AT_CONNECT,
	MILTER_AT_HELO,
	MILTER_AT_MAIL,
	MILTER_AT_RCPT,
	MILTER_AT_DATA,
	MILTER_AT_END,  /* of the message */
	MILTER_AT_EOH,
	MILTER_STAGES
};

struct milter_packet {
	char command;
	struct span data;
};

/* The first packet of in.  0, and *used_out bytes were it; ERR_AGAIN: not there yet; ERR_PROTO: what stands there is none. */
int milter_packet_read(struct span in, struct milter_packet *out, size_t *used_out);

/* ---- what a filter says */

struct milter_options {
	uint32_t version, actions, steps;
	struct span macros[MILTER_STAGES]; /* names, as the filter wrote them; ptr NULL: it gave no list for that stage */
};

/* The data of its MILTER_NEGOTIATE.  ERR_PROTO also for a version below 2. */
int milter_options_read(struct span data, struct milter_options *out);

/* The data of any other answer, each text without its NUL. */
struct milter_change {
	uint32_t index;     /* of INSERT_HEADER and CHANGE_HEADER */
	struct span first;  /* name of a header, address, reason, reply, piece of a body */
	struct span second; /* value of a header; arguments of an address, empty where there are none */
};
int milter_change_read(const struct milter_packet *packet, struct milter_change *out);

/* ---- what we say.  All fail as buf does; then nothing was appended. */

int milter_options_write(struct buf *out, uint32_t actions, uint32_t steps);

/* A command with texts, each of which gets its NUL.  A text ends at a NUL of its own.  ERR_TOOLONG: more than MILTER_CHUNK_BYTES. */
int milter_command_write(struct buf *out, enum milter_command command, const struct span *texts, size_t count);

/* family: '4', '6' or 'U' (unknown: neither port nor address is sent). */
int milter_connect_write(struct buf *out, struct span name, char family, uint16_t port, struct span address);

/* The head of a macro packet, for the command that follows it; then its names and values by milter_text_write; milter_packet_end closes it. */
int milter_macros_begin(struct buf *out, enum milter_command command, size_t *begin_out);
int milter_text_write(struct buf *out, struct span text);
/* ERR_TOOLONG: more than MILTER_CHUNK_BYTES; then the packet is gone. */
int milter_packet_end(struct buf *out, size_t begin);

/* The head of a BODY packet, whose len bytes of data the caller sends behind it. */
int milter_body_head_write(struct buf *out, size_t len);

#endif
