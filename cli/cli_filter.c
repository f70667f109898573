#include "cli_filter.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli_rules.h"
#include "cli_text.h"
#include "conf.h"
#include "filter_file.h"
#include "filter_scan.h"
#include "mime_walk.h"
#include "rules_source.h"
#include "smtp_dot.h"

static const char usage_text[] =
	"usage: postern filter check FILE\n"
	"       postern filter try [--filter FILE] MESSAGE...\n"
	"try looks at messages in files as posternd would while it receives them; - is the standard input.\n"
	"Without --filter, the file is the one of the configuration.\n";

static enum cli_exit usage(const char *problem)
{
	cli_complain("filter: %s", problem);
	(void)fputs(usage_text, stderr);
	return CLI_USAGE;
}

struct filter_set *cli_filter_load(const char *path, struct rules_diags *diags)
{
	struct rules_source *source = NULL;
	struct filter_set *set = NULL;
	struct reason why;
	if (rules_source_read_one(path, FILTER_FILE_MAX, &source, &why) != 0) {
		cli_complain("content filter: %s", why.text);
		return NULL;
	}
	const struct rules_source_file *file = rules_source_get(source, 0);
	if (filter_set_compile(file->path, file->text, diags, &set) == ERR_NOMEM)
		cli_complain("content filter: no memory");
	rules_source_release(&source);
	return set;
}

static enum cli_exit check(const char *path)
{
	struct rules_diags diags = { 0 };
	struct filter_set *set = cli_filter_load(path, &diags);
	cli_rules_print_diags(&diags);
	if (set)
		(void)printf("%s: %zu pattern%s, no errors, %u warning%s\n", path, filter_set_count(set), cli_text_plural(filter_set_count(set)),
			     diags.warnings, cli_text_plural(diags.warnings));
	else if (diags.errors)
		(void)fprintf(stderr, "%s: %u error%s, %u warning%s: not usable\n", path, diags.errors, cli_text_plural(diags.errors), diags.warnings,
			      cli_text_plural(diags.warnings));
	enum cli_exit code = set ? CLI_OK : CLI_FAILED;
	filter_set_release(&set);
	rules_diags_free(&diags);
	return code;
}

static int push_file(FILE *file, struct filter_scan *scan)
{
	char bytes[16384];
	struct buf wire = { .cap = 1u << 20 };
	struct smtp_dot dot;
	size_t len;
	int err = 0;
	smtp_dot_init(&dot);
	while (!err && (len = fread(bytes, 1, sizeof bytes, file)) > 0) {
		err = smtp_dot_push(&dot, (struct span){ bytes, len }, &wire);
		filter_scan_push_all(scan, buf_span(&wire));
		buf_clear(&wire);
	}
	if (!err)
		err = smtp_dot_finish(&dot, &wire);
	filter_scan_push_all(scan, buf_span(&wire));
	buf_free(&wire);
	return err ? err : ferror(file) ? ERR_IO : 0;
}

static void print_result(const char *name, const struct filter_result *result)
{
	char flags[128] = "";
	if (result->mime_flags) {
		mime_walk_flags_text(result->mime_flags, flags, sizeof flags);
		(void)printf("%s: not everything was decoded (%s)\n", name, flags);
	}
	if (result->outcome == FILTER_MATCHED) {
		(void)printf("%s: refused by line %u of the filter (%s): ", name, result->rule_line, filter_kind_name(result->kind));
		cli_text_put(stdout, result->text);
		(void)printf("\n");
	} else if (result->outcome == FILTER_UNKNOWN) {
		(void)printf("%s: not known: %s (line %u of the filter)\n", name, result->why, result->rule_line);
	} else {
		(void)printf("%s: passes\n", name);
	}
}

/* CLI_FAILED: it does not pass, or cannot be read. */
static enum cli_exit try_one(const char *name, struct filter_set *set)
{
	bool is_stdin = strcmp(name, "-") == 0;
	struct filter_result result = { .outcome = FILTER_UNKNOWN };
	struct filter_scan *scan = NULL;
	FILE *file = is_stdin ? stdin : fopen(name, "re");
	int err = file ? filter_scan_create(set, &scan) : err_from_errno(errno);
	if (!err)
		err = push_file(file, scan);
	if (err) {
		cli_complain("%s: cannot be read (%s)", name, err_name(err));
	} else {
		filter_scan_end(scan, &result);
		print_result(name, &result);
	}
	filter_scan_destroy(&scan);
	if (file && !is_stdin)
		(void)fclose(file);
	return !err && result.outcome == FILTER_PASS ? CLI_OK : CLI_FAILED;
}

static enum cli_exit try_all(const char *path, int count, char **names)
{
	struct rules_diags diags = { 0 };
	struct filter_set *set = cli_filter_load(path, &diags);
	enum cli_exit code = set ? CLI_OK : CLI_FAILED;
	if (!set)
		cli_rules_print_diags(&diags);
	for (int i = 0; set && i < count; i++)
		if (try_one(names[i], set) != CLI_OK)
			code = CLI_FAILED;
	filter_set_release(&set);
	rules_diags_free(&diags);
	return code;
}

/* The configuration's file. */
static const char *configured(const struct cli_options *options)
{
	static struct conf conf; /* large */
	struct reason why = { "" };
	if (conf_read(options->conf_path ? options->conf_path : CLI_DEFAULT_CONF, &conf, &why) != 0)
		cli_complain("%s", why.text);
	else if (conf.filter[0])
		return conf.filter;
	else
		cli_complain("the configuration has no filter: name a file with --filter");
	return NULL;
}

static enum cli_exit run_try(int argc, char **argv, struct cli_options *options)
{
	static const struct option longs[] = { { "filter", required_argument, NULL, 'F' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const char *path = NULL;
	int c;
	optind = 0;
	while ((c = getopt_long(argc, argv, "f:h", longs, NULL)) != -1) {
		switch (c) {
		case 'F': path = optarg; break;
		case 'f': options->conf_path = optarg; break;
		case 'h': (void)fputs(usage_text, stdout); return CLI_OK;
		default: return usage("unknown option");
		}
	}
	if (optind == argc)
		return usage("which message?");
	if (!path && (path = configured(options)) == NULL)
		return CLI_FAILED;
	return try_all(path, argc - optind, argv + optind);
}

enum cli_exit cli_filter(int argc, char **argv, struct cli_options *options)
{
	if (options->spool || options->json)
		return usage("takes -f CONF and nothing else");
	if (argc >= 2 && strcmp(argv[1], "try") == 0)
		return run_try(argc - 1, argv + 1, options);
	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return check(argv[2]);
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		(void)fputs(usage_text, stdout);
		return CLI_OK;
	}
	return usage("check FILE, or try MESSAGE...");
}
