/* dns_answer.h - the bytes of a DNS answer, turned into records (RFC 1035, RFC 2308, RFC 7505).  Pure: no I/O, no allocation.
 * Written by us and not ares_parse_*(): those allocate, forget the time to live of a negative answer, and take addresses whatever name they stand at.
 * Promise: any bytes end in an answer, at worst DNS_FAILED.  Bounds: DNS_RECORDS_MAX records, DNS_CHAIN_MAX aliases, DNS_RR_MAX records
 * looked at; a name's compression pointers only ever go backwards.
 */
#ifndef POSTERN_DNS_ANSWER_H
#define POSTERN_DNS_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "span.h"

#define DNS_NAME_MAX 253 /* as text, without the last dot */
#define DNS_RECORDS_MAX 256
#define DNS_CHAIN_MAX 10
#define DNS_RR_MAX 1024
#define DNS_TEXT_BYTES 16384

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28 };

enum dns_status {
	DNS_FOUND,   /* at least one record */
	DNS_NO_DATA, /* the name is there, no such record */
	DNS_NO_NAME, /* the name is not there (NXDOMAIN) */
	DNS_FAILED   /* not known: time-out, SERVFAIL, rubbish; see why */
};

struct dns_record {
	struct addr addr;    /* A, AAAA */
	struct span text;    /* NS, PTR, MX: the name in lower case without its last dot, empty for the root; TXT: its bytes */
	uint16_t preference; /* MX */
	bool is_host;        /* NS, PTR, MX: the name is a host name; else it is printable, but no name to believe */
};

struct dns_answer {
	enum dns_status status;
	uint32_t ttl_s; /* as the servers said, 0 where they did not (a negative answer with 0: 1); out of dns_cache.h: how long it is still kept there */
	uint32_t count;
	const struct dns_record *records;
	const char *why; /* DNS_FAILED: a text that lives for ever; else "" */
};

/* Where dns_answer_parse puts what it finds; an answer points into it. */
struct dns_scratch {
	struct dns_record records[DNS_RECORDS_MAX];
	char text[DNS_TEXT_BYTES];
	size_t text_used;
};

/* The answer in wire to a question for name and type.  Records of other names, types and classes are passed over; aliases are followed
 * inside the message. */
void dns_answer_parse(struct span wire, struct span name, enum dns_type type, struct dns_scratch *scratch, struct dns_answer *out);

#endif
