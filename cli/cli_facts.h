/* cli_facts.h - finds the facts that `postern rules explain` lacks, and waits for them: a tool may block.
 * The servers are those of resolv.conf.  Every fact that was FACT_NOT_ASKED is settled when it returns.
 */
#ifndef POSTERN_CLI_FACTS_H
#define POSTERN_CLI_FACTS_H

#include "facts.h"

void cli_facts_fetch(struct rules_facts *facts);

#endif
