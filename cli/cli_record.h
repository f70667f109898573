/* cli_record.h - one line of a daemon's answer (key=value, lib/kv.h) as a JSON object, the form in which `postern` keeps, prints and
 * tabulates everything.
 * Numbers become numbers, but for keys whose values are names or peers' words: an address that happens to be all digits stays text.
 * Bytes that are no UTF-8 become \xNN in the text.
 */
#ifndef POSTERN_CLI_RECORD_H
#define POSTERN_CLI_RECORD_H

#include <jansson.h>

#include "buf.h"
#include "span.h"

/* Never NULL but without memory; pairs behind one that cannot be read are left out. */
json_t *cli_record_parse(struct span line);

/* The text under key: "" when there is none or it is no text. */
const char *cli_record_text(const json_t *record, const char *key);
long long cli_record_number(const json_t *record, const char *key);

/* A value as people read it, harmless on a terminal; "-" for nothing. */
int cli_record_format(const json_t *value, struct buf *out);

/* What kind of record it is: takes the pair what=... out of it.  Empty when there is none. */
#define CLI_WHAT_CAP 32
const char *cli_record_take_what(json_t *record, char what[CLI_WHAT_CAP]);

/* To standard output, with a newline. */
void cli_json_write(const json_t *json);

#endif
