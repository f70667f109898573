/* cli_rules_json.h - the JSON of `postern rules`; private to cli_rules*.c. */
#ifndef POSTERN_CLI_RULES_JSON_H
#define POSTERN_CLI_RULES_JSON_H

#include <jansson.h>

#include "rules.h"

/* The text, or null when it is empty; bytes that are not UTF-8 become question marks. */
json_t *cli_json_text(struct span text);

/* One object of the trace: {"line", "action", "result": "match" | "no-match" | "unknown", "list", "pattern", "why",
 * and for no-match "closest", "excepted", "value"}. */
json_t *cli_json_trace(const struct rules_trace *trace);
const char *cli_trace_result(const struct rules_trace *trace);

/* {"verdict", "line", "reply", "delay_s", "needs", "close", "unknown", "trace"}; takes trace over. */
json_t *cli_json_verdict(const struct rules_verdict *verdict, json_t *trace);

/* {"file", "rules", "errors", "warnings", "problems": [{"severity", "file", "line", "column", "text"}]}. */
json_t *cli_json_check(const char *path, uint32_t rule_count, const struct rules_diags *diags);

/* Prints and frees it. */
void cli_json_print(json_t *json);

#endif
