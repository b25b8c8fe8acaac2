/* receive.c - receiving for every ready socket of an epoll set in one call. See receive.h.
 *
 * This is the path of nearly every message, so it takes only what needs no thought: whole data frames that a
 * handler can have as they are. Anything else goes to protocol/ as it came, which knows all the rules; so a
 * frame that is refused here is not an error, only slower. */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "deflate/inflate.h"
#include "receive.h"

#define PEER_IS_SERVER 0x80000000u
#define TAKES_DEFLATED 0x40000000u
#define RSV1 0x40
#define MAX_EVENTS 128
#define MAX_INFLATED 65536 /* bytes that a message inflates to here: what is larger was inflated to so much in vain */
#define FULL_CHUNK (1 << 19) /* bytes of a limit below which a chunk is as large as with compressed frames */
#define OVERHEAD 104      /* bytes that Python takes for a message besides its content, and for its place */

/* What one call may cause, here and in Python, in messages: 3 ms or so, for others wait meanwhile. */
#define MAX_WORK 32768
#define INFLATED_BYTES 16  /* that take as long as a message, where they are inflated */
#define DATA_BYTES 4       /* the same of what the protocol takes, in frames of any size: where they are compressed, */
                           /* nobody knows what they inflate to, and one descriptor is enough */
#define READABLE_WORK 512 /* for a descriptor that Python receives for: a TLS record at the most, and most hold little */

#define MAX_FIELDS 24     /* characters that one message of a run takes in the layout, at the most */

struct batch {
    struct ws_poller *poller;
    uint8_t *buffer;
    int32_t used;         /* bytes of buffer */
    int32_t count;        /* of records */
    int32_t laid;         /* characters of the layout */
    int32_t work;         /* what was done, and is left to do in Python: see MAX_WORK */
};

static void add(struct batch *batch, int fd, int kind, int32_t start, int32_t end)
{
    struct ws_record *record = &batch->poller->records[batch->count++];

    record->fd = fd;
    record->kind = kind;
    record->start = start;
    record->end = end;
}

static void lay(struct batch *batch, int32_t number, char code)
{
    char digits[12];
    int size = 0;

    do
        digits[size++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (size > 0)
        batch->poller->layout[batch->laid++] = digits[--size];
    batch->poller->layout[batch->laid++] = code;
}

/* Adds a message whose payload is at buffer[start..end); `before` is the end of the one before it in these bytes, 0 for none. */
static void add_message(struct batch *batch, int fd, int kind, int32_t start, int32_t end, int32_t before)
{
    struct ws_record *last = &batch->poller->records[batch->count - 1];
    int plural = kind == WS_TEXT ? WS_TEXTS : WS_BINARIES;

    batch->work++;
    if (!before || (last->kind != kind && last->kind != plural)
        || batch->poller->layout_size - batch->laid < 2 * MAX_FIELDS) {
        add(batch, fd, kind, start, end);
        return;
    }
    if (last->kind == kind)
        lay(batch, last->end - last->start, 's');
    lay(batch, start - before, 'x');
    lay(batch, end - start, 's');
    last->kind = plural;
    last->end = batch->laid;
}

/* Reads the header of a whole, unfragmented data frame at data[0..size) that `limit` allows (see ws_receive).
 * Returns the size of the header and sets *length; 0 for anything else. */
static int32_t read_simple_header(const uint8_t *data, int32_t size, uint32_t limit, uint32_t *length)
{
    int32_t header = 2;
    int masked = !(limit & PEER_IS_SERVER), head;

    if (size < 2 || data[1] >> 7 != masked)
        return 0;
    head = limit & TAKES_DEFLATED ? data[0] & ~RSV1 : data[0];
    if (head != 0x81 && head != 0x82)
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
    limit &= ~(PEER_IS_SERVER | TAKES_DEFLATED);
    if (*length > limit || size < header || *length > (uint32_t)(size - header))
        return 0;
    return header;
}

static void unmask(uint8_t *payload, uint32_t length, uint32_t limit)
{
    uint32_t mask_key;

    if (limit & PEER_IS_SERVER)
        return;
    __builtin_memcpy(&mask_key, payload - 4, 4);
    ws_mask(payload, payload, length, mask_key, 0);
}

/* Returns the bytes that Python takes for a message: at the most, where there is room for so many; else for this very one. */
static int32_t weigh(int kind, const uint8_t *payload, uint32_t length, int32_t room)
{
    int32_t size = (int32_t)length;
    uint8_t highest = 0;
    uint32_t i;

    if (kind == WS_BINARY || 4 * size + OVERHEAD <= room)
        return (kind == WS_BINARY ? size : 4 * size) + OVERHEAD;
    for (i = 0; i < length; i++)
        highest = payload[i] > highest ? payload[i] : highest;
    return size * (highest < 0xc4 ? 1 : highest < 0xf0 ? 2 : 4) + OVERHEAD;
}

/* Inflates a message, to behind all that was received, and adds it. Returns what it takes; 0 where it cannot be inflated so, or takes
 * more than `room`. */
static int32_t add_inflated(struct batch *batch, int fd, int kind, int32_t payload, uint32_t length, uint32_t limit,
                            int32_t room)
{
    struct ws_poller *poller = batch->poller;
    int32_t start = batch->used, most = poller->size - start, size, weight;

    limit &= ~(PEER_IS_SERVER | TAKES_DEFLATED);
    limit = limit < MAX_INFLATED ? limit : MAX_INFLATED;
    if (!poller->inflater || most <= 0)
        return 0;
    most = most < (int32_t)limit ? most : (int32_t)limit;
    size = ws_inflate(poller->inflater, batch->buffer + payload, (int32_t)length, batch->buffer + start, most);
    batch->work += (size < 0 ? most : size) / INFLATED_BYTES;
    if (size < 0)
        return 0;
    weight = weigh(kind, batch->buffer + start, (uint32_t)size, 0);
    if (weight > room)
        return 0;
    add_message(batch, fd, kind, start, start + size, 0);
    batch->used = start + size;
    return weight;
}

/* Makes records of buffer[used..used + got), which came for fd. */
static void take(struct batch *batch, int fd, uint32_t limit, int32_t got)
{
    int32_t at = batch->used, end = at + got, before = 0, header, start, weight;
    int32_t room = (int32_t)((limit & ~(PEER_IS_SERVER | TAKES_DEFLATED)) / 2) + WS_LEAST_ROOM;
    uint32_t length;

    batch->used = end;
    while (at < end && batch->count < batch->poller->max_records - 1) {
        uint8_t head = batch->buffer[at];

        header = read_simple_header(batch->buffer + at, end - at, limit, &length);
        if (!header)
            break;
        start = at + header;
        unmask(batch->buffer + start, length, limit);
        if (head & RSV1)
            weight = add_inflated(batch, fd, head & 0x0f, start, length, limit, room);
        else
            weight = weigh(head & 0x0f, batch->buffer + start, length, room);
        if (!weight || weight > room) {
            unmask(batch->buffer + start, length, limit);  /* which masks it again */
            break;
        }
        room -= weight;
        if (!(head & RSV1))
            add_message(batch, fd, head & 0x0f, start, start + (int32_t)length, before);
        before = head & RSV1 ? 0 : start + (int32_t)length;
        at = start + (int32_t)length;
    }
    if (at < end) {
        batch->work += limit & TAKES_DEFLATED ? MAX_WORK : (end - at) / DATA_BYTES;
        add(batch, fd, WS_DATA, at, end);
    }
}

int ws_split(struct ws_poller *poller, int fd, uint32_t limit, uint8_t *buffer, int32_t size)
{
    struct batch batch = {poller, buffer, 0, 0, 0, 0};

    take(&batch, fd, limit, size);
    return batch.count;
}

void ws_forget(struct ws_poller *poller, int fd)
{
    int i;

    for (i = poller->events_at; i < poller->events_count; i += 2)
        if (poller->events[i] == fd)
            poller->events[i] = -1;
}

#ifdef __linux__

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define TURN 1000000      /* ns after which the loop has its turn, whatever there is to receive */
#define LONG_WAIT 500000  /* ns: who waits longer for a message had better leave that to the loop */
#define LAST_WAIT 5       /* ms; a kernel's tick or more, for a timer that does not wait for one costs more than it saves */
#define MAX_PENALTY 64

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * (int64_t)1000000000 + time.tv_nsec;
}

static void receive_one(struct batch *batch, int fd, uint32_t limit)
{
    int small = limit & TAKES_DEFLATED || (limit & ~(PEER_IS_SERVER | TAKES_DEFLATED)) < FULL_CHUNK;
    int32_t most = small ? batch->poller->deflated_chunk : batch->poller->chunk;
    ssize_t got = recv(fd, batch->buffer + batch->used, (size_t)most, MSG_DONTWAIT);

    if (got > 0)
        take(batch, fd, limit, (int32_t)got);
    else if (got == 0)
        add(batch, fd, WS_EOF, 0, 0);
    else if (errno != EAGAIN && errno != EINTR)
        add(batch, fd, WS_FAILED, errno, 0);
    else
        batch->poller->vain++;
}

/* Whether a descriptor that another process has, too, is another file here by now: what epoll tells is of the old one. */
static int is_stranger(struct ws_poller *poller, int fd)
{
    uint64_t inode = fd < poller->inodes_count ? poller->inodes[fd] : 0;
    struct stat status;

    return inode && (fstat(fd, &status) || !S_ISSOCK(status.st_mode) || status.st_ino != inode);
}

static int ask(struct ws_poller *poller)
{
    struct epoll_event events[MAX_EVENTS];
    int i, ready = epoll_wait(poller->epoll_fd, events, MAX_EVENTS, 0);

    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    for (i = 0; i < ready; i++) {
        poller->events[2 * i] = events[i].data.fd;
        poller->events[2 * i + 1] = (int32_t)events[i].events;
    }
    poller->events_at = 0;
    poller->events_count = 2 * ready;
    return ready;
}

/* Takes one event; returns 0 where there is no room to receive. */
static int take_event(struct batch *batch, int fd, uint32_t event)
{
    struct ws_poller *poller = batch->poller;
    int simple = fd >= 0 && fd < poller->limits_count && poller->limits[fd];
    int readable = (event & ~(uint32_t)EPOLLOUT) != 0;

    if (fd < 0)
        return 1;
    if (batch->work >= MAX_WORK)
        return 0;
    if (batch->count >= poller->max_records - 3 || (readable && simple && poller->size - batch->used < poller->chunk))
        return 0;
    if (poller->inodes_count && is_stranger(poller, fd)) {
        add(batch, fd, WS_FAILED, EBADF, 0);
        return 1;
    }
    if (event & EPOLLOUT)
        add(batch, fd, WS_WRITABLE, 0, 0);
    if (readable && simple)
        receive_one(batch, fd, poller->limits[fd]);
    else if (readable)
        batch->work += READABLE_WORK, add(batch, fd, WS_READABLE, 0, 0);
    return 1;
}

static int receive_batch(struct ws_poller *poller)
{
    struct batch batch = {poller, poller->buffer, 0, 0, 0, 0};
    int ready;

    poller->vain = 0;
    if (poller->events_at == poller->events_count && (ready = ask(poller)) < 0)
        return ready;
    while (poller->events_at < poller->events_count) {
        const int32_t *event = poller->events + poller->events_at;
        if (!take_event(&batch, event[0], (uint32_t)event[1]))
            break;
        poller->events_at += 2;
    }
    return batch.count;
}

int ws_receive(struct ws_poller *poller)
{
    poller->since = now();
    return receive_batch(poller);
}

int ws_linger(struct ws_poller *poller)
{
    struct pollfd waited = {poller->loop_fd, POLLIN, 0};
    int64_t began;
    int ready;

    if (poller->skip > 0) {
        poller->skip--;
        return 0;
    }
    began = now();
    if (poller->loop_fd < 0 || began - poller->since > TURN)
        return 0;
    ready = poll(&waited, 1, LAST_WAIT) > 0;
    if (ready && now() - began < LONG_WAIT) {
        poller->penalty = 1;
    } else {
        poller->penalty = poller->penalty < MAX_PENALTY ? 2 * poller->penalty : MAX_PENALTY;
        poller->skip = poller->penalty;
    }
    return ready ? receive_batch(poller) : 0;
}

#else

int ws_receive(struct ws_poller *poller)
{
    (void)poller;
    return -ENOSYS;
}

int ws_linger(struct ws_poller *poller)
{
    (void)poller;
    return -ENOSYS;
}

#endif
