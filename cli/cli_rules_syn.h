/* cli_rules_syn.h - what the gate would say to a client at its SYN, for `postern rules explain`: at once, and when sessions have asked the block
 * lists about this client.
 */
#ifndef POSTERN_CLI_RULES_SYN_H
#define POSTERN_CLI_RULES_SYN_H

#include <jansson.h>

#include "rules_syn.h"

struct cli_rules_syn {
	struct syn_verdict now, later;
	bool has_later; /* and it differs */
};

/* Wants what the lists say of the client: fetch it, then judge. */
void cli_rules_syn_want(const struct rules *rules, struct rules_facts *facts);

/* 0 or ERR_NOMEM. */
int cli_rules_syn_judge(struct rules *rules, const struct rules_facts *facts, struct cli_rules_syn *out);

void cli_rules_syn_print(const struct cli_rules_syn *syn);
json_t *cli_rules_syn_json(const struct cli_rules_syn *syn);

#endif
