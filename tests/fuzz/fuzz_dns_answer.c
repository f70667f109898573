/* DNS answers: any bytes become an answer within its bounds; what is printed as a host name is one. */
#include "dns_answer.h"

#include <stdlib.h>

#include "smtp_domain.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check(const struct dns_answer *answer)
{
	require(answer->status <= DNS_FAILED && answer->count <= DNS_RECORDS_MAX && answer->why);
	require((answer->status == DNS_FOUND) == (answer->count > 0));
	for (uint32_t i = 0; i < answer->count; i++) {
		const struct dns_record *r = &answer->records[i];
		require(!r->is_host || smtp_domain_is_valid(r->text, false));
		require(r->addr.family == ADDR_NONE || r->text.len == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_PTR, DNS_MX, DNS_NS, DNS_TXT };
	static const struct span names[] = { SPAN_LIT("a.b"), SPAN_LIT("1.2.0.192.in-addr.arpa"), SPAN_LIT("") };
	static struct dns_scratch scratch;
	for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
		for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
			struct dns_answer answer;
			dns_answer_parse((struct span){ (const char *)bytes, size }, names[n], types[t], &scratch, &answer);
			check(&answer);
		}
	return 0;
}
