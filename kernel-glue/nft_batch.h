/* nft_batch.h - transactions of nf_tables as bytes: what stands between begin and end happens as a whole or not at all.
 * Owns: its buffer.  Fails: sticky; nft_batch_end tells it once (ERR_NOMEM, ERR_TOOLONG).
 */
#ifndef POSTERN_NFT_BATCH_H
#define POSTERN_NFT_BATCH_H

#include <linux/netlink.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

#define NFT_TABLE "postern"

struct nft_batch {
	struct buf bytes;
	size_t message; /* where the last one begins */
	uint32_t seq;
	int err;
};

/* Into a zeroed struct, or one that was ended; the memory is kept until free. */
void nft_batch_begin(struct nft_batch *batch);

/* A message of this type (NFT_MSG_*) about the family inet; its attributes follow.  flags: NLM_F_CREATE and the like. */
void nft_batch_message(struct nft_batch *batch, uint16_t type, uint16_t flags);
void nft_batch_put(struct nft_batch *batch, uint16_t type, const void *bytes, size_t len);
void nft_batch_put_text(struct nft_batch *batch, uint16_t type, const char *text);
void nft_batch_put_u32(struct nft_batch *batch, uint16_t type, uint32_t value); /* numbers travel in network order */
void nft_batch_put_u64(struct nft_batch *batch, uint16_t type, uint64_t value);
size_t nft_batch_nest(struct nft_batch *batch, uint16_t type); /* returns what un-nest wants */
void nft_batch_unnest(struct nft_batch *batch, size_t nest);

/* Elements of one set of our table.  Begin, each, end; as many messages as it takes.  timeout_ms: 0 for ever. */
#define NFT_KEY_CAP 64
struct nft_elements {
	struct nft_batch *batch;
	uint16_t message;
	const char *set;
	size_t count, nest;
};
void nft_elements_add(struct nft_batch *batch, const char *set, struct nft_elements *out);
void nft_elements_delete(struct nft_batch *batch, const char *set, struct nft_elements *out);
void nft_elements_each(struct nft_elements *e, const void *key, size_t key_len, uint32_t flags, uint64_t timeout_ms);
void nft_elements_end(struct nft_elements *e);

/* Then bytes can be sent.  One that says ERR_* must not be. */
int nft_batch_end(struct nft_batch *batch);
void nft_batch_free(struct nft_batch *batch);

/* A question about our table: all objects of the type (NFT_MSG_GET*), with set a set's elements.  Into a buffer of the caller's. */
struct nft_question {
	struct nlmsghdr header;
	char rest[128];
};
void nft_question(uint16_t type, const char *set, struct nft_question *out);

/* The same about every table of a family (NFPROTO_*), whoever made it. */
void nft_question_family(uint16_t type, uint8_t family, struct nft_question *out);

#endif
