#include "cli_record.h"

#include <stdio.h>
#include <string.h>

#include "cli_text.h"
#include "kv.h"

static bool is_text_key(struct span key)
{
	static const char *const keys[] = { "what", "id", "from", "to", "rcpt", "recipient", "client", "client_name", "helo", "ident", "destination",
					    "dst", "error", "text", "reply", "version", "hostname", "spool", "rules", "interface", "iface", "listener",
					    "envid", "orcpt", "remote", "forward", "address" };
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (span_eq(key, span_of(keys[i])))
			return true;
	return false;
}

static bool to_number(struct span text, json_int_t *out)
{
	uint64_t value;
	bool is_negative = text.len > 1 && text.ptr[0] == '-';
	struct span digits = span_sub(text, is_negative, text.len);
	if ((digits.len > 1 && digits.ptr[0] == '0') || span_to_u64(digits, INT64_MAX, &value) != 0)
		return false;
	*out = is_negative ? -(json_int_t)value : (json_int_t)value;
	return true;
}

static json_t *to_text(struct span text)
{
	json_t *json = json_stringn(text.ptr, text.len);
	if (json)
		return json;
	struct buf safe = { 0 };
	json = cli_text_append(&safe, text, true) == 0 ? json_stringn(safe.data, safe.len) : NULL;
	buf_free(&safe);
	return json;
}

json_t *cli_record_parse(struct span line)
{
	json_t *record = json_object();
	struct kv_pair pair;
	while (record && kv_next(&line, &pair) == 0) {
		struct span value = { pair.value, pair.value_len };
		char key[64];
		json_int_t number;
		if (span_to_cstr(pair.key, key, sizeof key) != 0)
			continue;
		(void)json_object_set_new(record, key, !is_text_key(pair.key) && to_number(value, &number) ? json_integer(number) : to_text(value));
	}
	return record;
}

const char *cli_record_text(const json_t *record, const char *key)
{
	const char *text = json_string_value(json_object_get(record, key));
	return text ? text : "";
}

long long cli_record_number(const json_t *record, const char *key)
{
	return json_integer_value(json_object_get(record, key));
}

int cli_record_format(const json_t *value, struct buf *out)
{
	if (json_is_integer(value))
		return buf_printf(out, "%lld", (long long)json_integer_value(value));
	if (json_is_string(value) && json_string_length(value) > 0)
		return cli_text_append(out, (struct span){ json_string_value(value), json_string_length(value) }, false);
	return buf_append(out, "-", 1);
}

const char *cli_record_take_what(json_t *record, char what[CLI_WHAT_CAP])
{
	(void)snprintf(what, CLI_WHAT_CAP, "%s", cli_record_text(record, "what"));
	(void)json_object_del(record, "what");
	return what;
}

void cli_json_write(const json_t *json)
{
	(void)json_dumpf(json, stdout, JSON_INDENT(2));
	(void)putchar('\n');
}
