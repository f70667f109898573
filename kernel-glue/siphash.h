/* siphash.h - SipHash-2-4 (Aumasson and Bernstein, 2012): a short hash that nobody can foresee who lacks the key.
 * Pure.  For numbers that strangers get to see, as the sequence numbers of the tarpit.
 */
#ifndef POSTERN_SIPHASH_H
#define POSTERN_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t len);

#endif
