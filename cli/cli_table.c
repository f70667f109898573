#include "cli_table.h"

#include <stdio.h>
#include <string.h>

#include "cli_record.h"

#define COLUMNS_MAX 16

static size_t width_of(const json_t *value)
{
	struct buf text = { 0 };
	(void)cli_record_format(value, &text);
	size_t len = text.len;
	buf_free(&text);
	return len;
}

static void put_padded(const char *text, size_t width, bool is_right, bool is_last)
{
	if (is_right)
		(void)printf("%*s", (int)width, text);
	else if (is_last)
		(void)printf("%s", text);
	else
		(void)printf("%-*s", (int)width, text);
	(void)fputs(is_last ? "\n" : "  ", stdout);
}

static void put_value(const json_t *value, size_t width, bool is_last)
{
	struct buf text = { 0 };
	if (cli_record_format(value, &text) == 0 && buf_append(&text, "", 1) == 0)
		put_padded(text.data, width, json_is_integer(value), is_last);
	buf_free(&text);
}

void cli_table_print(const json_t *rows, const struct cli_column *columns, size_t count)
{
	size_t widths[COLUMNS_MAX], i;
	json_t *row;
	if (json_array_size(rows) == 0 || count > COLUMNS_MAX)
		return;
	for (size_t c = 0; c < count; c++) {
		widths[c] = strlen(columns[c].heading);
		json_array_foreach(rows, i, row) {
			size_t width = width_of(json_object_get(row, columns[c].key));
			widths[c] = width > widths[c] ? width : widths[c];
		}
	}
	for (size_t c = 0; c < count; c++)
		put_padded(columns[c].heading, widths[c], json_is_integer(json_object_get(json_array_get(rows, 0), columns[c].key)), c + 1 == count);
	json_array_foreach(rows, i, row)
		for (size_t c = 0; c < count; c++)
			put_value(json_object_get(row, columns[c].key), widths[c], c + 1 == count);
}

void cli_pairs_print(const json_t *record)
{
	size_t key_width = 0;
	const char *key;
	json_t *value;
	/* jansson's macros take a pointer to non-const but only read. */
	json_t *object = (json_t *)(uintptr_t)record;
	json_object_foreach(object, key, value)
		key_width = strlen(key) > key_width ? strlen(key) : key_width;
	json_object_foreach(object, key, value) {
		if (json_is_object(value) || json_is_array(value))
			continue;
		(void)printf("  %-*s  ", (int)key_width, key);
		put_value(value, 0, true);
	}
}
