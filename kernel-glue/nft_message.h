/* nft_message.h - what nf_tables says: news of changes and answers to questions, read.  Pure: bytes in, fields out, no I/O.
 * What is not about the table inet postern, and what is cut or makes no sense, is NFT_OTHER.
 */
#ifndef POSTERN_NFT_MESSAGE_H
#define POSTERN_NFT_MESSAGE_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nft_batch.h"
#include "span.h"

enum nft_kind { NFT_OTHER, NFT_TABLE_ITSELF, NFT_CHAIN, NFT_RULE, NFT_SET, NFT_ELEMENTS, NFT_GENERATION };

struct nft_message {
	enum nft_kind kind;
	bool is_deletion;
	struct span name;    /* of a chain or set, also of whose rule or elements it is; into the message */
	struct span process; /* NFT_GENERATION: the name of who made the change, as it calls itself */
	uint32_t pid;        /* its number; 0: the kernel does not say */
	uint32_t set_flags;  /* NFT_SET */
};

void nft_message_read(const struct nlmsghdr *message, struct nft_message *out);

struct nft_element {
	unsigned char key[NFT_KEY_CAP];
	size_t key_len;
	uint32_t flags;         /* NFT_SET_ELEM_* */
	bool has_expiration;
	uint64_t expires_in_ms; /* 0 without has_expiration: never */
};

/* Of a message of kind NFT_ELEMENTS; elements that cannot be read are passed over. */
typedef void (*nft_element_fn)(void *ctx, const struct nft_element *element);
void nft_message_elements(const struct nlmsghdr *message, nft_element_fn fn, void *ctx);

/* The next message in bytes that are aligned for one, whole and within them; NULL: no more. */
const struct nlmsghdr *netlink_next(struct span *rest);
void nft_messages_each(struct span bytes, void (*fn)(void *ctx, const struct nlmsghdr *message), void *ctx);

/* Each attribute of a message behind its family, or inside of another attribute. */
struct nft_attr {
	uint16_t type; /* without its flags */
	struct span value;
	struct span whole; /* with its head, as it stands there */
};
bool nft_attr_next(struct span *rest, struct nft_attr *out);
struct span nft_message_attrs(const struct nlmsghdr *message);

#endif
