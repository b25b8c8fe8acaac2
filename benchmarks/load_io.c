/* Bytes in and out of a TCP or TLS socket, without ever blocking. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;

bool io_setup(const struct options *options) {
    if (!options->tls)
        return true;
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        return false;
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    return true;
}

static int tls_result(struct conn *conn, int result) {
    int why = SSL_get_error(conn->tls, result);
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? IO_AGAIN : IO_ERROR;
}

int io_tls_handshake(struct load *load, struct conn *conn) {
    if (conn->tls == NULL) {
        conn->tls = SSL_new(context);
        if (conn->tls == NULL || !SSL_set_fd(conn->tls, conn->fd))
            return IO_ERROR;
    }
    ERR_clear_error();
    int result = SSL_connect(conn->tls);
    if (result == 1)
        return 1;
    int why = SSL_get_error(conn->tls, result);
    io_watch(load, conn, why == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? IO_AGAIN : IO_ERROR;
}

static ssize_t tls_read(struct conn *conn, void *buffer, size_t size) {
    ERR_clear_error();
    int result = SSL_read(conn->tls, buffer, (int)size);
    return result > 0 ? result : tls_result(conn, result);
}

static ssize_t tls_write(struct conn *conn, const void *buffer, size_t size) {
    ERR_clear_error();
    int result = SSL_write(conn->tls, buffer, (int)size);
    return result > 0 ? result : tls_result(conn, result);
}

static void tls_free(struct conn *conn) {
    SSL_free(conn->tls);
    conn->tls = NULL;
}
#else
bool io_setup(const struct options *options) {
    return !options->tls;
}

int io_tls_handshake(struct load *load, struct conn *conn) {
    (void)load, (void)conn;
    return IO_ERROR;
}

static ssize_t tls_read(struct conn *conn, void *buffer, size_t size) {
    (void)conn, (void)buffer, (void)size;
    return IO_ERROR;
}

static ssize_t tls_write(struct conn *conn, const void *buffer, size_t size) {
    (void)conn, (void)buffer, (void)size;
    return IO_ERROR;
}

static void tls_free(struct conn *conn) {
    (void)conn;
}
#endif

/* Each connection takes the next of 250 loopback addresses, so that closed connections in TIME_WAIT never use up
 * the ports of one. */
static void bind_source(int fd, const char *host) {
    static unsigned int turn;
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    if (strncmp(host, "127.", 4) != 0)
        return;
    source.sin_addr.s_addr = htonl(0x7f000002u + turn++ % 250);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    (void)!bind(fd, (struct sockaddr *)&source, sizeof source);
}

bool io_connect(struct load *load, struct conn *conn) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->options.port)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = conn};
    int on = 1, small = 4096;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || inet_pton(AF_INET, load->options.host, &address.sin_addr) != 1)
        return false;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((size_t)(conn - load->conns) >= load->options.connections - load->options.stalled)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    bind_source(conn->fd, load->options.host);
    if (connect(conn->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        return false;
    conn->events = EPOLLOUT;
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

ssize_t io_read(struct conn *conn, void *buffer, size_t size) {
    if (conn->tls != NULL)
        return tls_read(conn, buffer, size);
    ssize_t got = recv(conn->fd, buffer, size, 0);
    if (got >= 0)
        return got;
    return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_ERROR;
}

ssize_t io_write(struct conn *conn, const void *buffer, size_t size) {
    if (conn->tls != NULL)
        return tls_write(conn, buffer, size);
    ssize_t put = send(conn->fd, buffer, size, MSG_NOSIGNAL);
    if (put >= 0)
        return put;
    return errno == EAGAIN || errno == EINTR ? IO_AGAIN : IO_ERROR;
}

void io_watch(struct load *load, struct conn *conn, uint32_t events) {
    if (conn->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event);
    conn->events = events;
}

void io_close(struct load *load, struct conn *conn) {
    (void)load;
    if (conn->tls != NULL)
        tls_free(conn);
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
}
