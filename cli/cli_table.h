/* cli_table.h - records as aligned text: a table of several, or key and value of one. */
#ifndef POSTERN_CLI_TABLE_H
#define POSTERN_CLI_TABLE_H

#include <jansson.h>
#include <stddef.h>

struct cli_column {
	const char *key;
	const char *heading;
};

/* rows: an array of objects.  Numbers stand to the right.  Nothing for no rows. */
void cli_table_print(const json_t *rows, const struct cli_column *columns, size_t count);

/* One line a pair, indented; nested values are left out. */
void cli_pairs_print(const json_t *record);

#endif
