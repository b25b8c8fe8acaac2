/* huffman.c - the codes of symbols from their frequencies. See huffman.h. */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "huffman.h"

/* How many buckets there are to sort symbols by frequency: one for each frequency, and the last for
 * all frequencies from BUCKETS - 1 on. */
#define BUCKETS 64

/* Lists the symbols that occur, in order, each as frequency << 16 | symbol. Returns the number. */
static int list_symbols(const uint16_t *frequencies, int symbols, uint32_t *listed)
{
    int used = 0, i;

    for (i = 0; i < symbols; i++) {
        listed[used] = (uint32_t)frequencies[i] << 16 | (uint32_t)i;
        used += frequencies[i] > 0;
    }
    if (used < 2) {                 /* not every inflater takes a code of one symbol, or of none */
        uint32_t only = used ? listed[0] : 1;
        int place = (only & 0xffff) > 0;    /* symbol 0 gets a code as well, or 1 if it is 0 */

        listed[place] = only;
        listed[!place] = (uint32_t)!place;
        used = 2;
    }
    return used;
}

static int bucket_of(uint32_t entry)
{
    return entry >> 16 < BUCKETS ? (int)(entry >> 16) : BUCKETS - 1;
}

/* Sorts the listed symbols by frequency. */
static void sort_symbols(const uint32_t *listed, int used, uint32_t *sorted)
{
    int ends[BUCKETS + 1] = {0}, i, j;

    for (i = 0; i < used; i++)
        ends[bucket_of(listed[i]) + 1]++;
    for (i = 1; i <= BUCKETS; i++)
        ends[i] += ends[i - 1];
    for (i = 0; i < used; i++)
        sorted[ends[bucket_of(listed[i])]++] = listed[i];
    for (i = ends[BUCKETS - 2] + 1; i < used; i++) {    /* in the last bucket, by insertion */
        uint32_t entry = sorted[i];
        for (j = i; j > ends[BUCKETS - 2] && sorted[j - 1] > entry; j--)
            sorted[j] = sorted[j - 1];
        sorted[j] = entry;
    }
}

/* Replaces the sorted frequencies weights[0..used) by the depths of the inner nodes of their
 * Huffman tree, the root last. It works in place, as in Moffat and Katajainen (1995). */
static void find_depths(uint32_t *weights, int used)
{
    int root = 0, leaf = 0, next, i;

    for (next = 0; next < used - 1; next++) { /* joins the two lightest, which note their parent */
        uint32_t sum = 0;
        for (i = 0; i < 2; i++)
            if (leaf == used || (root < next && weights[root] < weights[leaf])) {
                sum += weights[root];
                weights[root++] = (uint32_t)next;
            } else {
                sum += weights[leaf++];
            }
        weights[next] = sum;
    }
    weights[used - 2] = 0;
    for (next = used - 3; next >= 0; next--)
        weights[next] = weights[weights[next]] + 1;
}

/* Counts the codes of each length, up to `most`, for sorted frequencies. */
static void count_lengths(uint32_t *weights, int used, int most, uint16_t *counts)
{
    int next = used - 2, open = 1, depth, inner;
    uint32_t total = 0;

    find_depths(weights, used);
    memset(counts, 0, (WS_LONGEST_CODE + 1) * sizeof *counts);
    for (depth = 0; open > 0; depth++) {
        for (inner = 0; next >= 0 && weights[next] == (uint32_t)depth; next--)
            inner++;
        counts[depth < most ? depth : most] += (uint16_t)(open - inner);
        open = 2 * inner;
    }
    for (depth = 1; depth <= most; depth++)
        total += (uint32_t)counts[depth] << (most - depth);
    for (; total > 1u << most; total--) {     /* too many of `most` bits: lengthen a shorter one */
        for (depth = most - 1; !counts[depth]; depth--)
            ;
        counts[depth]--;
        counts[depth + 1] += 2;
        counts[most]--;
    }
}

static uint16_t reversed(uint32_t bits, int length)
{
    bits = (bits & 0x5555) << 1 | (bits >> 1 & 0x5555);
    bits = (bits & 0x3333) << 2 | (bits >> 2 & 0x3333);
    bits = (bits & 0x0f0f) << 4 | (bits >> 4 & 0x0f0f);
    bits = (bits & 0x00ff) << 8 | (bits >> 8 & 0x00ff);
    return (uint16_t)(bits >> (16 - length));
}

int ws_make_code(const uint16_t *frequencies, int symbols, int most, struct ws_code *codes)
{
    uint32_t listed[WS_LITERALS + 1], sorted[WS_LITERALS], weights[WS_LITERALS];
    uint32_t next[WS_LONGEST_CODE + 2];             /* the next code of each length */
    uint16_t counts[WS_LONGEST_CODE + 1];           /* how many codes have each length */
    int used, length, left, i;

    assert(symbols >= 2 && symbols <= WS_LITERALS && most <= WS_LONGEST_CODE);
    used = list_symbols(frequencies, symbols, listed);
    sort_symbols(listed, used, sorted);
    for (i = 0; i < used; i++)
        weights[i] = sorted[i] >> 16;
    count_lengths(weights, used, most, counts);
    memset(codes, 0, (size_t)symbols * sizeof *codes);
    for (i = 0, length = most; length > 0; length--)
        for (left = counts[length]; left > 0; left--)
            codes[sorted[i++] & 0xffff].length = (uint16_t)length;
    next[1] = 0;
    for (length = 1; length <= most; length++)
        next[length + 1] = (next[length] + counts[length]) << 1;
    for (i = 0; i < used; i++) {
        struct ws_code *code = codes + (listed[i] & 0xffff);

        code->bits = reversed(next[code->length]++, code->length);
    }
    return (int)(listed[used - 1] & 0xffff);
}
