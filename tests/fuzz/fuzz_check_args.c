/* The packet of arguments for the external command: whatever comes out can't be taken for an option or for two arguments, and is all of the packet. */
#include "check_args.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_path(const char *path)
{
	size_t len = strlen(path);
	if (len < 2 || path[0] != '<' || path[len - 1] != '>')
		abort();
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)path[i] < 0x20)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct check_args args;
	if (check_args_parse((struct span){ (const char *)bytes, size }, &args) != 0)
		return 0;
	size_t texts = 2, used = strlen(args.client) + strlen(args.sender) + 2;
	char **words = check_args_vector(&args, "/bin/check with\twords", "/place/message");
	if (!words || args.recipient_count == 0)
		abort();
	check_path(args.sender);
	for (size_t i = 0; i < args.recipient_count; i++, texts++) {
		check_path(args.recipients[i]);
		used += strlen(args.recipients[i]) + 1;
		if (strcmp(words[11 + i], args.recipients[i]) != 0)
			abort();
	}
	if (used != size || words[11 + args.recipient_count] != NULL || strcmp(words[2], "words") != 0)
		abort();
	free(words);
	check_args_free(&args);
	return 0;
}
