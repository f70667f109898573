/* access.h - a sendmail access table in its text form: what it says about a client, a sender and a recipient.
 * Lines are `key value`, parted by tabs or spaces; `#` begins a comment line.  A key is an address, `user@`, a domain (which stands for
 * its subdomains, too), 1 to 4 octets of an IPv4 address, or an IPv6 prefix, each with an optional Connect:, From: or To: in front.
 * The longest key that fits wins; of two equally long ones the one with a tag.
 * Owns: nothing; the table lives in the arena it was built in.  Borrows: the text, which its keys are spans into.
 * Bounds: about 22 bytes an entry beside the text (32 more for an IPv6 key); a look-up costs one probe a label or octet.
 */
#ifndef POSTERN_ACCESS_H
#define POSTERN_ACCESS_H

#include "addr.h"
#include "arena.h"
#include "rules_diag.h"
#include "rules_message.h"
#include "rules_source.h"
#include "span.h"

enum access_tag { ACCESS_ANY, ACCESS_CONNECT, ACCESS_FROM, ACCESS_TO };

/* ACCESS_SKIP: as if there were no entry, and shorter keys are not looked at. */
enum access_kind { ACCESS_ALLOW, ACCESS_REFUSE, ACCESS_SKIP };

struct access_value {
	enum access_kind kind;
	struct rules_message message; /* ACCESS_REFUSE */
};

struct access_entry {
	const char *key; /* NULL: a free slot */
	uint32_t value;  /* index into values */
	uint16_t len;
	uint8_t tag;     /* enum access_tag */
	uint8_t form;    /* enum access_form */
};

/* What a key is compared with; keys of different forms never meet. */
enum access_form { ACCESS_ADDRESS, ACCESS_USER, ACCESS_DOMAIN, ACCESS_NET4, ACCESS_NET6 };

struct access_table {
	struct arena *arena;
	struct access_entry *slots;
	uint32_t slot_count, count;
	struct access_value *values; /* each distinct value once */
	uint32_t value_count;
	bool has_bits[129];          /* IPv6 prefix lengths that occur */
	bool names_allow, names_refuse; /* some domain key speaks about clients, and says so */
	bool refuses_alike;             /* all of those that refuse do it with the reply of values[name_refusal] */
	uint32_t name_refusal;
};

/* Every error and warning goes to diags.  ERR_SYNTAX when there were errors, ERR_NOMEM. */
int access_table_build(struct arena *arena, const struct rules_source_file *file, struct rules_diags *diags, struct access_table **out);

/* NULL: no entry (or a SKIP).  name: a confirmed host name.  address: without <>, may be empty (only the key `<>` fits it). */
const struct access_value *access_of_client(const struct access_table *table, const struct addr *client);
const struct access_value *access_of_name(const struct access_table *table, struct span name);
const struct access_value *access_of_address(const struct access_table *table, enum access_tag tag, struct span address);

/* For building: ERR_BUSY when the key is there already. */
int access_table_insert(struct access_table *table, const struct access_entry *entry);

#endif
