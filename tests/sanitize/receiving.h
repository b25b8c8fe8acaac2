/* receiving.h - the parts of driver.c about receive.c and records.c. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Follows a run from its first payload on; returns where the last one ends. */
static int32_t follow_run(const char *format, const char *end, int32_t at, uint32_t word)
{
    int payloads = 0;

    while (format < end) {
        char *code;
        long number = strtol(format, &code, 10);

        CHECK(code > format && code < end && number >= 0);
        CHECK(*code == 's' || *code == 'x');
        if (*code == 'x')
            CHECK(number >= 2 && number <= 14);
        else
            CHECK((uint32_t)number <= (word & WS_FAST_SIZE));
        payloads += *code == 's';
        at += (int32_t)number;
        format = code + 1;
    }
    CHECK(format == end && payloads >= 2);
    return at;
}

/* Checks the records of one call, which are for descriptors up to `most`. */
static void check_records(const struct ws_poller_options *options, int count, uint32_t word,
                          int most)
{
    int32_t before = 0, format_used = 0;
    int i;

    CHECK(count >= 0 && count <= options->max_records);
    for (i = 0; i < count; i++) {
        const struct ws_record *record = &options->records[i];
        int run = record->kind == WS_TEXTS || record->kind == WS_BINARIES;

        CHECK(record->kind >= WS_TEXT && record->kind <= WS_BINARIES);
        CHECK(record->kind != WS_EOF && record->kind != WS_FAILED);
        if (record->kind > WS_DATA && !run)
            continue;
        CHECK(record->fd <= most && (word & WS_FAST_DEFLATED ? 0 : before) <= record->start);
        if (run) {
            CHECK(format_used < record->end && record->end <= options->format_size);
            before = follow_run(options->format + format_used, options->format + record->end,
                                record->start, word);
            format_used = record->end;
        } else {
            CHECK(record->start <= record->end);
            if (record->kind != WS_DATA)
                CHECK((uint32_t)(record->end - record->start) <= (word & WS_FAST_SIZE));
            before = record->end;
        }
        CHECK(before <= options->size);
    }
}

static struct ws_inflater *inflater;

/* Some options, with every buffer at an edge. */
static struct ws_poller_options pick_options(void)
{
    int32_t chunk = 1 + (int32_t)pick(600), room = pick(2) ? 0 : (int32_t)pick(2000);
    int32_t max_records = 4 + (int32_t)pick(20), format_size = (int32_t)pick(400);
    int32_t size = chunk + room;
    struct ws_poller_options options = {
        .loop_fd = -1, .chunk = chunk, .small_chunk = 1 + (int32_t)pick((uint32_t)chunk),
        .size = size, .buffer = input.end - size, .inflater = pick(8) ? inflater : NULL,
        .records = (struct ws_record *)(void *)records.end - max_records,
        .max_records = max_records,
        .format_size = format_size, .format = (char *)formats.end - format_size,
    };

    return options;
}

/* One call, with a word for the descriptors up to `most`. */
static void receive_once(int epoll_fd, uint32_t word, int most)
{
    uint32_t *words = (uint32_t *)(void *)output.end - (most + 1);
    struct ws_poller_options options = pick_options();
    struct ws_poller poller;
    int i, count;

    for (i = 0; i <= most; i++)
        words[i] = word;
    options.loop_fd = epoll_fd;
    ws_poller_init(&poller, &options);
    ws_poller_attach(&poller, epoll_fd);
    ws_poller_use_fast_paths(&poller, words, (size_t)most + 1);
    count = pick(4) ? ws_receive(&poller) : ws_busy_poll(&poller);
    ws_poller_forget(&poller, (int)pick((uint32_t)most + 1));
    check_records(&options, count, word, most);
    checked++;
}

static uint32_t pick_word(int masked)
{
    uint32_t size = pick(6) ? 1 + pick(400) : pick(2) ? WS_FAST_SIZE : 0;

    return size | (pick(2) ? WS_FAST_DEFLATED : 0) | (masked ? 0 : WS_FAST_UNMASKED);
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
        uint32_t word = pick_word(masked);

        for (i = (int)pick(4); i; i--) {
            size_t size = (pick(3) ? build_burst : build_stream)(data, sizeof data, masked);

            if (send(pairs[pick(8)][0], data, size, MSG_DONTWAIT) < 0)
                CHECK(errno == EAGAIN);
        }
        receive_once(epoll_fd, word, pairs[pick(4) ? 7 : 3][1]);
    }
}

/* Splits what was received elsewhere, in a buffer of its own at an edge. */
static void split(void)
{
    static uint8_t data[4096];
    int round;

    CHECK((inflater = ws_inflater_new()));
    for (round = 0; round < 20000; round++) {
        int masked = (int)pick(8) != 0, count;
        uint32_t word = pick_word(masked);
        struct ws_poller_options options = pick_options();
        size_t size = (pick(3) ? build_burst : build_stream)(data, sizeof data, masked);
        uint8_t *buffer = output.end - options.size;
        struct ws_poller poller;

        if (size > (size_t)options.size)
            size = (size_t)options.size;
        memcpy(buffer, data, size);
        options.buffer = NULL;
        ws_poller_init(&poller, &options);
        count = ws_split(&poller, 3, word, buffer, size);
        check_records(&options, count, word, 3);
        checked += count > 0;
    }
    CHECK(checked > 5000);
}
