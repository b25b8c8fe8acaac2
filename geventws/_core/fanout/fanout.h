/* fanout.h - sending frames to many descriptors in one call.
 *
 * Read twice, as frame.h is, which says what sizes and results are. Where there is no sendmsg,
 * ws_fanout refuses everything. */

/* A frame that a descriptor did not get, or not whole. */
struct ws_refusal {
    int32_t fd;
    int32_t frame;        /* its number */
    int32_t error;        /* 0: shut[fd] is not. EAGAIN: the kernel takes no more. EBADF: unknown.
                           * Any other: the errno of sending */
    int32_t reserved;
    int64_t sent;         /* bytes of the frame that were sent */
};

/* A place in the queue of one descriptor: what ws_fanout works with. */
struct ws_link {
    int32_t fd;
    int32_t frame;
    int32_t next;         /* the place of the next frame for fd, or -1 */
};

struct ws_fanout {
    const uint8_t *data;  /* the frames, one after the other, */
    const int64_t *sizes; /* the bytes of each, 1 or more, */
    int64_t *starts;      /* and room for as many numbers */
    const int32_t *fds;   /* the descriptors that get a frame, frame by frame; negative ones are
                           * refused; */
    const int32_t *counts;   /* how many there are for each; NULL: one; */
    const int32_t *excepts;  /* and one for each frame that does not get it after all, or -1;
                              * NULL: there is none */
    int32_t frames_count;
    int32_t known;        /* descriptors from here on are refused, too */
    const uint8_t *shut;  /* for each known descriptor: 0 where it may be sent to */
    int32_t *first;       /* for each known descriptor: -1, before and after each call; */
    int32_t *last;        /* room for as many numbers */
    struct ws_link *links;          /* room for as many as there are fds, */
    struct ws_refusal *refusals;    /* and here, too */
};

/* Sends to each descriptor, in their order, the frames that are for it: without blocking, and in
 * one system call for up to 64 of them. Fills refusals, and returns how many there are; those of a
 * descriptor stand together, in the order of its frames. After the first that it refuses, a
 * descriptor gets nothing more. */
int32_t ws_fanout(struct ws_fanout *fanout);
