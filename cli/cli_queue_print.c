#include "cli_queue_print.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli_record.h"
#include "cli_table.h"
#include "cli_text.h"

/* ---- listings */

void cli_queue_list_begin(struct cli_queue_printer *printer, enum cli_queue_form form)
{
	*printer = (struct cli_queue_printer){ .form = form };
	if (form == CLI_QUEUE_JSON)
		(void)putchar('[');
}

static void put_text(const json_t *record, const char *key)
{
	cli_text_put(stdout, span_of(cli_record_text(record, key)));
}

static void put_rcpts(const json_t *record)
{
	long long rcpts = cli_record_number(record, "rcpts");
	(void)printf("%lld recipient%s", rcpts, rcpts == 1 ? "" : "s");
}

static void put_message(const struct cli_queue_printer *printer, const json_t *record)
{
	char age[CLI_AGE_CAP], next[CLI_AGE_CAP], size[CLI_SIZE_CAP];
	if (printer->count == 0)
		(void)printf("%-14s  %-8s %9s %8s %5s %8s  %s\n", "ID", "STATE", "SIZE", "AGE", "TRIES", "NEXT", "FROM, RECIPIENTS");
	long long next_s = cli_record_number(record, "next_s");
	(void)printf("%-14.40s  %-8.16s %9s %8s %5lld %8s  ", cli_record_text(record, "id"), cli_record_text(record, "state"),
		     cli_text_size((unsigned long long)cli_record_number(record, "size"), size),
		     cli_text_age(cli_record_number(record, "age_s"), age), cli_record_number(record, "attempts"),
		     next_s > 0 ? cli_text_age(next_s, next) : "-");
	put_text(record, "from");
	(void)fputs(", ", stdout);
	put_rcpts(record);
	if (cli_record_text(record, "destination")[0]) {
		(void)fputs(" at ", stdout);
		put_text(record, "destination");
	}
	(void)putchar('\n');
	if (cli_record_text(record, "error")[0]) {
		(void)printf("%16s", "");
		put_text(record, "error");
		(void)putchar('\n');
	}
}

/* "<a@x> <b@y>": one a line, in the column of the sender. */
static void put_mailq_recipients(const json_t *record)
{
	struct span list = span_of(cli_record_text(record, "to"));
	long long left = cli_record_number(record, "rcpts");
	while (list.len > 0) {
		size_t end = 0;
		while (end < list.len && !(list.ptr[end] == '>' && (end + 1 == list.len || list.ptr[end + 1] == ' ')))
			end++;
		(void)printf("%41s", "");
		cli_text_put(stdout, span_sub(list, 0, end + 1));
		(void)putchar('\n');
		list = span_sub(list, end + 2, list.len);
		left--;
	}
	if (left > 0)
		(void)printf("%41s(%lld more)\n", "", left);
}

/* As sendmail's mailq has it: scripts look for these columns. */
static void put_mailq(const struct cli_queue_printer *printer, const json_t *record)
{
	char when[32] = "?";
	time_t accepted = time(NULL) - (time_t)cli_record_number(record, "age_s");
	struct tm local;
	if (localtime_r(&accepted, &local))
		(void)strftime(when, sizeof when, "%a %b %d %H:%M", &local);
	if (printer->count == 0)
		(void)puts("-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient------------");
	(void)printf("%-14.40s%c%8lld %-16s ", cli_record_text(record, "id"), strcmp(cli_record_text(record, "state"), "active") == 0 ? '*' : ' ',
		     cli_record_number(record, "size"), when);
	put_text(record, "from");
	(void)putchar('\n');
	if (cli_record_text(record, "error")[0]) {
		(void)fputs("                 (", stdout);
		put_text(record, "error");
		(void)fputs(")\n", stdout);
	}
	put_mailq_recipients(record);
}

void cli_queue_list_line(void *ctx, struct span line)
{
	struct cli_queue_printer *printer = ctx;
	json_t *record = cli_record_parse(line);
	char what[CLI_WHAT_CAP];
	if (!record)
		return;
	cli_record_take_what(record, what);
	if (strcmp(what, "progress") == 0) {
		json_decref(record);
		return;
	}
	switch (printer->form) {
	case CLI_QUEUE_TEXT: put_message(printer, record); break;
	case CLI_QUEUE_MAILQ: put_mailq(printer, record); break;
	case CLI_QUEUE_JSON:
		(void)fputs(printer->count ? ",\n " : "\n ", stdout);
		(void)json_dumpf(record, stdout, 0);
		break;
	}
	printer->count++;
	printer->bytes += (uint64_t)cli_record_number(record, "size");
	json_decref(record);
}

void cli_queue_list_end(struct cli_queue_printer *printer, bool is_complete)
{
	char size[CLI_SIZE_CAP];
	if (printer->form == CLI_QUEUE_JSON)
		(void)fputs(printer->count ? "\n]\n" : "]\n", stdout);
	else if (!is_complete)
		return; /* a sum would be wrong */
	else if (printer->count == 0)
		(void)puts(printer->form == CLI_QUEUE_MAILQ ? "Mail queue is empty" :
			   printer->has_filter                    ? "no mail like that is waiting" :
								    "no mail is waiting");
	else if (printer->form == CLI_QUEUE_MAILQ)
		(void)printf("\t\tTotal requests: %llu\n", (unsigned long long)printer->count);
	else
		(void)printf("%llu message%s, %s\n", (unsigned long long)printer->count, printer->count == 1 ? "" : "s",
			     cli_text_size(printer->bytes, size));
}

/* ---- one message */

void cli_queue_show_begin(struct cli_queue_printer *printer, enum cli_queue_form form)
{
	*printer = (struct cli_queue_printer){ .form = form, .message = json_object(), .others = json_object() };
}

void cli_queue_show_line(void *ctx, struct span line)
{
	struct cli_queue_printer *printer = ctx;
	json_t *record = cli_record_parse(line);
	char what[CLI_WHAT_CAP], member[CLI_WHAT_CAP + 1];
	if (!record)
		return;
	cli_record_take_what(record, what);
	if (!what[0] || strcmp(what, "message") == 0) {
		(void)json_object_update(printer->message, record);
	} else {
		(void)snprintf(member, sizeof member, "%ss", what);
		if (!json_object_get(printer->others, member))
			(void)json_object_set_new(printer->others, member, json_array());
		(void)json_array_append(json_object_get(printer->others, member), record);
	}
	json_decref(record);
}

static void print_shown(const struct cli_queue_printer *printer)
{
	static const struct cli_column recipients[] = { { "rcpt", "RECIPIENT" }, { "state", "STATE" }, { "text", "LAST WORD" } };
	const char *key;
	json_t *value, *row;
	size_t i;
	cli_pairs_print(printer->message);
	json_object_foreach(printer->others, key, value) {
		(void)printf("\n%s\n", key);
		if (strcmp(key, "recipients") == 0)
			cli_table_print(value, recipients, sizeof recipients / sizeof recipients[0]);
		else
			json_array_foreach(value, i, row)
				cli_pairs_print(row);
	}
}

void cli_queue_show_end(struct cli_queue_printer *printer)
{
	if (printer->form == CLI_QUEUE_JSON) {
		json_t *whole = json_object();
		(void)json_object_set(whole, "message", printer->message);
		(void)json_object_update(whole, printer->others);
		cli_json_write(whole);
		json_decref(whole);
	} else {
		print_shown(printer);
	}
	json_decref(printer->message);
	json_decref(printer->others);
}

/* ---- its text */

void cli_queue_cat_bytes(void *ctx, struct span bytes)
{
	(void)ctx;
	if (isatty(STDOUT_FILENO))
		cli_text_put_lines(stdout, bytes);
	else if (bytes.len)
		(void)fwrite(bytes.ptr, 1, bytes.len, stdout);
}
