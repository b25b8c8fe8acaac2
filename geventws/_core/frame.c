/* frame.c - RFC 6455 section 5: scanning and masking frames in a buffer.
 *
 *    byte 0          byte 1          bytes 2..9                bytes ..
 *   +-+-+-+-+-------+-+-------------+-------------------------+-----------------+----------- -
 *   |F|R|R|R| op    |M| length      | extended length         | mask key        | payload
 *   |I|S|S|S| code  |A| (7 bits)    | 16 bits if length = 126 | 4 bytes, if the | length bytes
 *   |N|V|V|V|       |S| 0-125, or   | 64 bits if length = 127 | MASK bit is set |
 *   | |1|2|3| (4)   |K| 126 or 127  | big-endian              |                 |
 *   +-+-+-+-+-------+-+-------------+-------------------------+-----------------+----------- -
 *
 * Every rule about one frame by itself is checked here. Rules about the order of frames (fragments,
 * UTF-8 over a message, data after a close) belong to protocol/. See frame.h for the contracts. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "frame.h"

/* One binary for every x86-64: the loader picks the widest vectors that the machine has. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define WIDEST_VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST_VECTORS
#endif

WIDEST_VECTORS
void ws_mask(uint8_t *target, const uint8_t *source, size_t size, uint32_t mask_key, uint64_t offset)
{
    uint8_t key[8];
    uint64_t wide, word;
    size_t i, words = size / 8;

    memcpy(key, &mask_key, 4);
    memcpy(key + 4, &mask_key, 4);
    for (i = 0; i < 8; i++)
        ((uint8_t *)&wide)[i] = key[(i + offset) & 3];

    for (i = 0; i < words; i++) {           /* the compiler makes vectors of this */
        memcpy(&word, source + 8 * i, 8);
        word ^= wide;
        memcpy(target + 8 * i, &word, 8);
    }
    for (i = 8 * words; i < size; i++)
        target[i] = source[i] ^ ((uint8_t *)&wide)[i & 7];
}

/* Reads a big-endian number of `bytes` bytes. */
static uint64_t read_number(const uint8_t *data, size_t bytes)
{
    uint64_t number = 0;

    while (bytes--)
        number = number << 8 | *data++;
    return number;
}

/* Checks the first two bytes, as many as there are. */
static int check_start(const uint8_t *data, size_t size, const struct ws_scan *rules)
{
    unsigned opcode = data[0] & 0x0f;

    if (data[0] & 0x70 & ~(opcode < 8 ? rules->reserved : 0))
        return WS_RESERVED_BITS;
    if ((opcode & 7) > 2)
        return WS_RESERVED_OPCODE;
    if (opcode >= 8 && !(data[0] & 0x80))
        return WS_CONTROL_FRAGMENTED;
    if (size < 2)
        return WS_MORE;
    if (data[1] >> 7 != (int)rules->masked)
        return rules->masked ? WS_MASK_MISSING : WS_MASK_UNEXPECTED;
    if (opcode >= 8 && (data[1] & 0x7f) > 125)
        return WS_CONTROL_TOO_LONG;
    return WS_PAYLOAD;
}

/* Checks the length against its encoding and the limit. */
static int check_length(uint64_t length, size_t extended, unsigned head, const struct ws_scan *rules)
{
    if (extended == 8 && length >> 63)
        return WS_LENGTH_TOO_LARGE;
    if ((extended == 2 && length < 126) || (extended == 8 && length < 65536))
        return WS_LENGTH_NOT_MINIMAL;
    if (length > rules->max_payload && !(head & 0x08))
        return WS_TOO_BIG;
    return WS_PAYLOAD;
}

/* Reads the header at data[0..size), size > 0, into frame, with frame->start relative to data.
 * Returns WS_PAYLOAD when it is complete and good. */
static int read_header(const uint8_t *data, size_t size, const struct ws_scan *rules, struct ws_frame *frame)
{
    size_t extended, header;
    int status = check_start(data, size, rules);

    if (status != WS_PAYLOAD)
        return status;
    frame->head = data[0];
    frame->length = data[1] & 0x7f;
    frame->mask_key = 0;
    extended = frame->length < 126 ? 0 : frame->length == 126 ? 2 : 8;
    if (size < 2 + extended)
        return WS_MORE;
    if (extended)
        frame->length = read_number(data + 2, extended);
    status = check_length(frame->length, extended, frame->head, rules);
    if (status != WS_PAYLOAD)
        return status;
    header = 2 + extended + 4 * rules->masked;
    if (size < header)
        return WS_MORE;
    if (rules->masked)
        memcpy(&frame->mask_key, data + header - 4, 4);
    frame->start = header;
    return WS_PAYLOAD;
}

int ws_scan(uint8_t *data, size_t size, struct ws_scan *scan,
            struct ws_frame *frames, size_t max_frames)
{
    struct ws_frame *frame = &scan->next;
    int status = WS_MORE;

    scan->consumed = 0;
    scan->count = 0;
    while (scan->consumed < size) {
        if (scan->count == max_frames)
            return WS_FULL;
        status = read_header(data + scan->consumed, size - scan->consumed, scan, frame);
        if (status != WS_PAYLOAD)
            return status;
        frame->start += scan->consumed;
        if (frame->length > size - frame->start)
            return WS_PAYLOAD;
        if (scan->masked)
            ws_mask(data + frame->start, data + frame->start, frame->length, frame->mask_key, 0);
        scan->consumed = frame->start + frame->length;
        frames[scan->count++] = *frame;
        status = WS_MORE;
    }
    return status;
}
