#include "cli_rules_json.h"

#include <stdio.h>
#include <stdlib.h>

json_t *cli_json_text(struct span text)
{
	if (text.len == 0)
		return json_null();
	json_t *json = json_stringn(text.ptr, text.len);
	if (json)
		return json;
	char *copy = malloc(text.len);
	if (!copy)
		return json_null();
	for (size_t i = 0; i < text.len; i++)
		copy[i] = (unsigned char)text.ptr[i] < 0x80 ? text.ptr[i] : '?';
	json = json_stringn(copy, text.len);
	free(copy);
	return json;
}

const char *cli_trace_result(const struct rules_trace *trace)
{
	return trace->result == TRI_TRUE ? "match" : trace->result == TRI_FALSE ? "no-match" : "unknown";
}

json_t *cli_json_trace(const struct rules_trace *trace)
{
	bool is_match = trace->result == TRI_TRUE;
	return json_pack("{s:I, s:o, s:s, s:o, s:o, s:o, s:o, s:b, s:o}", "line", (json_int_t)trace->rule_line, "action", cli_json_text(trace->action),
			 "result", cli_trace_result(trace), "list",
			 cli_json_text(is_match ? SPAN_NONE : span_of(rules_list_name(trace->decided_by))), "pattern",
			 cli_json_text(trace->pattern), "why", cli_json_text(span_of(trace->why)), "closest",
			 cli_json_text(trace->closest), "excepted", (int)trace->is_excepted, "value", cli_json_text(span_of(trace->value)));
}

json_t *cli_json_verdict(const struct rules_verdict *verdict, json_t *trace)
{
	json_t *needs = json_array();
	for (uint32_t bit = 1; bit && bit <= verdict->needs; bit <<= 1)
		if (verdict->needs & bit)
			json_array_append_new(needs, cli_json_text(span_of(verdict_need_name((enum verdict_need)bit))));
	return json_pack("{s:s, s:I, s:o, s:I, s:o, s:b, s:o, s:o}", "verdict", verdict_kind_name(verdict->kind), "line",
			 (json_int_t)verdict->rule_line, "reply", cli_json_text(span_of(verdict->reply)), "delay_s",
			 (json_int_t)verdict->delay_s, "needs", needs, "close", (int)verdict->close_session, "unknown",
			 cli_json_text(span_of(verdict->unknown_reason)), "trace", trace);
}

json_t *cli_json_check(const char *path, uint32_t rule_count, const struct rules_diags *diags)
{
	json_t *problems = json_array();
	for (const struct rules_diag *d = diags->first; d; d = d->next)
		json_array_append_new(problems, json_pack("{s:s, s:o, s:I, s:I, s:o}", "severity",
							  d->severity == RULES_ERROR ? "error" : "warning", "file",
							  cli_json_text(d->place.file), "line", (json_int_t)d->place.line, "column",
							  (json_int_t)d->place.column, "text", cli_json_text(d->text)));
	return json_pack("{s:o, s:I, s:I, s:I, s:o}", "file", cli_json_text(span_of(path)), "rules", (json_int_t)rule_count, "errors",
			 (json_int_t)diags->errors, "warnings", (json_int_t)diags->warnings, "problems", problems);
}

void cli_json_print(json_t *json)
{
	(void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	(void)putchar('\n');
	json_decref(json);
}
