/* One connection's life: connect, perhaps TLS, the handshake of RFC 6455 section 4.1, messages, perhaps a close. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "load.h"

enum { ANSWER_MOST = 4096, OPCODE_CLOSE = 8 };

/* The example of RFC 6455, section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static uint8_t buffer[256 << 10];

void conn_prepare(struct load *load) {
    const struct options *options = &load->options;
    const char *offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    load->request_length = (size_t)snprintf(
        load->request, sizeof load->request,
        "GET / HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: load\r\nOrigin: %s://%s:%d\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n%s\r\n",
        options->host, options->port, options->tls ? "https" : "http", options->host, options->port,
        options->deflate ? offer : "");
}

bool conn_open(struct load *load, struct conn *conn) {
    bool active = conn->active;
    uint64_t *sent = conn->sent;
    *conn = (struct conn){.fd = -1, .state = CONN_CONNECTING, .active = active, .sent = sent, .began = stats_now()};
    load->opening++;
    if (io_connect(load, conn))
        return true;
    conn_fail(load, conn, "no connection");
    return false;
}

static void forget(struct load *load, struct conn *conn) {
    load->opening -= conn->state < CONN_OPEN;
    load->opened -= conn->state == CONN_OPEN;
    free(conn->answer);
    conn->answer = NULL;
    conn->state = CONN_FREE;
    io_close(load, conn);
}

void conn_fail(struct load *load, struct conn *conn, const char *why) {
    if (load->errors++ == 0)
        snprintf(load->error, sizeof load->error, "%s", why);
    load->lost++;
    forget(load, conn);
}

static ssize_t write_control(struct conn *conn) {
    ssize_t put = io_write(conn, conn->control + conn->control_length - conn->control_left, conn->control_left);
    conn->control_left -= put > 0 ? (size_t)put : 0;
    conn->control_turn = conn->control_left > 0;
    return put;
}

/* All frames are the same, so what is left tells how far into one of them the last write came. */
static ssize_t write_messages(const struct load *load, struct conn *conn) {
    size_t at = (load->frame_size - conn->out_left % load->frame_size) % load->frame_size;
    size_t most = load->frames_size - at;
    ssize_t put = io_write(conn, load->frames + at, most < conn->out_left ? most : conn->out_left);
    conn->out_left -= put > 0 ? (size_t)put : 0;
    return put;
}

void conn_flush(struct load *load, struct conn *conn) {
    ssize_t put = 0;
    while (put >= 0 && (conn->out_left > 0 || conn->control_left > 0)) {
        bool control = conn->control_turn || conn->out_left == 0;
        put = control ? write_control(conn) : write_messages(load, conn);
    }
    if (put == IO_ERROR)
        conn_fail(load, conn, "the connection broke while writing");
    else
        io_watch(load, conn, EPOLLIN | (put == IO_AGAIN ? EPOLLOUT : 0));
}

void conn_send(struct load *load, struct conn *conn, size_t count) {
    size_t depth = load->options.depth;
    for (size_t i = 0; i < count; i++)
        conn->sent[(conn->oldest + conn->in_flight++) % depth] = load->now;
    conn->out_left += count * load->frame_size;
    conn_flush(load, conn);
}

void conn_publish(struct load *load) {
    const struct options *options = &load->options;
    struct conn *publisher = &load->conns[0];
    load->round_began = load->now;
    load->rounds++;
    load->awaited = (options->connections - options->stalled) * options->depth;
    publisher->out_left += options->depth * load->frame_size;
    conn_flush(load, publisher);
}

void conn_close(struct load *load, struct conn *conn) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    load->opened--;
    conn->state = CONN_CLOSING;
    frames_control(conn, OPCODE_CLOSE, normal, sizeof normal);
    conn_flush(load, conn);
}

static void send_request(struct load *load, struct conn *conn) {
    conn->answer = malloc(ANSWER_MOST);
    if (conn->answer == NULL || io_write(conn, load->request, load->request_length) != (ssize_t)load->request_length) {
        conn_fail(load, conn, "the request could not be written");
        return;
    }
    conn->state = CONN_ANSWER;
    io_watch(load, conn, EPOLLIN);
}

/* The TCP connection is there, or is not. */
static void connected(struct load *load, struct conn *conn) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        conn_fail(load, conn, strerror(error));
        return;
    }
    if (!load->options.tls) {
        send_request(load, conn);
        return;
    }
    conn->state = CONN_TLS;
    conn_ready(load, conn, 0);
}

static void shake_tls(struct load *load, struct conn *conn) {
    int result = io_tls_handshake(load, conn);
    if (result == 1)
        send_request(load, conn);
    else if (result == IO_ERROR)
        conn_fail(load, conn, "the TLS handshake failed");
}

static const char *judge_answer(const struct load *load, const char *answer) {
    if (strncmp(answer, "HTTP/1.1 101 ", 13) != 0)
        return "the handshake was refused";
    if (strstr(answer, ACCEPT) == NULL)
        return "wrong Sec-WebSocket-Accept";
    if (load->options.deflate && strstr(answer, "permessage-deflate") == NULL)
        return "permessage-deflate was not accepted";
    return NULL;
}

static void read_answer(struct load *load, struct conn *conn) {
    ssize_t got = io_read(conn, conn->answer + conn->answer_length, ANSWER_MOST - 1 - conn->answer_length);
    if (got == IO_AGAIN)
        return;
    if (got <= 0) {
        conn_fail(load, conn, "the connection broke during the handshake");
        return;
    }
    conn->answer_length += (size_t)got;
    conn->answer[conn->answer_length] = 0;
    if (strstr(conn->answer, "\r\n\r\n") == NULL)
        return;
    const char *wrong = judge_answer(load, conn->answer);
    if (wrong != NULL) {
        conn_fail(load, conn, wrong);
        return;
    }
    free(conn->answer);
    conn->answer = NULL;
    conn->state = CONN_OPEN;
    load->opening--;
    load->opened++;
}

/* Read all there is: until a short read on TCP, until OpenSSL has no more on TLS. */
static void read_frames(struct load *load, struct conn *conn) {
    ssize_t got;
    load->replies_in_event = 0;
    do {
        got = io_read(conn, buffer, sizeof buffer);
        if (got > 0 && !frames_feed(load, conn, buffer, (size_t)got)) {
            conn_fail(load, conn, "a reply that is no echo");
            return;
        }
    } while (got > 0 && conn->tls != NULL);
    if (conn->state == CONN_CLOSING && (got == 0 || got == IO_ERROR || conn->closed_by_peer))
        forget(load, conn);
    else if (got == 0 || got == IO_ERROR || conn->closed_by_peer)
        conn_fail(load, conn, "the server closed a connection");
    else if (load->options.mode == MODE_FANOUT && load->interval == 0 && load->replies_in_event > 0 && load->awaited == 0)
        conn_publish(load);
    else if (load->options.mode == MODE_ECHO && load->replies_in_event > 0)
        conn_send(load, conn, load->replies_in_event);
    else if (conn->control_left > 0)
        conn_flush(load, conn);
    load->messages += load->replies_in_event;
}

void conn_ready(struct load *load, struct conn *conn, uint32_t events) {
    switch (conn->state) {
    case CONN_CONNECTING: connected(load, conn); break;
    case CONN_TLS: shake_tls(load, conn); break;
    case CONN_ANSWER: read_answer(load, conn); break;
    case CONN_OPEN:
    case CONN_CLOSING:
        if (events & EPOLLOUT)
            conn_flush(load, conn);
        if (conn->state != CONN_FREE && events & ~(uint32_t)EPOLLOUT)
            read_frames(load, conn);
        break;
    case CONN_FREE: break;
    }
}
