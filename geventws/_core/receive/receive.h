/* receive.h - receiving for every ready socket of an epoll set in one call.
 *
 * Read twice, as frame.h is, whose rules apply. On systems without epoll, ws_receive and
 * ws_busy_poll return -ENOSYS. */

/* The fast path: a whole message that a handler can have as it was received becomes a record of its
 * own, which Python puts into the inbox, past the protocol. A word for each descriptor says which
 * of its messages may go there. 0x40100000, for instance, means: messages of up to 1 MiB in masked
 * frames, compressed or not. 0 means none: then nothing is received for the descriptor, and it is
 * only reported as readable.
 *
 * A message is inflated to at most 64 KiB, and to at most the size in WS_FAST_SIZE. */
#define WS_FAST_SIZE 0x3fffffff     /* these bits: the most bytes of a message */
#define WS_FAST_DEFLATED 0x40000000 /* frames with RSV1 are messages compressed without context */
#define WS_FAST_UNMASKED 0x80000000 /* the peer is a server: its frames must not be masked */

/* What a record says about its descriptor. The first two are the opcodes of RFC 6455 (11.8). */
enum ws_kind {
    WS_TEXT = 1,          /* a text message is buffer[start..end), unmasked, UTF-8 unchecked */
    WS_BINARY = 2,        /* a binary message is buffer[start..end), unmasked */
    WS_DATA,              /* buffer[start..end) is for the protocol, as it was received */
    WS_READABLE,          /* there is something to receive; nothing was received yet */
    WS_WRITABLE,          /* the socket takes bytes again */
    WS_EOF,               /* the peer has ended its side */
    WS_FAILED,            /* receiving failed; start is the errno */
    WS_TEXTS,             /* a run of text messages: see struct ws_record */
    WS_BINARIES           /* a run of binary messages */
};

/* A run is one record for two or more messages of one kind that came one after the other. The first
 * payload is at buffer[start]; a format of Python's struct module says where all of them are: "3s"
 * is a payload of three bytes, and "6x" skips six bytes, such as a header.
 *
 * A client's texts "one", "two" and "three", in 29 bytes, are this record:
 *
 *     bytes    81 83 k k k k o n e  81 83 k k k k t w o  81 85 k k k k t h r e e
 *     offset   0             6      9             15     18            24
 *     record   kind = WS_TEXTS, start = 6, end = 10
 *     format   3s6x3s6x5s
 *
 * and Python gets the payloads from unpack_from(format[0:10], buffer, 6). All formats of a call are
 * in one array, one after the other: the first begins at 0, each ends at the `end` of its run, and
 * the next one begins there. */
struct ws_record {
    int32_t fd;
    int32_t kind;         /* enum ws_kind */
    int32_t start;
    int32_t end;
};

enum {
    WS_LEAST_ROOM = 34816,         /* bytes: see ws_receive */
    WS_FULL_CHUNK_LIMIT = 1 << 19, /* bytes: see small_chunk */
    WS_MAX_EVENTS = 128            /* descriptors to ask epoll for at once */
};

/* What a poller works with. The caller owns the buffers, and keeps them as long as the poller. */
struct ws_poller_options {
    int loop_fd;          /* the loop's: readable when the set or anything else is ready; or -1 */
    int32_t chunk;        /* bytes to receive for a descriptor at once: 1 or more; */
    int32_t small_chunk;  /* the same if its word has WS_FAST_DEFLATED, or a size below
                           * WS_FULL_CHUNK_LIMIT: 1..chunk */
    int32_t size;         /* of buffer: chunk or more, as messages are inflated in there, too */
    uint8_t *buffer;
    struct ws_inflater *inflater;  /* NULL: no message is inflated */
    struct ws_record *records;
    int32_t max_records;  /* 4 or more */
    int32_t format_size;  /* of format, in characters; with 0 there are no runs */
    char *format;
};

struct ws_event {
    int32_t fd;           /* -1 for one that was forgotten */
    uint32_t events;      /* EPOLLIN, ... */
};

/* What a poller remembers between calls. Private to receive.c. */
struct ws_poller_state {
    int epoll_fd;         /* the set; -1 for none */
    const uint32_t *fast_paths;
    int32_t fast_paths_count;
    const uint64_t *inodes;
    int32_t inodes_count;
    int events_at;        /* the next event to handle, */
    int events_count;     /* and how many there are: if a call has no room, some are left */
    struct ws_event events[WS_MAX_EVENTS];
    int32_t skip;         /* how many calls of ws_busy_poll return at once: waiting did not pay; */
    int32_t backoff;      /* how many will, the next time that it does not pay */
};

/* A set of sockets. Make one with ws_poller_init; the caller only reads its fields. */
struct ws_poller {
    struct ws_poller_options options;
    int64_t turn_began;   /* when ws_receive was last called, in ns of CLOCK_MONOTONIC */
    int32_t empty;        /* how many descriptors the last call found ready, but without input */
    struct ws_poller_state state;
};

/* Makes a poller that has no epoll set and knows nothing of any descriptor. */
void ws_poller_init(struct ws_poller *poller, const struct ws_poller_options *options);

/* Uses another epoll set, level-triggered, from now on. Forgets what was reported before. */
void ws_poller_attach(struct ws_poller *poller, int epoll_fd);

/* Uses words[0..count), by descriptor, from now on: see WS_FAST_... The caller owns them, and may
 * change them between calls. The word of any other descriptor is 0. */
void ws_poller_use_fast_paths(struct ws_poller *poller, const uint32_t *words, size_t count);

/* Uses inodes[0..count), by descriptor, from now on: the inode of each socket that a forked child
 * holds, too; 0 for all others. The caller owns them, and may change them between calls. A
 * descriptor that is no longer that socket is not touched: its record is WS_FAILED with EBADF. */
void ws_poller_use_inodes(struct ws_poller *poller, const uint64_t *inodes, size_t count);

/* Forgets what epoll has reported of a descriptor. Call it before watching the descriptor for
 * something else, or no longer. */
void ws_poller_forget(struct ws_poller *poller, int fd);

/* Receives once, without blocking, for each descriptor that epoll reports. Fills buffer, records
 * and format, and returns how many records there are, or -errno.
 *
 * Whole, unfragmented data frames at the front of the received bytes become records of their own,
 * or runs, if the fast path allows them. From the first frame on that may not, all is WS_DATA. A
 * message may not, either, if it does not inflate, if there is no room for it, or if with it Python
 * would hold more for the descriptor than WS_LEAST_ROOM and half of its WS_FAST_SIZE. (In Python, a
 * text with a wide character takes four bytes for each character.)
 *
 * A call ends when it has caused some 3 ms of work, here and in Python. If there is no time or no
 * room left for a descriptor, it comes first in the next call. */
int32_t ws_receive(struct ws_poller *poller);

/* The same, but waits for input, for a few milliseconds at most: a busy descriptor is ready
 * again before the loop could turn once. Returns 0 when it is the loop's turn: if anything but the
 * set is ready, if ws_receive was last called more than a millisecond ago, or if waiting has not
 * paid lately. */
int32_t ws_busy_poll(struct ws_poller *poller);

/* Makes records of buffer[0..received), which was received for fd by other means, as ws_receive
 * does for a descriptor with this word. Returns their number. The buffer need not be the poller's,
 * but has the size in the options. */
int32_t ws_split(struct ws_poller *poller, int fd, uint32_t word,
                 uint8_t *buffer, size_t received);
