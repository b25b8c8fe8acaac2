/* poller.h - receiving for every ready socket of an epoll set in one call.
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
    WS_FAILED             /* recv failed; start is the errno */
};

struct ws_record {
    int32_t fd;
    int32_t kind;         /* enum ws_kind */
    int32_t start;
    int32_t end;
};

/* Receives once, without blocking, for each descriptor that epoll finds ready, or only for `guess` (-1 for none) where
 * that has something, which spares asking epoll; into buffer[0..size), at most
 * `chunk` bytes a descriptor, and fills records; returns how many, or -errno. A descriptor that finds no room is
 * left for the next call (the set must be level-triggered).
 *
 * limits[fd] says what may be done for a descriptor: with 0 (and beyond limits_count) it is only reported; otherwise it
 * is received for, and unfragmented, uncompressed data frames of at most (limits[fd] & 0x7fffffff) bytes at the
 * front of what came become records of their own; from the first other byte on, it is WS_DATA. The top bit
 * is set where the peer is a server, whose frames are not masked. */
int ws_receive(int epoll_fd, int guess, const uint32_t *limits, int32_t limits_count,
               uint8_t *buffer, int32_t size, int32_t chunk,
               struct ws_record *records, int32_t max_records);

/* Makes records, of descriptor 0, of buffer[0..size), which was received by other means, as ws_receive does with
 * limits[fd] = limit. Returns how many. */
int ws_split(uint32_t limit, uint8_t *buffer, int32_t size, struct ws_record *records, int32_t max_records);
