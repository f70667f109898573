#include "cli_queue_stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli_record.h"
#include "cli_text.h"
#include "kv.h"

#define AGES 11u /* nine doublings of five minutes, and what is older; the first column is the total */
#define NAME_WIDTH_MAX 60

static const char *const headings[AGES] = { "T", "5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+" };

/* Index of the column: younger than 5 minutes, than 10, ... */
static size_t column_of(uint64_t age_s)
{
	size_t column = 1;
	for (uint64_t limit_s = 300; column < AGES - 1 && age_s >= limit_s; limit_s *= 2)
		column++;
	return column;
}

static const char *key_of(enum cli_queue_by by)
{
	return by == CLI_BY_SENDER ? "from" : by == CLI_BY_CLIENT ? "client" : "destination";
}

/* The domain of "<local@domain>"; "<>" stays. */
static struct span name_of(enum cli_queue_by by, struct span value)
{
	if (value.len == 0)
		return SPAN_LIT("?");
	size_t at = span_rfind(value, '@');
	if (by != CLI_BY_SENDER || at == value.len)
		return value;
	return span_sub(value, at + 1, value.len - 1);
}

void cli_queue_stats_begin(struct cli_queue_stats *stats, enum cli_queue_by by)
{
	*stats = (struct cli_queue_stats){ .by = by, .rows = json_object() };
}

static void add(json_t *row, size_t column)
{
	json_t *cell = json_array_get(row, column);
	(void)json_integer_set(cell, json_integer_value(cell) + 1);
}

void cli_queue_stats_line(void *ctx, struct span line)
{
	struct cli_queue_stats *stats = ctx;
	struct kv_pair pair;
	struct buf name = { .cap = 1024 };
	uint64_t age_s = 0;
	bool is_message = false; /* else a sign of life */
	while (kv_next(&line, &pair) == 0) {
		struct span value = { pair.value, pair.value_len };
		if (span_eq(pair.key, span_of(key_of(stats->by))))
			(void)cli_text_append(&name, name_of(stats->by, value), false);
		else if (span_eq(pair.key, SPAN_LIT("age_s")))
			is_message = span_to_u64(value, UINT64_MAX, &age_s) == 0;
	}
	for (size_t i = 0; stats->by == CLI_BY_SENDER && i < name.len; i++)
		name.data[i] = span_lower(name.data[i]);
	if (name.len == 0)
		(void)buf_append(&name, "?", 1);
	if (!is_message || buf_append(&name, "", 1) != 0) {
		buf_free(&name);
		return;
	}
	json_t *row = json_object_get(stats->rows, name.data);
	if (!row) {
		row = json_array();
		for (size_t i = 0; i < AGES; i++)
			(void)json_array_append_new(row, json_integer(0));
		(void)json_object_set_new(stats->rows, name.data, row);
	}
	add(row, 0);
	add(row, column_of(age_s));
	buf_free(&name);
}

/* ---- output */

struct named {
	const char *name;
	json_t *row;
};

static int more_first(const void *left, const void *right)
{
	const struct named *a = left, *b = right;
	json_int_t na = json_integer_value(json_array_get(a->row, 0)), nb = json_integer_value(json_array_get(b->row, 0));
	return na != nb ? (na < nb ? 1 : -1) : strcmp(a->name, b->name);
}

static json_t *sum_up(const struct named *rows, size_t count)
{
	json_t *total = json_array();
	for (size_t column = 0; column < AGES; column++) {
		json_int_t sum = 0;
		for (size_t i = 0; i < count; i++)
			sum += json_integer_value(json_array_get(rows[i].row, column));
		(void)json_array_append_new(total, json_integer(sum));
	}
	return total;
}

static void print_row(const char *name, const json_t *row, int name_width, int width)
{
	(void)printf("%*s", name_width, name);
	for (size_t i = 0; i < AGES; i++)
		(void)printf(" %*lld", width, (long long)json_integer_value(json_array_get(row, i)));
	(void)putchar('\n');
}

static void print_text(const struct named *rows, size_t count, const json_t *total)
{
	char number[32];
	int name_width = 5;
	int width = snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_array_get(total, 0)));
	width = width < 5 ? 5 : width;
	for (size_t i = 0; i < count; i++) {
		int len = (int)strlen(rows[i].name);
		name_width = len > name_width && len <= NAME_WIDTH_MAX ? len : name_width;
	}
	(void)printf("%*s", name_width, "");
	for (size_t i = 0; i < AGES; i++)
		(void)printf(" %*s", width, headings[i]);
	(void)putchar('\n');
	print_row("TOTAL", total, name_width, width);
	for (size_t i = 0; i < count; i++)
		print_row(rows[i].name, rows[i].row, name_width, width);
}

static json_t *row_json(const json_t *row)
{
	json_t *ages = json_array();
	for (size_t i = 1; i < AGES; i++)
		(void)json_array_append(ages, json_array_get(row, i));
	return json_pack("{s:O, s:o}", "count", json_array_get(row, 0), "ages", ages);
}

static void print_json(const struct named *rows, size_t count, const json_t *total, enum cli_queue_by by)
{
	json_t *list = json_array(), *bounds = json_array();
	for (json_int_t minutes = 5; minutes <= 1280; minutes *= 2)
		(void)json_array_append_new(bounds, json_integer(minutes));
	for (size_t i = 0; i < count; i++) {
		json_t *one = row_json(rows[i].row);
		(void)json_object_set_new(one, "name", json_string(rows[i].name));
		(void)json_array_append_new(list, one);
	}
	static const char *const names[] = { [CLI_BY_DESTINATION] = "destination", [CLI_BY_SENDER] = "sender", [CLI_BY_CLIENT] = "client" };
	json_t *whole = json_pack("{s:s, s:o, s:o, s:o}", "by", names[by], "bounds_min", bounds, "total", row_json(total), "rows", list);
	cli_json_write(whole);
	json_decref(whole);
}

void cli_queue_stats_end(struct cli_queue_stats *stats, bool is_json, bool is_complete)
{
	size_t count = json_object_size(stats->rows), n = 0;
	struct named *rows = calloc(count + 1, sizeof *rows);
	const char *name;
	json_t *row;
	if (is_complete && rows) {
		json_object_foreach(stats->rows, name, row)
			rows[n++] = (struct named){ name, row };
		qsort(rows, n, sizeof *rows, more_first);
		json_t *total = sum_up(rows, n);
		if (is_json)
			print_json(rows, n, total, stats->by);
		else
			print_text(rows, n, total);
		json_decref(total);
	}
	free(rows);
	json_decref(stats->rows);
	stats->rows = NULL;
}
