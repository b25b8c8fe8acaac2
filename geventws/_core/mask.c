/* mask.c - RFC 6455 section 5.3: masking a payload. See mask.h. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mask.h"

/* One binary serves every x86-64: the loader picks the widest vectors that the machine has. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define WIDEST_VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST_VECTORS
#endif

/* Returns a word with the mask key twice, beginning at byte number offset % 4 of the key. */
static uint64_t repeat_key(uint32_t mask_key, uint64_t offset)
{
    uint64_t twice = mask_key * UINT64_C(0x100000001);
    unsigned bits = 8 * (unsigned)(offset & 3);

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return bits ? twice << bits | twice >> (64 - bits) : twice;
#else
    return bits ? twice >> bits | twice << (64 - bits) : twice;
#endif
}

/* Whether two ranges of memory share no byte. */
#define ARE_APART(one, other, size) ((one) + (size) <= (other) || (other) + (size) <= (one))

WIDEST_VECTORS
void ws_mask(uint8_t *target, const uint8_t *source, size_t size,
             uint32_t mask_key, uint64_t offset)
{
    uint64_t wide = repeat_key(mask_key, offset), word;
    size_t i, words = size / 8;

    assert(target == source || ARE_APART(target, source, size));
    for (i = 0; i < words; i++) {           /* the compiler makes vectors of this */
        memcpy(&word, source + 8 * i, 8);
        word ^= wide;
        memcpy(target + 8 * i, &word, 8);
    }
    for (i = 8 * words; i < size; i++)
        target[i] = source[i] ^ ((uint8_t *)&wide)[i & 7];
}
