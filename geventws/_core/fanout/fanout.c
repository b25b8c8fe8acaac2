/* fanout.c - one call that sends frames to many descriptors. See fanout.h.
 *
 * First the frames of each descriptor are chained, in order. Then each descriptor is served once.
 * So all that was published in a turn costs one system call for each subscriber, however many
 * frames there are. */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "fanout.h"

#if defined(__unix__) || defined(__APPLE__)
#define HAVE_SENDMSG
#include <sys/socket.h>
#include <sys/uio.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define MOST_PARTS 64

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0    /* Python ignores SIGPIPE */
#endif
#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#endif

/* The frames of one call: see ws_fanout. */
struct frames {
    const uint8_t *data;
    const int64_t *ends;
};

/* Chains the frames of a descriptor: adds a link for one more. */
static void chain(struct ws_fanout *fanout, int32_t at, int32_t fd, int32_t number)
{
    fanout->links[at] = (struct ws_link){fd, number, -1};
    if (fanout->first[fd] < 0)
        fanout->first[fd] = at;
    else
        fanout->links[fanout->last[fd]].next = at;
    fanout->last[fd] = at;
}

/* Notes that the frames from links[at] on were refused, of the first one all but `sent` bytes.
 * Returns their number. */
static int32_t refuse(const struct ws_fanout *fanout, int32_t at, struct ws_refusal *refusals,
                      int error, int64_t sent)
{
    int32_t count = 0;

    for (; at >= 0; at = fanout->links[at].next, sent = 0) {
        const struct ws_link *link = &fanout->links[at];

        refusals[count++] = (struct ws_refusal){link->fd, link->frame, error, 0, sent};
    }
    return count;
}

#ifdef HAVE_SENDMSG

static int64_t find_start(const struct frames *frames, int32_t number)
{
    return number ? frames->ends[number - 1] : 0;
}

static int64_t find_size(const struct frames *frames, int32_t number)
{
    return frames->ends[number] - find_start(frames, number);
}

/* Gathers frames from links[at] on; frames that are adjacent in memory become one part. Returns the
 * place of the first frame that is left. */
static int32_t gather(const struct ws_fanout *fanout, const struct frames *frames, int32_t at,
                      struct iovec *parts, size_t *count)
{
    const uint8_t *end = NULL;

    for (*count = 0; at >= 0; at = fanout->links[at].next) {
        int32_t number = fanout->links[at].frame;
        const uint8_t *frame = frames->data + find_start(frames, number);
        size_t size = (size_t)find_size(frames, number);

        if (frame == end)
            parts[*count - 1].iov_len += size;
        else if (*count == MOST_PARTS)
            return at;
        else
            parts[(*count)++] = (struct iovec){(void *)(uintptr_t)frame, size};
        end = frame + size;
    }
    return -1;
}

/* send, which glibc makes a point where a thread may be cancelled: that takes 1 % of a delivery. */
static int64_t transmit_part(int fd, const struct iovec *part)
{
#ifdef SYS_sendto
    return syscall(SYS_sendto, fd, part->iov_base, part->iov_len, FLAGS, NULL, 0);
#else
    return send(fd, part->iov_base, part->iov_len, FLAGS);
#endif
}

static int64_t transmit(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    int64_t sent;

    do {
        if (count == 1)
            sent = transmit_part(fd, parts);
        else
            sent = sendmsg(fd, &message, FLAGS);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Sends all frames of one descriptor, from links[at] on. Returns how many are refused. */
static int32_t serve(const struct ws_fanout *fanout, const struct frames *frames, int32_t at,
                     struct ws_refusal *refusals)
{
    struct iovec parts[MOST_PARTS];
    int fd = fanout->links[at].fd;

    if (fanout->shut[fd])
        return refuse(fanout, at, refusals, 0, 0);
    while (at >= 0) {
        size_t count;
        int32_t left = gather(fanout, frames, at, parts, &count);
        int64_t sent = transmit(fd, parts, count);

        if (sent < 0)
            return refuse(fanout, at, refusals, errno == EWOULDBLOCK ? EAGAIN : errno, 0);
        while (at != left && sent >= find_size(frames, fanout->links[at].frame)) {
            sent -= find_size(frames, fanout->links[at].frame);
            at = fanout->links[at].next;
        }
        if (at != left)
            return refuse(fanout, at, refusals, EAGAIN, sent);
    }
    return 0;
}

#else

static int32_t serve(const struct ws_fanout *fanout, const struct frames *frames, int32_t at,
                     struct ws_refusal *refusals)
{
    (void)frames;
    return refuse(fanout, at, refusals, 0, 0);
}

#endif

int32_t ws_fanout(struct ws_fanout *fanout, const uint8_t *data, const int64_t *ends,
                  int32_t frames_count, const int32_t *fds, const int32_t *counts,
                  const int32_t *excepts)
{
    const struct frames frames = {data, ends};
    int32_t refused = 0, count = 0, i, k;

    for (i = 0; i < frames_count; i++)
        for (k = counts ? counts[i] : 1; k > 0; k--, fds++)
            if (*fds >= 0 && excepts && *fds == excepts[i])
                continue;
            else if (*fds < 0 || *fds >= fanout->known)
                fanout->refusals[refused++] = (struct ws_refusal){*fds, i, EBADF, 0, 0};
            else
                chain(fanout, count++, *fds, i);
    for (i = 0; i < count; i++) {
        int32_t fd = fanout->links[i].fd;

        if (fanout->first[fd] != i)
            continue;   /* it was served with the frames before */
        refused += serve(fanout, &frames, i, fanout->refusals + refused);
        fanout->first[fd] = -1;
    }
    return refused;
}
