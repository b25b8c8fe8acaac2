/* receive.h - receiving for every ready socket of an epoll set in one call.
 *
 * Read twice, as frame.h is. Where there is no epoll, ws_receive returns -ENOSYS. */

/* What a record tells about its descriptor. */
enum ws_kind {
    WS_TEXT = 1,          /* a whole text message: its payload is buffer[start..end), unmasked, UTF-8 unchecked */
    WS_BINARY = 2,        /* a whole binary message, likewise */
    WS_DATA,              /* buffer[start..end) was received; it is still as it came */
    WS_READABLE,          /* there is something to receive; nothing was received */
    WS_WRITABLE,          /* the socket takes bytes again */
    WS_EOF,               /* the peer has ended its side */
    WS_FAILED,            /* recv failed; start is the errno */
    WS_TEXTS,             /* a run of two or more text messages: the payload of the first is at buffer[start], and where */
    WS_BINARIES           /* the others are tells layout[end of the run before, or 0..end), in struct's language */
};

struct ws_record {
    int32_t fd;
    int32_t kind;         /* enum ws_kind */
    int32_t start;
    int32_t end;
};

enum { WS_LEAST_ROOM = 34816 };

/* A set, and what one call makes of it. */
struct ws_poller {
    int epoll_fd;         /* the set, level-triggered */
    int loop_fd;          /* what the loop waits on: readable when anything is ready, in the set or elsewhere; or -1 */
    int32_t limits_count;
    uint32_t *limits;     /* for each descriptor, see ws_receive */
    uint8_t *buffer;
    int32_t size;         /* of buffer, where messages are inflated behind what was received */
    int32_t chunk;        /* bytes that one descriptor receives at the most, */
    int32_t deflated_chunk;  /* and where compressed frames are taken, or limits are below 512 KiB: chunk or less */
    struct ws_inflater *inflater;  /* may be NULL: then no message is inflated */
    int32_t max_records;
    struct ws_record *records;
    char *layout;         /* of runs, one behind the other: "32s6x32s" is 32 bytes, 6 that are not wanted, 32 bytes */
    int32_t layout_size;
    int32_t events[256];  /* what epoll told last: a descriptor and its events, in turn; */
    int events_count;     /* how many of these numbers there are, */
    int events_at;        /* and from which on they are for the next call, as there was no room */
    int32_t vain;         /* descriptors that epoll called ready in the last call, where there was nothing to receive */
    int32_t inodes_count;
    uint64_t *inodes;     /* for each descriptor that a forked child may hold, too: its socket's; 0 for all others */
    int32_t skip;         /* how often ws_linger is not to wait, as it waited for too long, */
    int32_t penalty;      /* and how often it will not the next time */
    int64_t since;        /* when the loop had its last turn, in nanoseconds */
};

/* Receives once, without blocking, for each descriptor that epoll finds ready; fills buffer, records and layout; returns
 * how many records, or -errno. A descriptor that finds no room comes first in the next call: unless it was forgotten
 * before. One that is no longer the socket of inodes[fd] is not touched: it is WS_FAILED with EBADF.
 *
 * limits[fd] says what may be done for a descriptor: with 0 (and beyond limits_count) it is only reported; otherwise it
 * is received for, and unfragmented data frames of at most (limits[fd] & 0x3fffffff) bytes at the front of what came
 * become records of their own, or runs; from the first other byte on, it is WS_DATA. The top bit is set where the peer
 * is a server, whose frames are not masked; the next one where a frame with RSV1 is a message that was compressed by
 * itself: it is inflated, to so many bytes and 64 KiB at the most, where there is room; else it is WS_DATA, too.
 *
 * So are the messages that would make Python hold more for one descriptor than half of its limit and WS_LEAST_ROOM: a
 * text with a wide character takes four bytes for each. */
int ws_receive(struct ws_poller *poller);

/* The same, but waits for something to receive, for a few milliseconds at the most: a descriptor that is busy is ready again
 * sooner than the loop has turned once. Returns 0 when it is the loop's turn: when something but the set is ready, or
 * the last turn is a millisecond ago, or waiting has not paid lately. */
int ws_linger(struct ws_poller *poller);

/* Forgets what epoll has told of a descriptor. To be called before it is watched otherwise, or no more. */
void ws_forget(struct ws_poller *poller, int fd);

/* Makes records of buffer[0..size), which was received by other means for fd, as ws_receive does with
 * limits[fd] = limit. Returns how many. The buffer, of poller->size bytes, need not be the poller's. */
int ws_split(struct ws_poller *poller, int fd, uint32_t limit, uint8_t *buffer, int32_t size);
