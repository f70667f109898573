#include "cli_queue_select.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "kv.h"
#include "queue_filter.h"

enum kind { TAKES_PATTERN, TAKES_AGE, TAKES_SIZE, TAKES_BY, IS_ALL, IS_DRY_RUN };

static const struct option {
	const char *name; /* of the filter, too */
	enum kind kind;
} options[] = {
	{ "from", TAKES_PATTERN },  { "to", TAKES_PATTERN },	{ "client", TAKES_PATTERN }, { "destination", TAKES_PATTERN },
	{ "error", TAKES_PATTERN }, { "state", TAKES_PATTERN }, { "older", TAKES_AGE },	     { "younger", TAKES_AGE },
	{ "larger", TAKES_SIZE },   { "smaller", TAKES_SIZE },	{ "by", TAKES_BY },	     { "all", IS_ALL },
	{ "dry-run", IS_DRY_RUN },
};

/* "--from" or "--from=x" (then *value_out is "x"). */
static const struct option *find_option(const char *word, char **value_out)
{
	*value_out = NULL;
	if (strncmp(word, "--", 2) != 0)
		return NULL;
	size_t len = strcspn(word + 2, "=");
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		if (strlen(options[i].name) == len && strncmp(word + 2, options[i].name, len) == 0) {
			if (word[2 + len] == '=')
				*value_out = (char *)(uintptr_t)word + len + 3;
			return &options[i];
		}
	}
	return NULL;
}

static int add_number(struct cli_queue_select *out, const char *name, uint64_t number)
{
	return buf_printf(&out->filter, "%s=%" PRIu64 " ", name, number);
}

static int add_pattern(struct cli_queue_select *out, const char *name, const char *value)
{
	struct kv kv;
	kv_init(&kv);
	if (strlen(value) > KV_VALUE_CAP)
		return ERR_TOOLONG;
	kv_text(&kv, name, value);
	return buf_printf(&out->filter, "%s ", kv.text);
}

static enum cli_exit bad_value(const struct option *option, const char *value, const char *expected)
{
	cli_complain("--%s: '%s': expected %s", option->name, value, expected);
	return CLI_USAGE;
}

static enum cli_exit take_by(const struct option *option, const char *value, struct cli_queue_select *out)
{
	static const char *const names[] = { [CLI_BY_DESTINATION] = "destination", [CLI_BY_SENDER] = "sender", [CLI_BY_CLIENT] = "client" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(value, names[i]) == 0) {
			out->by = (enum cli_queue_by)i;
			out->has_by = true;
			return CLI_OK;
		}
	}
	return bad_value(option, value, "destination, sender or client");
}

static enum cli_exit take_value(const struct option *option, const char *value, struct cli_queue_select *out)
{
	uint64_t number;
	int err = 0;
	switch (option->kind) {
	case TAKES_BY: return take_by(option, value, out);
	case TAKES_AGE:
		if (conf_parse_duration(span_of(value), &number) != 0)
			return bad_value(option, value, "an age such as 90s, 30m, 4h or 5d");
		err = add_number(out, option->name, number);
		break;
	case TAKES_SIZE:
		if (conf_parse_size(span_of(value), &number) != 0)
			return bad_value(option, value, "a size such as 1000, 64K or 10M");
		err = add_number(out, option->name, number);
		break;
	default: err = add_pattern(out, option->name, value); break;
	}
	if (err)
		cli_complain("--%s: that is too long", option->name);
	return err ? CLI_USAGE : CLI_OK;
}

/* The daemon would say the same; but it is to be said before anything happens, also where no daemon is asked. */
static enum cli_exit check(const struct cli_queue_select *select)
{
	static struct queue_filter filter; /* large */
	struct reason why = { "" };
	if (queue_filter_parse(buf_span(&select->filter), &filter, &why) == 0)
		return CLI_OK;
	cli_complain("%s", why.text);
	return CLI_USAGE;
}

enum cli_exit cli_queue_select_take(int *argc, char **argv, struct cli_queue_select *out)
{
	int kept = 0;
	*out = (struct cli_queue_select){ .filter = { .cap = CONTROL_REQUEST_CAP - 64 } };
	for (int i = 0; i < *argc; i++) {
		char *value;
		const struct option *option = find_option(argv[i], &value);
		enum cli_exit code = CLI_OK;
		if (!option || i == 0) {
			argv[kept++] = argv[i];
			continue;
		}
		bool takes_value = option->kind != IS_ALL && option->kind != IS_DRY_RUN;
		if (takes_value && !value)
			value = i + 1 < *argc ? argv[++i] : NULL;
		if (takes_value != (value != NULL)) {
			cli_complain("--%s %s; see postern help", option->name, takes_value ? "needs a value" : "takes no value");
			code = CLI_USAGE;
		} else if (takes_value) {
			code = take_value(option, value, out);
		} else if (option->kind == IS_ALL) {
			out->all = true;
		} else {
			out->is_dry_run = true;
		}
		if (code != CLI_OK)
			return code;
	}
	*argc = kept;
	return check(out);
}
