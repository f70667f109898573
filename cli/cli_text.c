#include "cli_text.h"

int cli_text_append(struct buf *out, struct span text, bool keeps_lines)
{
	int err = 0;
	for (size_t i = 0; i < text.len && !err; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		if ((c >= 0x20 && c < 0x7f) || (keeps_lines && (c == '\n' || c == '\t')))
			err = buf_append(out, &text.ptr[i], 1);
		else if (!(keeps_lines && c == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n'))
			err = buf_printf(out, "\\x%02x", c);
	}
	return err;
}

static void put(FILE *to, struct span text, bool keeps_lines)
{
	struct buf safe = { 0 };
	if (cli_text_append(&safe, text, keeps_lines) == 0 && safe.len)
		(void)fwrite(safe.data, 1, safe.len, to);
	buf_free(&safe);
}

void cli_text_put(FILE *to, struct span text)
{
	put(to, text, false);
}

void cli_text_put_lines(FILE *to, struct span text)
{
	put(to, text, true);
}

const char *cli_text_age(long long seconds, char out[CLI_AGE_CAP])
{
	const long long minute = 60, hour = 60 * minute, day = 24 * hour;
	if (seconds < 2 * minute)
		(void)snprintf(out, CLI_AGE_CAP, "%lld s", seconds);
	else if (seconds < 2 * hour)
		(void)snprintf(out, CLI_AGE_CAP, "%lld min", seconds / minute);
	else if (seconds < 2 * day)
		(void)snprintf(out, CLI_AGE_CAP, "%lld h", seconds / hour);
	else
		(void)snprintf(out, CLI_AGE_CAP, "%lld d", seconds / day);
	return out;
}

const char *cli_text_size(unsigned long long bytes, char out[CLI_SIZE_CAP])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(out, CLI_SIZE_CAP, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

const char *cli_text_plural(size_t count)
{
	return count == 1 ? "" : "s";
}
