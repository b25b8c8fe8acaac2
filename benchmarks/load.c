/* load: puts a WebSocket server under load from one epoll thread, and says what the server's CPU did meanwhile.
 *
 *   load.c         the options
 *   load_run.c     the loop: open all connections, then echo, or shake hands, or hold
 *   load_conn.c    one connection's life
 *   load_frames.c  the frames, masked once before anything is measured, and the check of the replies
 *   load_io.c      TCP and TLS
 *   load_stats.c   clocks, latencies, the line of JSON at the end
 *
 * It negotiates nothing, except permessage-deflate with --deflate, where the message is a file compressed beforehand.
 *
 *   cc -O2 -o load load*.c                             without TLS
 *   cc -O2 -DWITH_TLS -o load load*.c -lssl -lcrypto   with it
 *   ./load --port 8000 --connections 100 --size 32 --seconds 3 --pid 1234 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "load.h"
#include "load_run.h"

static const char usage[] =
    "usage: load --port N [options]\n"
    "  --mode echo|handshakes|hold|fanout   default echo\n"
    "  --host ADDRESS                default 127.0.0.1\n"
    "  --connections N --active N    connections, and how many of them echo (all); handshakes: how many at a time\n"
    "  --size BYTES --depth N        size of a message (32), messages in flight per connection (1)\n"
    "  --stalled N                   fanout: connections that read nothing (0)\n"
    "  --rate N                      fanout: how often a second is published, whoever is late (once all have got the last)\n"
    "  --text                        text messages (binary)\n"
    "  --payload FILE                the message; with --deflate a compressed one\n"
    "  --deflate --tls\n"
    "  --warmup S --seconds S        before and while it is measured (0.5, 2)\n"
    "  --limit S                     for opening all the connections (30)\n"
    "  --pid N                       a process of the server, may be given more than once\n"
    "hold prints a line once all connections are open and ends with the standard input.\n";

enum { HOST = 1, PORT, MODE, CONNECTIONS, ACTIVE, SIZE, DEPTH, STALLED, RATE, TEXT, PAYLOAD, DEFLATE, TLS, WARMUP, SECONDS, LIMIT, PID };

static const struct option known[] = {
    {"host", 1, 0, HOST}, {"port", 1, 0, PORT}, {"mode", 1, 0, MODE},
    {"connections", 1, 0, CONNECTIONS}, {"active", 1, 0, ACTIVE}, {"size", 1, 0, SIZE}, {"depth", 1, 0, DEPTH},
    {"stalled", 1, 0, STALLED}, {"rate", 1, 0, RATE},
    {"text", 0, 0, TEXT}, {"payload", 1, 0, PAYLOAD}, {"deflate", 0, 0, DEFLATE}, {"tls", 0, 0, TLS},
    {"warmup", 1, 0, WARMUP}, {"seconds", 1, 0, SECONDS}, {"limit", 1, 0, LIMIT}, {"pid", 1, 0, PID},
    {0, 0, 0, 0}};

static bool take_mode(struct options *options, const char *name) {
    static const char *const names[] = {"echo", "handshakes", "hold", "fanout"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            options->mode = (enum mode)i;
            return true;
        }
    }
    return false;
}

static bool take_pid(struct options *options, const char *text) {
    if (options->pid_count == sizeof options->pids / sizeof *options->pids)
        return false;
    options->pids[options->pid_count++] = (pid_t)atol(text);
    return true;
}

static bool take(struct options *options, int name, const char *value) {
    switch (name) {
    case HOST: options->host = value; break;
    case PORT: options->port = atoi(value); break;
    case MODE: return take_mode(options, value);
    case CONNECTIONS: options->connections = strtoul(value, NULL, 10); break;
    case ACTIVE: options->active = strtoul(value, NULL, 10); break;
    case SIZE: options->size = strtoul(value, NULL, 10); break;
    case DEPTH: options->depth = strtoul(value, NULL, 10); break;
    case STALLED: options->stalled = strtoul(value, NULL, 10); break;
    case RATE: options->rate = strtod(value, NULL); break;
    case TEXT: options->text = true; break;
    case PAYLOAD: options->payload_file = value; break;
    case DEFLATE: options->deflate = true; break;
    case TLS: options->tls = true; break;
    case WARMUP: options->warmup = strtod(value, NULL); break;
    case SECONDS: options->seconds = strtod(value, NULL); break;
    case LIMIT: options->limit = strtod(value, NULL); break;
    case PID: return take_pid(options, value);
    default: return false;
    }
    return true;
}

static bool parse(struct options *options, int count, char **words) {
    int name;
    while ((name = getopt_long(count, words, "", known, NULL)) != -1) {
        if (!take(options, name, optarg))
            return false;
    }
    if (options->active == 0 || options->active > options->connections)
        options->active = options->connections;
    return optind == count && options->port > 0 && options->connections > options->stalled && options->depth > 0;
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int count, char **words) {
    struct load load = {.options = {.host = "127.0.0.1", .connections = 1, .size = 32, .depth = 1,
                                    .warmup = 0.5, .seconds = 2, .limit = 30}};
    if (!parse(&load.options, count, words)) {
        fputs(usage, stderr);
        return 2;
    }
    raise_descriptor_limit();
    if (!io_setup(&load.options) || !frames_prepare(&load)) {
        fputs("load: TLS is not compiled in, or the payload cannot be read\n", stderr);
        return 2;
    }
    conn_prepare(&load);
    return run(&load) ? 0 : 1;
}
