/* driver.c - runs the C core against the edges of memory. See run.py, which builds it.
 *
 * Every buffer that the core gets begins or ends at a page that may not be touched, so that a
 * single byte too far is a crash, with the sanitizers and without. What the core returns is checked
 * too: by its own rules (offsets in order and within the buffer, nothing changed but payloads) and
 * against frames that were built here. Random numbers have a fixed seed. Says "ok" and how much it
 * did; anything else is a failure. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "frame.h"
#include "mask.h"
#include "deflate/deflate.h"
#include "deflate/inflate.h"
#include "receive/receive.h"
#include "fanout/fanout.h"
#include "streams.h"
#include "areas.h"
#include "receiving.h"
#include "fans.h"

/* Whether changed[0..size) is original[0..size) with the payloads of these frames unmasked, and
 * nothing else touched. */
static int unmasks(const uint8_t *changed, const uint8_t *original, size_t size,
                   const struct ws_frame *frames, size_t count, int masked)
{
    size_t at = 0, i;
    uint64_t k;

    for (i = 0; i < count; i++) {
        if (memcmp(changed + at, original + at, frames[i].start - at))
            return 0;
        for (k = 0; k < frames[i].length; k++) {
            at = frames[i].start + k;
            uint8_t key = masked ? original[frames[i].start - 4 + k % 4] : 0;

            if (changed[at] != (original[at] ^ key))
                return 0;
        }
        at = frames[i].start + frames[i].length;
    }
    return !memcmp(changed + at, original + at, size - at);
}

/* Scans a copy of data at one end of the area, with frames[] at the end of another, and checks what
 * comes back. */
static int scan_at(int at_end, const uint8_t *data, size_t size, struct ws_scan *scan,
                   size_t max_frames)
{
    uint8_t *copy = at_end ? input.end - size : input.start;
    struct ws_frame *frames = (struct ws_frame *)(void *)records.end - max_frames;
    uint64_t before = 0;     /* where the last frame ended */
    size_t i;
    int status;

    if (size)
        memcpy(copy, data, size);
    status = ws_scan(copy, size, scan, frames, max_frames);
    checked++;
    CHECK(status >= WS_MORE && status <= WS_TOO_BIG);
    CHECK(scan->count <= max_frames && scan->consumed <= size);
    for (i = 0; i < scan->count; i++) {
        CHECK(frames[i].start >= before + 2 && frames[i].start + frames[i].length <= size);
        CHECK(frames[i].length <= scan->max_payload || (frames[i].head & 0x08));
        CHECK(frames[i].head == data[before]);
        before = frames[i].start + frames[i].length;
    }
    CHECK(before == scan->consumed);
    if (status == WS_PAYLOAD)
        CHECK(scan->next.start <= size && scan->next.length > size - scan->next.start);
    CHECK(status != WS_FULL || scan->count == max_frames);
    CHECK(unmasks(copy, data, size, frames, scan->count, (int)scan->masked));
    return status;
}

/* Two frames, cut after every byte (after some bytes where they are long): what a scan says of each
 * prefix. */
static void check_prefixes(uint8_t head, uint32_t length, int masked)
{
    static uint8_t data[70000];
    size_t header = 2 + (size_t)minimal_form(length) + (masked ? 4 : 0), cut, first, size;
    struct ws_scan scan = {.max_payload = 1 << 20, .masked = (uint32_t)masked};
    int at_end, status;

    first = build_frame(data, head, length, minimal_form(length), masked);
    size = first + build_frame(data + first, 0x82, 5, 0, masked);
    for (cut = 0; cut <= size; cut += length < 1000 || cut < 20 || cut + 20 > first ? 1 : 1021) {
        for (at_end = 0; at_end < 2; at_end++) {
            status = scan_at(at_end, data, cut, &scan, 4);
            CHECK(scan.count == (size_t)(cut >= first) + (cut == size));
            if (cut < first)
                CHECK(status == (cut < header ? WS_MORE : WS_PAYLOAD));
            if (status == WS_PAYLOAD && cut < first) {
                CHECK(scan.next.start == header && scan.next.length == length);
                CHECK(scan.next.head == head);
            }
        }
    }
}

static void prefixes(void)
{
    size_t i, k;

    for (i = 0; i < LENGTHS; i++)
        for (k = 0; k < HEADS; k++)
            if (!(heads[k] & 0x08) || lengths[i] < 126) {
                check_prefixes(heads[k], lengths[i], 0);
                check_prefixes(heads[k], lengths[i], 1);
            }
}

static void fuzz(void)
{
    static const uint64_t limits[] = {0, 5, 125, 126, 65535, 1 << 20, ~0ull >> 1, ~0ull};
    static uint8_t data[4096];
    int round, masked, status, early;
    size_t size, max_frames, cut;

    for (round = 0; round < 60000; round++) {
        struct ws_scan scan;

        masked = (int)pick(2);
        size = build_stream(data, sizeof data, masked);
        max_frames = 1 + pick(8);
        scan.max_payload = limits[pick(8)];
        scan.reserved = pick(8) << 4;
        scan.masked = (uint32_t)masked;
        status = scan_at((int)pick(2), data, size, &scan, max_frames);
        cut = size ? pick((uint32_t)size) : 0;   /* what these bytes break, all of them break */
        early = scan_at(1, data, cut, &scan, max_frames);
        CHECK(early <= WS_FULL || early == status);
    }
}

/* Every size at every offset, from the end of one area to the start of another, and in place. */
static void mask(void)
{
    size_t size, i;
    uint64_t offset;

    for (size = 0; size < 400; size++)
        for (offset = ~0ull - 3; offset != 9; offset++) {
            uint8_t *target = size % 2 ? output.start : output.end - size;
            uint8_t *source = input.end - size;
            uint32_t mask_key = pick(~0u);
            uint8_t key[4];

            memcpy(key, &mask_key, 4);
            for (i = 0; i < size; i++)
                source[i] = (uint8_t)pick(256);
            ws_mask(target, source, size, mask_key, offset);
            for (i = 0; i < size; i++)
                CHECK(target[i] == (source[i] ^ key[(offset + i) % 4]));
            ws_mask(source, source, size, mask_key, offset);
            CHECK(!size || !memcmp(source, target, size));
            checked++;
        }
}

/* Compresses messages of any size, at the edges, and inflates what comes of them. */
static void deflates(void)
{
    int i;

    CHECK((inflater = ws_inflater_new()));
    for (i = 0; i < 20000; i++) {
        size_t size = pick(i % 4 ? 600 : WS_DEFLATE_MOST + 2);
        uint8_t *target = i % 4 ? output.end - size - WS_STORED : output.start;
        uint8_t *data = input.end - size, *again = formats.end - size;
        int32_t made;

        build_message(data, size);
        made = ws_deflate(data, size, 1u << (8 + pick(8)), target);
        CHECK((made > 0) == (size >= WS_DEFLATE_LEAST && size <= WS_DEFLATE_MOST));
        if (made < 0)
            continue;
        CHECK((size_t)made <= size + WS_STORED);
        memcpy(records.start, target, (size_t)made);
        CHECK(ws_inflate(inflater, records.start, (size_t)made, again, size) == (int32_t)size);
        CHECK(!memcmp(again, data, size));
        checked++;
    }
    CHECK(checked > 5000);
    ws_inflater_free(inflater);
}

/* Inflates messages, right and spoilt, where both buffers end at an edge. */
static void inflates(void)
{
    uint8_t copy[400];
    int i;

    CHECK((inflater = ws_inflater_new()));
    for (i = 0; i < 100000; i++) {
        size_t size = build_deflated(copy);
        uint8_t *data = input.end - size;
        int32_t room = (int32_t)pick(320), length;

        memcpy(data, copy, size);
        length = ws_inflate(inflater, data, size, output.end - room, (size_t)room);
        CHECK(length >= -1 && length <= room && !memcmp(data, copy, size));
        checked += length >= 0;
    }
    CHECK(checked > 20000);
    ws_inflater_free(inflater);
    ws_inflater_free(NULL);
}

/* A test of these tests: reads the byte after the input, as a careless scan would. */
static void overrun(void)
{
    volatile uint8_t *end = input.end;

    printf("%d\n", *end);
}

/* Another one: breaks the contract of a function, which an assertion in it says. */
static void precondition(void)
{
    struct ws_poller_options options = pick_options();
    struct ws_poller poller;

    options.size = options.chunk - 1;
    ws_poller_init(&poller, &options);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"prefixes", prefixes}, {"fuzz", fuzz}, {"mask", mask}, {"receive", receive},
                 {"split", split}, {"deflates", deflates}, {"inflates", inflates}, {"fans", fans},
                 {"overrun", overrun}, {"precondition", precondition}};
    size_t i;

    input = new_area();
    output = new_area();
    records = new_area();
    formats = new_area();
    for (i = 0; i < sizeof parts / sizeof *parts; i++)
        if (argc == 2 && !strcmp(argv[1], parts[i].name)) {
            parts[i].run();
            printf("ok: %s, %lu calls\n", parts[i].name, checked);
            return 0;
        }
    fprintf(stderr, "usage: driver PART, which is in this file\n");
    return 2;
}
