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

/* What is known of the descriptors, and room to work in. */
struct ws_fanout {
    int32_t known;        /* descriptors from this number on are refused */
    const uint8_t *shut;  /* for each known descriptor: 0 where it may be sent to */
    int32_t *first;       /* for each known descriptor: -1, before and after each call; */
    int32_t *last;        /* room for as many numbers */
    struct ws_link *links;          /* room for as many as there are fds in a call; */
    struct ws_refusal *refusals;    /* the same */
};

/* Sends each descriptor its frames, in their order and without blocking. One system call sends up
 * to 64 of them. Fills refusals, and returns their number; those of one descriptor are together, in
 * the order of its frames. After its first refusal, a descriptor gets nothing more.
 *
 * data has the frames, one after the other, none of them empty; ends says where in it each ends;
 * frames_count, how many there are. fds has the descriptors that get the first frame, then those
 * that get the second, and so on; negative ones are refused. counts says how many these are for
 * each frame; NULL: one for each. excepts has for each frame a descriptor that does not get it, or
 * -1; NULL: no exceptions. */
int32_t ws_fanout(struct ws_fanout *fanout, const uint8_t *data, const int64_t *ends,
                  int32_t frames_count, const int32_t *fds, const int32_t *counts,
                  const int32_t *excepts);
