/* An access table of any bytes loads or is refused; what loaded answers without fault, also for keys made of the same bytes. */
#include "access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rules_source_file file = { .path = SPAN_LIT("access"), .text = { (const char *)data, size } };
	struct span text = file.text, line;
	struct arena arena = { 0 };
	struct rules_diags diags = { 0 };
	struct access_table *table = NULL;
	struct addr addr;
	if (access_table_build(&arena, &file, &diags, &table) != ERR_NOMEM && table)
		for (unsigned n = 0; n < 50 && span_cut(&text, '\n', &line); n++) {
			(void)access_of_address(table, ACCESS_FROM, line);
			(void)access_of_name(table, line);
			if (addr_parse(span_trim(line), &addr) == 0)
				(void)access_of_client(table, &addr);
		}
	rules_diags_free(&diags);
	arena_free(&arena);
	return 0;
}
