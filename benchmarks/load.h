/* The load generator, shared declarations.  load.c opens with the plan. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum mode { MODE_ECHO, MODE_HANDSHAKES, MODE_HOLD, MODE_FANOUT };

struct options {
    enum mode mode;
    const char *host;         /* an IPv4 address */
    int port;
    bool tls;
    bool text;                /* text messages rather than binary ones */
    bool deflate;             /* the payload file is a compressed message: offer permessage-deflate, set RSV1 */
    const char *payload_file; /* the message; otherwise `size` bytes of ASCII */
    size_t size;              /* bytes in a message */
    size_t connections;       /* open connections; for handshakes: how many at a time */
    size_t active;            /* connections that echo; the others are idle */
    size_t depth;             /* messages in flight per active connection; fanout: that are published together */
    size_t stalled;           /* fanout: connections that read nothing */
    double rate;              /* fanout: how often a second is published; 0: once everybody has got the last messages */
    double warmup, seconds;   /* seconds */
    double limit;             /* seconds that opening all the connections may take */
    pid_t pids[16];           /* the server's processes, whose CPU time is read */
    size_t pid_count;
};

enum state { CONN_FREE, CONN_CONNECTING, CONN_TLS, CONN_ANSWER, CONN_OPEN, CONN_CLOSING };

/* One connection. Replies are parsed as they come; nothing of a payload is kept. */
struct conn {
    int fd;
    enum state state;
    uint32_t events;          /* what epoll watches for */
    bool active;
    void *tls;                /* SSL *, or NULL */
    uint64_t began;           /* when connect() was called, ns */
    char *answer;             /* the handshake's answer while it comes in */
    size_t answer_length;
    size_t control_left;      /* bytes of `control` still to be written */
    bool control_turn;        /* it is the control frame's turn to be written, not the messages' */
    size_t out_left;          /* bytes of prepared frames still to be written */
    uint8_t head[10];         /* the reply's header */
    uint8_t head_length;
    uint8_t control_length;
    uint8_t control[6 + 125]; /* a masked control frame: our close, or the pong for the last ping */
    uint8_t ping[125];        /* the payload of the control frame that is coming in */
    bool closed_by_peer;
    uint64_t body_length, body_at;
    uint64_t *sent;           /* ring of `depth` times at which messages were sent, ns */
    size_t in_flight, oldest;
    uint64_t received;        /* fanout with a rate: how many messages */
};

/* Everything there is one of. */
struct load {
    struct options options;
    int epoll;
    struct conn *conns;
    size_t opened, opening, lost;
    uint8_t *frames;          /* `depth` masked frames, one behind the other: made once, sent for ever */
    size_t frame_size, frames_size;
    uint8_t *payload;         /* what a reply must hold */
    char request[512];
    size_t request_length;
    uint64_t now;             /* ns, read once per event */
    uint64_t replies_in_event;
    uint64_t round_began;     /* fanout: when the last messages were published, ns, */
    size_t awaited;           /* and how many deliveries of them are still to come; */
    size_t rounds;            /* how often was published */
    uint64_t interval;        /* fanout with a rate: nanoseconds between two times to publish, or 0; */
    uint64_t first;           /* the first time, */
    int timer;                /* and what tells that one has come; see turn() */
    uint64_t messages, errors;
    uint64_t reply_bytes, compressed; /* payload bytes of the replies, and how many replies have RSV1 set */
    char error[160];          /* the first error */
};

/* load_io.c: bytes in and out of a TCP or TLS socket. */
enum { IO_AGAIN = -1, IO_ERROR = -2 };
bool io_setup(const struct options *options);
bool io_connect(struct load *load, struct conn *conn);
/* 1 once the TLS handshake is through, IO_AGAIN or IO_ERROR otherwise. */
int io_tls_handshake(struct load *load, struct conn *conn);
/* Bytes read (0 at the end) or written, or IO_AGAIN or IO_ERROR. */
ssize_t io_read(struct conn *conn, void *buffer, size_t size);
ssize_t io_write(struct conn *conn, const void *buffer, size_t size);
/* Let epoll watch for these events. */
void io_watch(struct load *load, struct conn *conn, uint32_t events);
void io_close(struct load *load, struct conn *conn);

/* load_conn.c: one connection's life. */
void conn_prepare(struct load *load);
bool conn_open(struct load *load, struct conn *conn);
void conn_ready(struct load *load, struct conn *conn, uint32_t events);
/* Send `count` more messages. */
void conn_send(struct load *load, struct conn *conn, size_t count);
/* Write what is left to be written, watch for room if it does not all fit. */
void conn_flush(struct load *load, struct conn *conn);
/* fanout: send the next messages to be published. */
void conn_publish(struct load *load);
/* Send a close frame and wait for the server's end. */
void conn_close(struct load *load, struct conn *conn);
void conn_fail(struct load *load, struct conn *conn, const char *why);

/* load_frames.c: what is sent, and the check of what comes back. */
bool frames_prepare(struct load *load);
/* Make conn->control the masked control frame to be written next. */
void frames_control(struct conn *conn, uint8_t opcode, const uint8_t *payload, size_t length);
/* Take in a stretch of bytes from the server; false when they are not what an echo server sends. */
bool frames_feed(struct load *load, struct conn *conn, const uint8_t *data, size_t size);

/* load_stats.c: clocks and latencies. */
uint64_t stats_now(void);
void stats_latency(uint64_t nanoseconds);
/* Begin the measured stretch of time. */
void stats_begin(const struct load *load);
/* Print what was measured as one line of JSON. */
void stats_report(const struct load *load);

#endif
