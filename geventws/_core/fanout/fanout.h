/* fanout.h - sending frames to many descriptors in one call.
 *
 * Read twice, as frame.h is, whose rules apply. On systems without sendmsg, ws_fanout refuses
 * everything. */

/* A frame that a descriptor did not get, or not whole. */
struct ws_refusal {
    int32_t fd;
    int32_t frame;        /* the frame's number */
    int32_t error;        /* 0: shut[fd] is not 0. EAGAIN: the kernel takes no more. EBADF: fd is
                           * unknown. Any other: the errno of sending */
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
    const int32_t *fds;   /* the descriptors that get the first frame, then those that get the
                           * second, and so on; negative ones are refused; */
    const int32_t *counts;   /* how many these are for each frame; NULL: one for each; */
    const int32_t *excepts;  /* for each frame a descriptor that does not get it, or -1;
                              * NULL: no exceptions */
    int32_t frames_count;
    int32_t known;        /* descriptors from this number on are refused, too */
    const uint8_t *shut;  /* for each known descriptor: 0 where it may be sent to */
    int32_t *first;       /* for each known descriptor: -1, before and after each call; */
    int32_t *last;        /* room for as many numbers */
    struct ws_link *links;          /* room for as many as there are fds; */
    struct ws_refusal *refusals;    /* the same */
};

/* Sends each descriptor its frames, in their order and without blocking. One system call sends up
 * to 64 of them. Fills refusals, and returns their number; those of one descriptor are together, in
 * the order of its frames. After its first refusal, a descriptor gets nothing more. */
int32_t ws_fanout(struct ws_fanout *fanout);
