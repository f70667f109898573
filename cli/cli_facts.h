/* cli_facts.h - finds the facts that `postern rules explain` and `replay` lack, and waits for them: a tool may block.
 * The servers are those of resolv.conf.  Answers are kept from one fetch to the next, so a log full of the same clients asks once.
 * Fails: says so on standard error, once; then every fact is failed.
 */
#ifndef POSTERN_CLI_FACTS_H
#define POSTERN_CLI_FACTS_H

#include "facts.h"

struct cli_facts;

/* NULL after a failure, which is all right: nothing is looked up then. */
struct cli_facts *cli_facts_open(void);

/* Every fact that was FACT_NOT_ASKED is settled when it returns. */
void cli_facts_fetch(struct cli_facts *finder, struct rules_facts *facts);

void cli_facts_close(struct cli_facts **finder);

#endif
