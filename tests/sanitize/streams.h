/* streams.h - random frames, and streams of them, for driver.c. The numbers have a fixed seed. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CHECK(condition) \
    do { if (!(condition)) fail(#condition, __FILE__, __LINE__); } while (0)

static void fail(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    exit(1);
}

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static const uint32_t lengths[] = {0, 1, 2, 3, 4, 7, 8, 9, 31, 33, 124, 125, 126, 127, 128, 300,
                                   65535, 65536, 65601};
#define LENGTHS (sizeof lengths / sizeof *lengths)

static const uint8_t heads[] = {0x81, 0x82, 0x80, 0x01, 0x02, 0x00, 0x88, 0x89, 0x8a};
#define HEADS (sizeof heads / sizeof *heads)

/* Writes a frame of random payload, and returns its size. */
static size_t build_frame(uint8_t *to, uint8_t head, uint64_t length, int form, int masked)
{
    size_t at = 2, i;

    to[0] = head;
    to[1] = (uint8_t)((masked ? 0x80 : 0) | (form == 0 ? length : form == 2 ? 126 : 127));
    for (i = 0; i < (size_t)form; i++)
        to[at++] = (uint8_t)(length >> 8 * ((size_t)form - 1 - i));
    for (i = 0; i < (masked ? 4 : 0) + length; i++)
        to[at++] = (uint8_t)pick(256);
    return at;
}

static int minimal_form(uint64_t length)
{
    return length < 126 ? 0 : length < 65536 ? 2 : 8;
}

/* Fills data with frames, most of them good, or with anything, and returns the size. */
static size_t build_stream(uint8_t *data, size_t most, int masked)
{
    static const uint64_t huge[] = {1u << 31, 1ull << 32, ~0ull >> 1, 1ull << 63, ~0ull - 3, ~0ull};
    size_t size = 0, i, count = pick(6);

    for (i = 0; i < count && size + 400 < most; i++) {
        uint32_t length = pick(3) ? pick(130) : lengths[pick(16)];
        int form = pick(12) ? minimal_form(length) : length < 126 && pick(2) ? 2 : 8;
        uint8_t head = pick(12) ? heads[pick(HEADS)] : (uint8_t)pick(256);

        size += build_frame(data + size, head, length, form, masked);
    }
    if (!pick(6)) {
        build_frame(data + size, heads[pick(6)], 0, 8, masked);
        for (i = 0; i < 8; i++)
            data[size + 2 + i] = (uint8_t)(huge[pick(6)] >> (56 - 8 * i));
        size += 14;
    }
    for (i = pick(3); i && size; i--)
        data[pick((uint32_t)size)] = (uint8_t)pick(256);
    return size - (pick(2) && size ? pick((uint32_t)size) : 0);
}

/* Fills data with few or many different bytes, some of them in repetition. */
static void build_message(uint8_t *data, size_t size)
{
    uint32_t kinds = 1 + pick(pick(3) ? 40 : 256), reach = pick(2) ? 3 : 300;
    size_t i;

    for (i = 0; i < size; i++)
        data[i] = i > 300 && pick(20) ? data[i - 1 - pick(reach)] : (uint8_t)pick(kinds);
}

/* Writes a message of up to 300 bytes, compressed by itself and now and then spoilt. Returns its
 * size. */
static size_t build_deflated(uint8_t *to)
{
    static z_stream stream;
    uint8_t message[300], made[400];
    size_t i, size;

    if (!stream.state)
        CHECK(deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = message;
    stream.avail_in = 1 + pick(sizeof message - 1);
    stream.next_out = made;
    stream.avail_out = sizeof made;
    for (i = 0; i < stream.avail_in; i++)
        message[i] = (uint8_t)('a' + pick(3));
    CHECK(deflate(&stream, Z_FULL_FLUSH) == Z_OK && !stream.avail_in && stream.avail_out);
    size = sizeof made - stream.avail_out - 4;
    if (!pick(4) && size)
        made[pick((uint32_t)size)] ^= 1 << pick(8);
    memcpy(to, made, size);
    return size;
}

/* Writes a frame of such a message, and returns its size. */
static size_t build_deflated_frame(uint8_t *to, int masked)
{
    uint8_t payload[400];
    size_t length = build_deflated(payload), size;

    size = build_frame(to, pick(2) ? 0xc1 : 0xc2, length, length < 126 ? 0 : 2, masked);
    memcpy(to + size - length, payload, length);
    if (masked)
        for (size_t i = 0; i < length; i++)
            to[size - length + i] ^= to[size - length - 4 + i % 4];
    return size;
}

/* Fills data with messages of one frame, most of them tiny, the last one cut; returns the size. */
static size_t build_burst(uint8_t *data, size_t most, int masked)
{
    size_t size = 0, count = 1 + pick(40);

    while (count-- && size + 400 < most) {
        uint32_t length = pick(4) ? pick(3) : 120 + pick(200);
        uint8_t head = (pick(2) ? 0x81 : 0x82) | (pick(5) ? 0 : 0x40);
        int deflated = !pick(4), form = deflated || pick(9) ? minimal_form(length) : 8;

        size += deflated ? build_deflated_frame(data + size, masked)
                         : build_frame(data + size, head, length, form, masked);
    }
    return size > 3 ? size - pick(4) : size;
}
