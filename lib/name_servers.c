#include "name_servers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DNS_PORT 53
#define FILE_BYTES 16384

/* An address with or without a port; IPv6 with a port in brackets. */
static int parse_server(struct span word, struct endpoint *out)
{
	out->port = DNS_PORT;
	if (addr_parse(word, &out->addr) == 0)
		return 0;
	if (word.len > 2 && word.ptr[0] == '[' && word.ptr[word.len - 1] == ']')
		return addr_parse(span_sub(word, 1, word.len - 1), &out->addr);
	int err = endpoint_parse(word, out);
	return !err && out->port == 0 ? ERR_SYNTAX : err;
}

int name_servers_parse(struct span text, struct name_servers *out, struct reason *why)
{
	struct name_servers found;
	struct span word;
	memset(&found, 0, sizeof found);
	if (span_eq(span_trim(text), SPAN_LIT("none"))) {
		*out = found;
		return 0;
	}
	while ((word = span_next_word(&text)).len) {
		if (found.count == NAME_SERVERS_MAX)
			return reason_set(why, ERR_TOOLONG, "more than %d name servers", NAME_SERVERS_MAX);
		if (parse_server(word, &found.list[found.count]))
			return reason_set(why, ERR_SYNTAX, "'%.*s': expected an address such as 192.0.2.53, 192.0.2.53:53 or [2001:db8::53]:53", SPAN_FMT(word));
		found.count++;
	}
	if (!found.count)
		return reason_set(why, ERR_SYNTAX, "no name server: expected addresses, or none");
	*out = found;
	return 0;
}

void name_servers_from_resolv_conf(struct span text, struct name_servers *out)
{
	struct span line;
	memset(out, 0, sizeof *out);
	while (out->count < NAME_SERVERS_MAX && span_cut(&text, '\n', &line)) {
		struct span rest = span_trim(line);
		struct span key = span_next_word(&rest);
		struct endpoint *server = &out->list[out->count];
		/* A zone ("fe80::1%eth0") is not understood: such a server is left out. */
		if (span_eq(key, SPAN_LIT("nameserver")) && parse_server(span_next_word(&rest), server) == 0)
			out->count++;
	}
	if (out->count == 0) {
		memset(out, 0, sizeof *out);
		(void)parse_server(SPAN_LIT("127.0.0.1"), &out->list[0]);
		out->count = 1;
	}
}

int name_servers_find(const char *option, struct name_servers *out, struct reason *why)
{
	char text[FILE_BYTES];
	size_t len = 0;
	if (option[0])
		return name_servers_parse(span_of(option), out, why);
	FILE *file = fopen(NAME_SERVERS_RESOLV_CONF, "re");
	if (!file && errno != ENOENT)
		return reason_set(why, err_from_errno(errno), "%s: %s", NAME_SERVERS_RESOLV_CONF, strerror(errno));
	if (file) {
		len = fread(text, 1, sizeof text, file);
		(void)fclose(file);
	}
	name_servers_from_resolv_conf((struct span){ text, len }, out);
	return 0;
}
