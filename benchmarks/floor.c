/* The floor: an epoll echo loop that checks nothing. What it costs is the kernel's price, no server can be cheaper
 * that makes one recv and one send for each stretch of bytes that arrives.
 *
 * It believes whatever it reads: no reserved bits, opcodes, UTF-8, limits or pings; only whole frames are echoed. It
 * listens on a port of the kernel's choice and prints it.     cc -O2 -o floor floor.c -lcrypto */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SPACE = 256 << 10, LEAST_KEPT = 4096, EVENTS = 512, CLOSE = 8 };

/* A frame still coming in, replies still going out: allocated only while there are any. */
struct conn {
    int fd;
    int open;
    uint8_t *in, *out;
    size_t in_size, in_room, out_size;
};

static uint8_t space[SPACE];
static int epoll;

static void drop(struct conn *conn) {
    close(conn->fd);
    free(conn->in);
    free(conn->out);
    free(conn);
}

static void watch(struct conn *conn, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = conn};
    epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static uint8_t *copy(const uint8_t *data, size_t size, size_t room) {
    uint8_t *made = malloc(room);
    if (made == NULL)
        abort();
    return memcpy(made, data, size);
}

/* Send, or keep what does not fit until there is room: meanwhile nothing is read. */
static void put(struct conn *conn, const uint8_t *data, size_t size) {
    ssize_t sent = send(conn->fd, data, size, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == size)
        return;
    conn->out = copy(data + done, size - done, size - done);
    conn->out_size = size - done;
    watch(conn, EPOLLOUT);
}

static void put_rest(struct conn *conn) {
    ssize_t sent = send(conn->fd, conn->out, conn->out_size, MSG_NOSIGNAL);
    if (sent <= 0)
        return;
    conn->out_size -= (size_t)sent;
    memmove(conn->out, conn->out + sent, conn->out_size);
    if (conn->out_size > 0)
        return;
    free(conn->out);
    conn->out = NULL;
    watch(conn, EPOLLIN);
}

static void answer(struct conn *conn, const char *request) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", name[] = "Sec-WebSocket-Key: ";
    char joined[24 + sizeof guid], accept[32], head[256];
    unsigned char digest[SHA_DIGEST_LENGTH];
    const char *key = strstr(request, name);
    if (key == NULL)
        return;
    memcpy(joined, key + sizeof name - 1, 24);
    memcpy(joined + 24, guid, sizeof guid);
    SHA1((unsigned char *)joined, 24 + sizeof guid - 1, digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, SHA_DIGEST_LENGTH);
    int size = snprintf(head, sizeof head, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    conn->open = 1;
    put(conn, (uint8_t *)head, (size_t)size);
}

static uint64_t big_endian(const uint8_t *data, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | data[i];
    return value;
}

/* `out` may begin before `data` and overlap it. */
static void unmask(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key) {
    uint64_t word, twice;
    uint32_t half;
    size_t i = 0;
    memcpy(&half, key, 4);
    twice = (uint64_t)half << 32 | half;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= twice;
        memcpy(out + i, &word, 8);
    }
    for (; i < size; i++)
        out[i] = data[i] ^ key[i % 4];
}

/* The size of the masked frame that starts here, or 0 while its header is not whole. */
static size_t frame_size(const uint8_t *data, size_t size) {
    size_t length = size < 2 ? 0 : data[1] & 127;
    size_t extra = length < 126 ? 0 : length == 126 ? 2 : 8;
    if (size < 6 + extra)
        return 0;
    return 6 + extra + (extra > 0 ? big_endian(data + 2, extra) : length);
}

/* Turn all whole frames into their replies, in place: a reply is its frame without the key. */
static size_t echo(uint8_t *data, size_t size, size_t *used, int *closing) {
    size_t filled = 0, whole;
    while ((whole = frame_size(data + *used, size - *used)) > 0 && whole <= size - *used) {
        uint8_t *frame = data + *used, key[4];
        size_t header = (frame[1] & 127) < 126 ? 2 : (frame[1] & 127) == 126 ? 4 : 10;
        memcpy(key, frame + header, 4);
        *closing |= (frame[0] & 15) == CLOSE;
        frame[1] &= 127;
        memmove(data + filled, frame, header);
        unmask(data + filled + header, frame + header + 4, whole - header - 4, key);
        filled += whole - 4;
        *used += whole;
    }
    return filled;
}

/* Keep what is left of a frame where the rest of it will fit behind it. */
static void keep(struct conn *conn, const uint8_t *data, size_t size) {
    uint8_t *old = conn->in;
    size_t whole = frame_size(data, size);
    conn->in_room = whole > LEAST_KEPT ? whole : LEAST_KEPT;
    conn->in = size > 0 ? copy(data, size, conn->in_room) : NULL;
    conn->in_size = size;
    free(old);
}

static void get(struct conn *conn) {
    uint8_t *data = conn->in != NULL ? conn->in : space;
    size_t room = conn->in != NULL ? conn->in_room : SPACE - 1, used = 0;
    int closing = 0;
    ssize_t got = recv(conn->fd, data + conn->in_size, room - conn->in_size, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        drop(conn);
        return;
    }
    size_t have = conn->in_size + (size_t)got;
    if (!conn->open) {
        space[have] = 0;
        answer(conn, (char *)space);
        return;
    }
    size_t filled = echo(data, have, &used, &closing);
    if (filled > 0)
        put(conn, data, filled);
    if (used == 0 && data == conn->in && have < conn->in_room)
        conn->in_size = have;
    else
        keep(conn, data + used, have - used);
    if (closing)
        drop(conn);
}

static void take(int listener) {
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (conn == NULL)
            abort();
        conn->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_somewhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1024) != 0)
        exit(1);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("PORT %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void) {
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* or every large frame is paid for in page faults */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_somewhere();
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn == NULL)
                take(listener);
            else if (conn->out != NULL)
                put_rest(conn);
            else
                get(conn);
        }
    }
}
