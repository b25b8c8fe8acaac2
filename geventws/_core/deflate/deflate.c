/* deflate.c - compressing one small message by itself (RFC 1951). See deflate.h.
 *
 * It does what zlib does at level 2, without zlib's overhead for streams of any length. One pass
 * finds the matches and counts the symbols; then the whole message is written as one block with
 * Huffman codes of its own. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "deflate.h"
#include "huffman.h"

#ifdef __GNUC__           /* for its functions on bits */

#define HASH_BITS 11
#define PLACES 2          /* places that are kept for each hash: as many as fit into a word */
#define SHORTEST 4        /* bytes of a match; one of three bytes seldom pays for its distance */
#define LONGEST 258       /* bytes of a match */
#define DISTANCES 30      /* symbols for distances */
#define LENGTHS 19        /* symbols for the lengths of codes */
#define END 256           /* the symbol for the end of a block */

/* The output, bit by bit. */
struct output {
    uint8_t *at;          /* the next byte */
    uint8_t *end;         /* the last place for which there is room for eight bytes */
    uint64_t bits;        /* bits that were not written yet, the first one lowest */
    int count;            /* how many */
};

/* A message as literals and matches. */
struct parsed {
    uint32_t tokens[WS_DEFLATE_MOST];   /* a literal is its byte, a match length << 16 | distance */
    int count;                          /* of tokens */
    uint16_t literals[WS_LITERALS];     /* the frequency of each literal, END, and length, */
    uint16_t distances[DISTANCES];      /* and of each distance, by symbol */
};

static int log2_of(uint32_t number)
{
    return 31 - __builtin_clz(number);
}

/* A length or a distance is sent as a symbol and some extra bits, its lowest ones (RFC 1951 3.2.5).
 * These functions return how many extra bits there are, and the symbol. */

static int length_extra(uint32_t length)
{
    return length < 7 || length == LONGEST ? 0 : log2_of(length - 3) - 2;
}

static int length_symbol(uint32_t length)
{
    int extra = length_extra(length);

    return length == LONGEST ? 285 : 257 + 4 * extra + (int)((length - 3) >> extra);
}

static int distance_extra(uint32_t distance)
{
    return distance < 3 ? 0 : log2_of(distance - 1) - 1;
}

static int distance_symbol(uint32_t distance)
{
    int extra = distance_extra(distance);

    return 2 * extra + (int)((distance - 1) >> extra);
}

/* Converts eight bytes of memory to a number whose lowest byte is the first, or back. */
static uint64_t little_endian(uint64_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

static uint32_t load4(const uint8_t *data)
{
    uint32_t word;

    memcpy(&word, data, 4);
    return word;
}

static uint64_t load8(const uint8_t *data)
{
    uint64_t word;

    memcpy(&word, data, 8);
    return word;
}

static uint32_t hash_of(uint32_t word)
{
    return word * 0x9E3779B1u >> (32 - HASH_BITS);
}

/* Returns how many bytes are the same in both places: at least SHORTEST, at most `most`. */
static uint32_t match_length(const uint8_t *data, const uint8_t *earlier, uint32_t most)
{
    uint32_t length = SHORTEST;

    for (; length + 8 <= most; length += 8) {
        uint64_t different = load8(data + length) ^ load8(earlier + length);
        if (different)
            return length + ((uint32_t)__builtin_ctzll(little_endian(different)) >> 3);
    }
    while (length < most && data[length] == earlier[length])
        length++;
    return length;
}

/* Returns the longest match for data[at..at + most) that begins at one of these places within the
 * window, as a token; 0 for none. */
static uint32_t find_match(const uint8_t *data, uint32_t at, uint32_t most, uint32_t places,
                           uint32_t window)
{
    uint32_t word = load4(data + at), length, best = 0;
    int i;

    for (i = 0; i < PLACES; i++, places >>= 16) {
        uint32_t earlier = places & 0xffff;
        if (at - earlier > window)
            break;
        if (load4(data + earlier) != word)
            continue;
        length = match_length(data + at, data + earlier, most);
        if (length > best >> 16)
            best = length << 16 | (at - earlier);
    }
    return best;
}

/* Finds the matches, and counts the symbols. The places within a match are not kept: that saves
 * some per cent of the time, and costs one per cent of the size. */
static void find_matches(struct parsed *parsed, const uint8_t *data, uint32_t size, uint32_t window)
{
    uint32_t heads[1 << HASH_BITS]; /* the last places of each hash, the newest lowest */
    uint32_t at = 0, token;

    parsed->count = 0;
    memset(parsed->literals, 0, sizeof parsed->literals);
    memset(parsed->distances, 0, sizeof parsed->distances);
    memset(heads, 0xff, sizeof heads);              /* no place: 0xffff is beyond every window */
    while (at < size) {
        token = 0;
        if (size - at >= SHORTEST) {
            uint32_t *head = heads + hash_of(load4(data + at));
            token = find_match(data, at, size - at < LONGEST ? size - at : LONGEST, *head, window);
            *head = *head << 16 | at;
        }
        if (token) {
            parsed->literals[length_symbol(token >> 16)]++;
            parsed->distances[distance_symbol(token & 0xffff)]++;
            at += token >> 16;
        } else {
            token = data[at++];
            parsed->literals[token]++;
        }
        parsed->tokens[parsed->count++] = token;
    }
    parsed->literals[END]++;
}

static void put_bits(struct output *output, uint32_t bits, int count)
{
    output->bits |= (uint64_t)bits << output->count;
    output->count += count;
}

static void put_code(struct output *output, struct ws_code code)
{
    put_bits(output, code.bits, code.length);
}

/* Writes the whole bytes, if there is room. Afterwards there is space for 56 more bits. */
static void write_bytes(struct output *output)
{
    uint64_t bits = little_endian(output->bits);

    if (output->at > output->end) {
        output->count = 0;
        return;
    }
    memcpy(output->at, &bits, 8);
    output->at += output->count >> 3;
    output->bits >>= output->count & ~7;
    output->count &= 7;
}

/* Lists the runs of lengths (RFC 1951 3.2.7), each as its extra bits << 8 | symbol, and counts the
 * symbols. Returns the number of runs. */
static int find_runs(const uint8_t *lengths, int size, uint16_t *runs, uint16_t *frequencies)
{
    int count = 0, at, run;

    for (at = 0; at < size; at += run) {
        int symbol = lengths[at], extra = 0, most = symbol ? 6 : 138;

        for (run = 1; run < most && at + run < size && lengths[at + run] == symbol; run++)
            ;
        if (run < 3 || (symbol && (!at || lengths[at - 1] != symbol))) {
            run = 1;            /* too short, or the length that symbol 16 repeats */
        } else {
            symbol = symbol ? 16 : run < 11 ? 17 : 18;
            extra = run - (symbol == 18 ? 11 : 3);
        }
        runs[count++] = (uint16_t)(extra << 8 | symbol);
        frequencies[symbol]++;
    }
    return count;
}

/* Puts the head of a block with its two codes, up to the last symbol of each. */
static void put_codes(struct output *output, const struct ws_code *literals, int last_literal,
                      const struct ws_code *distances, int last_distance)
{
    static const uint8_t order[LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5,
                                           11, 4, 12, 3, 13, 2, 14, 1, 15};
    static const uint8_t extras[LENGTHS] = {[16] = 2, [17] = 3, [18] = 7};
    uint8_t lengths[WS_LITERALS + DISTANCES];
    uint16_t runs[WS_LITERALS + DISTANCES], frequencies[LENGTHS] = {0};
    struct ws_code codes[LENGTHS];
    int count = 0, i, sent = LENGTHS;

    for (i = 0; i <= last_literal; i++)
        lengths[count++] = (uint8_t)literals[i].length;
    for (i = 0; i <= last_distance; i++)
        lengths[count++] = (uint8_t)distances[i].length;
    count = find_runs(lengths, count, runs, frequencies);
    ws_make_code(frequencies, LENGTHS, 7, codes);
    while (!codes[order[sent - 1]].length)
        sent--;
    put_bits(output, 2 << 1, 3);                         /* not the last block; its codes follow */
    put_bits(output, (uint32_t)(last_literal - 256), 5);
    put_bits(output, (uint32_t)last_distance, 5);
    put_bits(output, (uint32_t)(sent - 4), 4);
    for (i = 0; i < sent; i++) {
        write_bytes(output);
        put_bits(output, codes[order[i]].length, 3);
    }
    for (i = 0; i < count; i++) {
        write_bytes(output);
        put_code(output, codes[runs[i] & 0xff]);
        put_bits(output, runs[i] >> 8, extras[runs[i] & 0xff]);
    }
    write_bytes(output);
}

static void put_match(struct output *output, uint32_t token,
                      const struct ws_code *literals, const struct ws_code *distances)
{
    uint32_t length = token >> 16, distance = token & 0xffff;
    int extra = length_extra(length);

    put_code(output, literals[length_symbol(length)]);
    put_bits(output, (length - 3) & ((1u << extra) - 1), extra);
    extra = distance_extra(distance);
    put_code(output, distances[distance_symbol(distance)]);
    put_bits(output, (distance - 1) & ((1u << extra) - 1), extra);
}

static void put_block(struct output *output, const struct parsed *parsed)
{
    struct ws_code literals[WS_LITERALS], distances[DISTANCES];
    int last_literal = ws_make_code(parsed->literals, WS_LITERALS, WS_LONGEST_CODE, literals), i;
    int last_distance = ws_make_code(parsed->distances, DISTANCES, WS_LONGEST_CODE, distances);

    put_codes(output, literals, last_literal, distances, last_distance);
    for (i = 0; i < parsed->count; i++) {
        uint32_t token = parsed->tokens[i];
        if (token < END)
            put_code(output, literals[token]);
        else
            put_match(output, token, literals, distances);
        write_bytes(output);
    }
    put_code(output, literals[END]);
    put_bits(output, 0, 3 + 7);     /* the head of an empty stored block, up to a whole byte */
    write_bytes(output);
}

/* Writes the message as it is, in a stored block (RFC 1951 3.2.4), and the head of an empty one.
 * Returns the size of both. */
static int32_t store_message(const uint8_t *data, size_t size, uint8_t *target)
{
    const uint8_t low = (uint8_t)size, high = (uint8_t)(size >> 8);
    const uint8_t head[] = {0, low, high, (uint8_t)~low, (uint8_t)~high};

    memcpy(target, head, sizeof head);
    memcpy(target + sizeof head, data, size);
    target[sizeof head + size] = 0;
    return (int32_t)size + WS_STORED;
}

int32_t ws_deflate(const uint8_t *data, size_t size, size_t window, uint8_t *target)
{
    struct output output = {.at = target};
    struct parsed parsed;

    if (size < WS_DEFLATE_LEAST || size > WS_DEFLATE_MOST)
        return -1;
    assert(window <= 1 << 15);
    output.end = target + size + WS_STORED - 8;
    find_matches(&parsed, data, (uint32_t)size, (uint32_t)window);
    put_block(&output, &parsed);
    if (output.at > output.end)         /* there was no room: compressing does not pay */
        return store_message(data, size, target);
    return (int32_t)(output.at - target);
}

#else

int32_t ws_deflate(const uint8_t *data, size_t size, size_t window, uint8_t *target)
{
    (void)data, (void)size, (void)window, (void)target;
    return -1;
}

#endif
