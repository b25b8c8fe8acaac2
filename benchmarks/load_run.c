/* The loop: open all connections, at most 64 handshakes at a time; then echo, or shake hands, or hold. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load_run.h"

enum { EVENTS = 512, AT_A_TIME = 64, FILL_DEPTH = 64, FILL_BYTES = 160 << 10 };

static uint64_t in_nanoseconds(double seconds) {
    return (uint64_t)(seconds * 1e9);
}

/* In the handshake scenario a connection that is open has done its part, and one that is gone is opened again. */
static void shake_again(struct load *load, struct conn *conn) {
    if (conn->state == CONN_OPEN) {
        stats_latency(load->now - conn->began);
        load->messages++;
        conn_close(load, conn);
    }
    if (conn->state == CONN_FREE)
        conn_open(load, conn);
}

/* Publish as often as the timer says that it is time. */
static void publish_due(struct load *load) {
    uint64_t count = 0;
    if (read(load->timer, &count, sizeof count) != sizeof count)
        return;
    while (count-- > 0)
        conn_publish(load);
}

/* Wait for events, at most until `deadline`, and handle them; false when the standard input said something. */
static bool turn(struct load *load, uint64_t deadline) {
    struct epoll_event events[EVENTS];
    bool go_on = true;
    int64_t left = (int64_t)(deadline - load->now) / 1000000 + 1;
    int count = epoll_wait(load->epoll, events, EVENTS, left < 0 ? 0 : (int)left);
    load->now = stats_now();
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        if (conn == NULL) {
            go_on = false;
            continue;
        }
        if (events[i].data.ptr == load) {
            publish_due(load);
            continue;
        }
        load->now = stats_now();
        conn_ready(load, conn, events[i].events);
        if (load->options.mode == MODE_HANDSHAKES)
            shake_again(load, conn);
    }
    return go_on;
}

static void run_until(struct load *load, uint64_t deadline) {
    while (load->now < deadline && load->lost <= load->options.connections)
        turn(load, deadline);
}

/* The active connections are spread evenly over all of them. */
static bool is_active(const struct options *options, size_t index) {
    return index * options->active % options->connections < options->active;
}

static bool prepare_conns(struct load *load) {
    const struct options *options = &load->options;
    load->conns = calloc(options->connections, sizeof *load->conns);
    for (size_t i = 0; load->conns != NULL && i < options->connections; i++) {
        struct conn *conn = &load->conns[i];
        conn->fd = -1;
        conn->active = is_active(options, i);
        conn->sent = conn->active ? calloc(options->depth, sizeof *conn->sent) : NULL;
        if (conn->active && conn->sent == NULL)
            return false;
    }
    return load->conns != NULL;
}

static bool open_all(struct load *load) {
    uint64_t deadline = load->now + in_nanoseconds(load->options.limit);
    size_t wanted = load->options.connections, next = 0;
    while (load->opened < wanted && load->now < deadline && load->lost == 0) {
        while (next < wanted && load->opening < AT_A_TIME && load->lost == 0)
            conn_open(load, &load->conns[next++]);
        turn(load, load->now + in_nanoseconds(0.1));
    }
    return load->opened == wanted;
}

static void measure(struct load *load) {
    run_until(load, load->now + in_nanoseconds(load->options.warmup));
    load->messages = load->reply_bytes = load->compressed = 0;
    stats_begin(load);
    run_until(load, load->now + in_nanoseconds(load->options.seconds));
    stats_report(load);
}

static bool echo(struct load *load) {
    bool opened = open_all(load);
    if (!opened && load->errors++ == 0)
        snprintf(load->error, sizeof load->error, "the connections did not open in time");
    for (size_t i = 0; opened && i < load->options.connections; i++) {
        if (load->conns[i].active)
            conn_send(load, &load->conns[i], load->options.depth);
    }
    measure(load);
    return opened;
}

static bool start_timer(struct load *load) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = load};
    load->interval = in_nanoseconds(1 / load->options.rate);
    load->first = stats_now() + load->interval;
    struct itimerspec times = {
        .it_interval = {.tv_sec = (time_t)(load->interval / 1000000000), .tv_nsec = (long)(load->interval % 1000000000)},
        .it_value = {.tv_sec = (time_t)(load->first / 1000000000), .tv_nsec = (long)(load->first % 1000000000)}};
    load->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return load->timer >= 0 && timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &times, NULL) == 0 &&
           epoll_ctl(load->epoll, EPOLL_CTL_ADD, load->timer, &event) == 0;
}

/* Publish so much that whoever reads nothing takes nothing any more: 160 KB of it, with what the server holds for it. */
static void fill_stalled(struct load *load) {
    size_t depth = load->options.depth;
    load->options.depth = FILL_DEPTH;
    conn_publish(load);
    while (load->rounds * FILL_DEPTH * load->frame_size < FILL_BYTES && load->lost == 0)
        turn(load, load->now + in_nanoseconds(0.1));
    load->options.depth = depth;
    for (size_t last = load->rounds; load->rounds == last && load->lost == 0;)
        turn(load, load->now + in_nanoseconds(0.1));
}

/* The first connection publishes to all, at a rate, or once everybody who reads has got the last messages. */
static bool fan_out(struct load *load) {
    size_t reading = load->options.connections - load->options.stalled;
    bool opened = open_all(load);
    for (size_t i = reading; opened && i < load->options.connections; i++)
        io_watch(load, &load->conns[i], 0);
    if (opened && load->options.rate > 0)
        opened = start_timer(load);
    else if (opened && load->options.stalled > 0)
        fill_stalled(load);
    else if (opened)
        conn_publish(load);
    else if (load->errors++ == 0)
        snprintf(load->error, sizeof load->error, "the connections did not open in time");
    measure(load);
    return opened;
}

static bool shake_hands(struct load *load) {
    for (size_t i = 0; i < load->options.connections; i++)
        conn_open(load, &load->conns[i]);
    measure(load);
    return load->messages > 0;
}

static bool hold(struct load *load) {
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    bool opened = open_all(load);
    printf("{\"open\": %zu, \"error\": \"%s\"}\n", load->opened, load->error);
    fflush(stdout);
    epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    uint64_t deadline = load->now + in_nanoseconds(load->options.seconds);
    while (opened && load->now < deadline && turn(load, deadline))
        ;
    return opened;
}

bool run(struct load *load) {
    load->now = stats_now();
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0 || !prepare_conns(load))
        return false;
    switch (load->options.mode) {
    case MODE_ECHO: return echo(load);
    case MODE_FANOUT: return fan_out(load);
    case MODE_HANDSHAKES: return shake_hands(load);
    default: return hold(load);
    }
}
