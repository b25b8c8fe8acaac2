/* driver.c - runs the C core against the edges of memory. See run.py, which builds it.
 *
 * Every buffer that the core gets begins or ends at a page that may not be touched, so that a single byte too far
 * is a crash, with the sanitizers and without. What the core returns is checked too: by its own rules (offsets in
 * order and within the buffer, nothing changed but payloads) and against frames that were built here. Random
 * numbers have a fixed seed. Says "ok" and how much it did; anything else is a failure. */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "deflate/deflate.h"
#include "deflate/inflate.h"
#include "receive.h"
#include "fanout.h"
#include "streams.h"

#define AREA (1u << 18)

static unsigned long checked;

/* AREA bytes between two pages that may not be touched. */
struct area {
    uint8_t *start, *end;
};

static struct area new_area(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, AREA + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct area area;

    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) || mprotect(memory + page + AREA, page, PROT_NONE)) {
        perror("mmap");
        exit(1);
    }
    area.start = memory + page;
    area.end = area.start + AREA;
    return area;
}

static struct area input, output, records, layout;

#include "fans.h"

/* Whether changed[0..size) is original with these frames' payloads unmasked and nothing else touched. */
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
            if (changed[at] != (original[at] ^ (masked ? original[frames[i].start - 4 + k % 4] : 0)))
                return 0;
        }
        at = frames[i].start + frames[i].length;
    }
    return !memcmp(changed + at, original + at, size - at);
}

/* Scans a copy of data at one end of the area, with frames[] at the end of another, and checks what comes back. */
static int scan_at(int at_end, const uint8_t *data, size_t size, struct ws_scan *scan, size_t max_frames)
{
    uint8_t *copy = at_end ? input.end - size : input.start;
    struct ws_frame *frames = (struct ws_frame *)(void *)records.end - max_frames;
    uint64_t behind = 0;
    size_t i;
    int status;

    if (size)
        memcpy(copy, data, size);
    status = ws_scan(copy, size, scan, frames, max_frames);
    checked++;
    CHECK(status >= WS_MORE && status <= WS_TOO_BIG);
    CHECK(scan->count <= max_frames && scan->consumed <= size);
    for (i = 0; i < scan->count; i++) {
        CHECK(frames[i].start >= behind + 2 && frames[i].start + frames[i].length <= size);
        CHECK(frames[i].length <= scan->max_payload || (frames[i].head & 0x08));
        CHECK(frames[i].head == data[behind]);
        behind = frames[i].start + frames[i].length;
    }
    CHECK(behind == scan->consumed);
    CHECK(status != WS_PAYLOAD || (scan->next.start <= size && scan->next.length > size - scan->next.start));
    CHECK(status != WS_FULL || scan->count == max_frames);
    CHECK(unmasks(copy, data, size, frames, scan->count, (int)scan->masked));
    return status;
}

/* Two frames, cut after every byte (after some bytes where they are long): what a scan says of each prefix. */
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
            if (status == WS_PAYLOAD && cut < first)
                CHECK(scan.next.start == header && scan.next.length == length && scan.next.head == head);
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
        cut = size ? pick((uint32_t)size) : 0;   /* what a part of the bytes breaks, all of them break */
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
            uint8_t *source = input.end - size, *target = size % 2 ? output.start : output.end - size;
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

/* Follows a run from its first payload on; returns where the last one ends. */
static int32_t follow_run(const char *laid, const char *end, int32_t at, uint32_t limit)
{
    int payloads = 0;

    while (laid < end) {
        char *code;
        long number = strtol(laid, &code, 10);

        CHECK(code > laid && code < end && number >= 0);
        CHECK(*code == 's' || *code == 'x');
        CHECK(*code == 'x' ? number >= 2 && number <= 14 : (uint32_t)number <= (limit & 0x3fffffff));
        payloads += *code == 's';
        at += (int32_t)number;
        laid = code + 1;
    }
    CHECK(laid == end && payloads >= 2);
    return at;
}

static struct ws_inflater *inflater;

/* One call of ws_receive, with every buffer at an edge, and limits for the descriptors up to `most`. */
static void receive_once(int epoll_fd, uint32_t limit, int32_t size, int32_t chunk, int32_t max_records, int most)
{
    int32_t behind = 0, laid = 0, layout_size = (int32_t)pick(400);
    struct ws_record *found = (struct ws_record *)(void *)records.end - max_records;
    struct ws_poller poller = {
        .epoll_fd = epoll_fd, .loop_fd = epoll_fd, .penalty = 1,
        .limits = (uint32_t *)(void *)output.end - (most + 1), .limits_count = most + 1,
        .buffer = input.end - size, .size = size, .chunk = chunk, .deflated_chunk = 1 + (int32_t)pick((uint32_t)chunk),
        .records = found, .max_records = max_records, .inflater = pick(8) ? inflater : NULL,
        .layout = (char *)layout.end - layout_size, .layout_size = layout_size,
    };
    int i, count;

    for (i = 0; i <= most; i++)
        poller.limits[i] = limit;
    count = pick(4) ? ws_receive(&poller) : ws_linger(&poller);
    ws_forget(&poller, (int)pick((uint32_t)most + 1));
    CHECK(count >= 0 && count <= max_records);
    for (i = 0; i < count; i++) {
        int run = found[i].kind == WS_TEXTS || found[i].kind == WS_BINARIES;

        CHECK(found[i].kind >= WS_TEXT && found[i].kind <= WS_BINARIES);
        CHECK(found[i].kind != WS_EOF && found[i].kind != WS_FAILED);
        if (found[i].kind > WS_DATA && !run)
            continue;
        CHECK(found[i].fd <= most && (limit & 0x40000000 ? 0 : behind) <= found[i].start);
        if (run) {
            CHECK(laid < found[i].end && found[i].end <= layout_size);
            behind = follow_run(poller.layout + laid, poller.layout + found[i].end, found[i].start, limit);
            laid = found[i].end;
        } else {
            CHECK(found[i].start <= found[i].end);
            CHECK(found[i].kind == WS_DATA || (uint32_t)(found[i].end - found[i].start) <= (limit & 0x3fffffff));
            behind = found[i].end;
        }
        CHECK(behind <= size);
    }
    checked++;
}

static void receive(void)
{
    static uint8_t data[4096];
    int pairs[8][2], epoll_fd = epoll_create1(0), i, round;

    CHECK(epoll_fd >= 0 && (inflater = ws_inflater_new()));
    for (i = 0; i < 8; i++) {
        struct epoll_event event = {.events = i % 2 ? EPOLLIN : EPOLLIN | EPOLLOUT};

        CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
        event.data.fd = pairs[i][1];
        CHECK(!epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pairs[i][1], &event));
    }
    for (round = 0; round < 20000; round++) {
        int masked = (int)pick(8) != 0;
        uint32_t limit = (pick(6) ? 1 + pick(400) : pick(2) ? 0x3fffffff : 0) | (masked ? 0 : 0x80000000u);
        int32_t chunk = 1 + (int32_t)pick(600), room = pick(2) ? 0 : (int32_t)pick(2000);

        limit |= pick(2) ? 0x40000000 : 0;
        for (i = (int)pick(4); i; i--) {
            size_t size = (pick(3) ? build_burst : build_stream)(data, sizeof data, masked);

            if (send(pairs[pick(8)][0], data, size, MSG_DONTWAIT) < 0)
                CHECK(errno == EAGAIN);
        }
        receive_once(epoll_fd, limit, chunk + room, chunk, 1 + (int32_t)pick(20), pairs[pick(4) ? 7 : 3][1]);
    }
}

/* Compresses messages of any size, at the edges, and inflates what comes of them. */
static void deflates(void)
{
    int i;

    CHECK((inflater = ws_inflater_new()));
    for (i = 0; i < 20000; i++) {
        int32_t size = (int32_t)pick(i % 4 ? 600 : WS_DEFLATE_MOST + 2), made;
        uint8_t *data = input.end - size, *target = i % 4 ? output.end - size - WS_STORED : output.start;

        build_message(data, (size_t)size);
        made = ws_deflate(data, size, 1 << (8 + pick(8)), target);
        CHECK(made >= 0 && made <= size + WS_STORED);
        CHECK(!made || (size >= WS_DEFLATE_LEAST && size <= WS_DEFLATE_MOST));
        memcpy(records.start, target, (size_t)made);
        CHECK(!made || ws_inflate(inflater, records.start, made, layout.end - size, size) == size);
        CHECK(!made || !memcmp(layout.end - size, data, (size_t)size));
        checked += made > 0;
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
        length = ws_inflate(inflater, data, (int32_t)size, output.end - room, room);
        CHECK(length >= -1 && length <= room && !memcmp(data, copy, size));
        checked += length >= 0;
    }
    CHECK(checked > 20000);
    ws_inflater_free(inflater);
    ws_inflater_free(NULL);
}

/* The test of these tests: reads the byte behind the input, as a careless scan would. */
static void overrun(void)
{
    volatile uint8_t *end = input.end;

    printf("%d\n", *end);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {{"prefixes", prefixes}, {"fuzz", fuzz}, {"mask", mask}, {"receive", receive},
                 {"deflates", deflates}, {"inflates", inflates}, {"fans", fans},
                 {"overrun", overrun}};
    size_t i;

    input = new_area();
    output = new_area();
    records = new_area();
    layout = new_area();
    for (i = 0; i < sizeof parts / sizeof *parts; i++)
        if (argc == 2 && !strcmp(argv[1], parts[i].name)) {
            parts[i].run();
            printf("ok: %s, %lu calls\n", parts[i].name, checked);
            return 0;
        }
    fprintf(stderr, "usage: driver prefixes|fuzz|mask|receive|deflates|inflates|fans|overrun\n");
    return 2;
}
