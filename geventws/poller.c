/* poller.c - receiving for every ready socket of an epoll set in one call. See poller.h.
 *
 * This is the path of nearly every message, so it takes only what needs no thought: whole data frames that a
 * handler can have as they are. Anything else goes to protocol.py as it came, which knows all the rules; so a
 * frame that is refused here is not an error, only slower. */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "poller.h"

#define PEER_IS_SERVER 0x80000000u
#define MAX_EVENTS 128

struct batch {
    uint8_t *buffer;
    struct ws_record *records;
    int32_t used;         /* bytes of buffer */
    int32_t count;        /* of records */
    int32_t max_records;
};

static void add(struct batch *batch, int fd, int kind, int32_t start, int32_t end)
{
    struct ws_record *record = &batch->records[batch->count++];

    record->fd = fd;
    record->kind = kind;
    record->start = start;
    record->end = end;
}

/* Reads the header of a whole, unfragmented, uncompressed data frame of at most `limit` bytes at data[0..size).
 * Returns the size of the header and sets *length; 0 for anything else. */
static int32_t read_simple_header(const uint8_t *data, int32_t size, uint32_t limit, int masked, uint32_t *length)
{
    int32_t header = 2;

    if (size < 2 || (data[0] != 0x81 && data[0] != 0x82) || data[1] >> 7 != masked)
        return 0;
    *length = data[1] & 0x7f;
    if (*length == 126) {
        if (size < 4)
            return 0;
        *length = (uint32_t)data[2] << 8 | data[3];
        header = 4;
        if (*length < 126)
            return 0;
    } else if (*length == 127) {
        if (size < 10 || data[2] | data[3] | data[4] | data[5])
            return 0;
        *length = (uint32_t)data[6] << 24 | (uint32_t)data[7] << 16 | (uint32_t)data[8] << 8 | data[9];
        header = 10;
        if (*length < 65536)
            return 0;
    }
    header += masked ? 4 : 0;
    if (*length > limit || size < header || *length > (uint32_t)(size - header))
        return 0;
    return header;
}

/* Makes records of buffer[used..used + got), which came for fd. */
static void take(struct batch *batch, int fd, uint32_t limit, int32_t got)
{
    int masked = !(limit & PEER_IS_SERVER);
    int32_t at = batch->used, end = at + got, header;
    uint32_t length, mask_key;

    limit &= ~PEER_IS_SERVER;
    while (at < end && batch->count < batch->max_records - 1) {
        header = read_simple_header(batch->buffer + at, end - at, limit, masked, &length);
        if (!header)
            break;
        if (masked) {
            uint8_t *payload = batch->buffer + at + header;
            __builtin_memcpy(&mask_key, payload - 4, 4);
            ws_mask(payload, payload, length, mask_key, 0);
        }
        add(batch, fd, batch->buffer[at] & 0x0f, at + header, at + header + (int32_t)length);
        at += header + (int32_t)length;
    }
    if (at < end)
        add(batch, fd, WS_DATA, at, end);
    batch->used = end;
}

int ws_split(uint32_t limit, uint8_t *buffer, int32_t size, struct ws_record *records, int32_t max_records)
{
    struct batch batch = {buffer, records, 0, 0, max_records};

    take(&batch, 0, limit, size);
    return batch.count;
}

#ifdef __linux__

#include <sys/epoll.h>
#include <sys/socket.h>

static void receive_one(struct batch *batch, int fd, uint32_t limit, int32_t chunk)
{
    ssize_t got = recv(fd, batch->buffer + batch->used, (size_t)chunk, MSG_DONTWAIT);

    if (got > 0)
        take(batch, fd, limit, (int32_t)got);
    else if (got == 0)
        add(batch, fd, WS_EOF, 0, 0);
    else if (errno != EAGAIN && errno != EINTR)
        add(batch, fd, WS_FAILED, errno, 0);
}

int ws_receive(int epoll_fd, int guess, const uint32_t *limits, int32_t limits_count,
               uint8_t *buffer, int32_t size, int32_t chunk,
               struct ws_record *records, int32_t max_records)
{
    struct epoll_event events[MAX_EVENTS];
    struct batch batch = {buffer, records, 0, 0, max_records};
    int i, fd, ready;

    if (guess >= 0 && guess < limits_count && limits[guess]) {
        receive_one(&batch, guess, limits[guess], chunk);
        if (batch.count)
            return batch.count;
    }
    ready = epoll_wait(epoll_fd, events, MAX_EVENTS, 0);
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    for (i = 0; i < ready && batch.count < max_records - 3; i++) {
        fd = events[i].data.fd;
        if (events[i].events & EPOLLOUT)
            add(&batch, fd, WS_WRITABLE, 0, 0);
        if (!(events[i].events & ~(uint32_t)EPOLLOUT))
            continue;
        if (fd >= limits_count || !limits[fd])
            add(&batch, fd, WS_READABLE, 0, 0);
        else if (size - batch.used >= chunk)
            receive_one(&batch, fd, limits[fd], chunk);
    }
    return batch.count;
}

#else

int ws_receive(int epoll_fd, int guess, const uint32_t *limits, int32_t limits_count,
               uint8_t *buffer, int32_t size, int32_t chunk,
               struct ws_record *records, int32_t max_records)
{
    (void)epoll_fd, (void)guess, (void)limits, (void)limits_count, (void)buffer, (void)size, (void)chunk;
    (void)records, (void)max_records;
    return -ENOSYS;
}

#endif
