/* receive.c - receiving for every ready socket of an epoll set in one call. See receive.h.
 *
 * records.c turns the received bytes into records. */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "receive.h"
#include "records.h"

void ws_poller_init(struct ws_poller *poller, const struct ws_poller_options *options)
{
    assert(0 < options->small_chunk && options->small_chunk <= options->chunk);
    assert(options->chunk <= options->size && options->size <= 1 << 28);
    assert(options->max_records >= 4 && options->format_size >= 0);
    memset(poller, 0, sizeof *poller);
    poller->options = *options;
    poller->state.epoll_fd = -1;
    poller->state.backoff = 1;
}

void ws_poller_attach(struct ws_poller *poller, int epoll_fd)
{
    poller->state.epoll_fd = epoll_fd;
    poller->state.events_at = poller->state.events_count = 0;
}

void ws_poller_use_fast_paths(struct ws_poller *poller, const uint32_t *words, size_t count)
{
    poller->state.fast_paths = words;
    poller->state.fast_paths_count = (int32_t)count;
}

void ws_poller_use_inodes(struct ws_poller *poller, const uint64_t *inodes, size_t count)
{
    poller->state.inodes = inodes;
    poller->state.inodes_count = (int32_t)count;
}

void ws_poller_forget(struct ws_poller *poller, int fd)
{
    struct ws_poller_state *state = &poller->state;
    int i;

    for (i = state->events_at; i < state->events_count; i++)
        if (state->events[i].fd == fd)
            state->events[i].fd = -1;
}

#ifdef __linux__

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define TURN 1000000      /* ns after which the loop has its turn, whatever there is to receive */
#define LONG_WAIT 500000  /* ns: after a longer wait, the loop should have waited instead */
#define LAST_WAIT 5       /* ms that a wait lasts at most: more than a tick of the kernel's, as
                           * finer timers cost more */
#define MAX_BACKOFF 64

static int64_t get_monotonic(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * (int64_t)1000000000 + time.tv_nsec;
}

static void receive_for(struct batch *batch, int fd, uint32_t word)
{
    const struct ws_poller_options *options = &batch->poller->options;
    int small = word & WS_FAST_DEFLATED || (word & WS_FAST_SIZE) < WS_FULL_CHUNK_LIMIT;
    int32_t most = small ? options->small_chunk : options->chunk;
    ssize_t received = recv(fd, batch->buffer + batch->used, (size_t)most, MSG_DONTWAIT);

    if (received > 0)
        ws_make_records(batch, fd, word, (int32_t)received);
    else if (received == 0)
        add_record(batch, fd, WS_EOF, 0, 0);
    else if (errno != EAGAIN && errno != EINTR)
        add_record(batch, fd, WS_FAILED, errno, 0);
    else
        batch->poller->empty++;
}

/* Whether a descriptor whose socket a forked child holds, too, is another file here by now. What
 * epoll reports is then about the old socket. */
static int is_stranger(const struct ws_poller_state *state, int fd)
{
    uint64_t inode = fd < state->inodes_count ? state->inodes[fd] : 0;
    struct stat status;

    return inode && (fstat(fd, &status) || !S_ISSOCK(status.st_mode) || status.st_ino != inode);
}

/* Asks epoll for what is ready. Returns 0, or -errno. */
static int fetch_events(struct ws_poller_state *state)
{
    struct epoll_event events[WS_MAX_EVENTS];
    int i, ready = epoll_wait(state->epoll_fd, events, WS_MAX_EVENTS, 0);

    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    for (i = 0; i < ready; i++)
        state->events[i] = (struct ws_event){events[i].data.fd, events[i].events};
    state->events_at = 0;
    state->events_count = ready;
    return 0;
}

/* Handles one event. Returns 0 if this call has no time or no room for it. */
static int handle_event(struct batch *batch, int fd, uint32_t events)
{
    const struct ws_poller_options *options = &batch->poller->options;
    const struct ws_poller_state *state = &batch->poller->state;
    uint32_t word = fd >= 0 && fd < state->fast_paths_count ? state->fast_paths[fd] : 0;
    int readable = (events & ~(uint32_t)EPOLLOUT) != 0;

    if (fd < 0)
        return 1;
    if (batch->work >= MAX_WORK)
        return 0;
    if (batch->count >= options->max_records - 3)
        return 0;
    if (readable && word && options->size - batch->used < options->chunk)
        return 0;
    if (state->inodes_count && is_stranger(state, fd)) {
        add_record(batch, fd, WS_FAILED, EBADF, 0);
        return 1;
    }
    if (events & EPOLLOUT)
        add_record(batch, fd, WS_WRITABLE, 0, 0);
    if (readable && word) {
        receive_for(batch, fd, word);
    } else if (readable) {
        batch->work += READABLE_WORK;
        add_record(batch, fd, WS_READABLE, 0, 0);
    }
    return 1;
}

static int32_t receive_batch(struct ws_poller *poller)
{
    struct ws_poller_state *state = &poller->state;
    struct batch batch = {.poller = poller, .buffer = poller->options.buffer};
    int error;

    poller->empty = 0;
    if (state->events_at == state->events_count && (error = fetch_events(state)) < 0)
        return error;
    while (state->events_at < state->events_count) {
        const struct ws_event *event = &state->events[state->events_at];
        if (!handle_event(&batch, event->fd, event->events))
            break;
        state->events_at++;
    }
    return batch.count;
}

int32_t ws_receive(struct ws_poller *poller)
{
    poller->turn_began = get_monotonic();
    return receive_batch(poller);
}

int32_t ws_busy_poll(struct ws_poller *poller)
{
    struct ws_poller_state *state = &poller->state;
    struct pollfd waited = {poller->options.loop_fd, POLLIN, 0};
    int64_t began;
    int ready;

    if (state->skip > 0) {
        state->skip--;
        return 0;
    }
    began = get_monotonic();
    if (poller->options.loop_fd < 0 || began - poller->turn_began > TURN)
        return 0;
    ready = poll(&waited, 1, LAST_WAIT) > 0;
    if (ready && get_monotonic() - began < LONG_WAIT) {
        state->backoff = 1;
    } else {
        state->backoff = smaller(2 * state->backoff, MAX_BACKOFF);
        state->skip = state->backoff;
    }
    return ready ? receive_batch(poller) : 0;
}

#else

int32_t ws_receive(struct ws_poller *poller)
{
    (void)poller;
    return -ENOSYS;
}

int32_t ws_busy_poll(struct ws_poller *poller)
{
    (void)poller;
    return -ENOSYS;
}

#endif
