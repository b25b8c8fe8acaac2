/* What is sent, made once, and the check of what comes back (RFC 6455, section 5.2).
 *
 * A reply must be one whole unmasked frame with the opcode and the length of the message; of its payload the first
 * 64 bytes of every stretch that arrives are compared. A compressed reply is only counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum { FIN = 0x80, RSV1 = 0x40, MASKED = 0x80, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { COMPARED = 64, MOST_FRAMES_BYTES = 4 << 20 };

static const uint8_t mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

static size_t write_header(uint8_t *out, uint8_t first, size_t length) {
    size_t extra = length < 126 ? 0 : length < 65536 ? 2 : 8;
    out[0] = first;
    out[1] = (uint8_t)(MASKED | (extra == 0 ? length : extra == 2 ? 126 : 127));
    for (size_t i = 0; i < extra; i++)
        out[2 + i] = (uint8_t)(length >> (8 * (extra - 1 - i)));
    memcpy(out + 2 + extra, mask_key, sizeof mask_key);
    return 2 + extra + sizeof mask_key;
}

static bool read_payload(struct options *options, uint8_t **payload) {
    FILE *file = fopen(options->payload_file, "rb");
    if (file == NULL)
        return false;
    *payload = malloc(1 << 24);
    options->size = *payload == NULL ? 0 : fread(*payload, 1, 1 << 24, file);
    fclose(file);
    return options->size > 0;
}

static bool make_payload(struct options *options, uint8_t **payload) {
    if (options->payload_file != NULL)
        return read_payload(options, payload);
    *payload = malloc(options->size + 1);
    for (size_t i = 0; *payload != NULL && i < options->size; i++)
        (*payload)[i] = (uint8_t)('a' + i * 7 % 26);
    return *payload != NULL;
}

bool frames_prepare(struct load *load) {
    struct options *options = &load->options;
    uint8_t header[14];
    if (!make_payload(options, &load->payload))
        return false;
    uint8_t first = (uint8_t)(FIN | (options->deflate ? RSV1 : 0) | (options->text ? TEXT : BINARY));
    size_t header_length = write_header(header, first, options->size);
    load->frame_size = header_length + options->size;
    size_t copies = options->depth;
    while (copies > 1 && copies * load->frame_size > MOST_FRAMES_BYTES)
        copies /= 2;
    load->frames_size = copies * load->frame_size;
    load->frames = malloc(load->frames_size);
    if (load->frames == NULL)
        return false;
    memcpy(load->frames, header, header_length);
    for (size_t i = 0; i < options->size; i++)
        load->frames[header_length + i] = load->payload[i] ^ mask_key[i % 4];
    for (size_t i = 1; i < copies; i++)
        memcpy(load->frames + i * load->frame_size, load->frames, load->frame_size);
    return true;
}

void frames_control(struct conn *conn, uint8_t opcode, const uint8_t *payload, size_t length) {
    size_t at = write_header(conn->control, (uint8_t)(FIN | opcode), length);
    for (size_t i = 0; i < length; i++)
        conn->control[at + i] = payload[i] ^ mask_key[i % 4];
    conn->control_length = (uint8_t)(at + length);
    conn->control_left = conn->control_length;
}

static size_t header_size(const struct conn *conn) {
    if (conn->head_length < 2)
        return 2;
    uint8_t length = conn->head[1];
    return length < 126 ? 2 : length == 126 ? 4 : 10;
}

static bool header_right(const struct load *load, const struct conn *conn) {
    uint8_t first = conn->head[0], opcode = first & 15;
    const struct options *options = &load->options;
    if (opcode >= CLOSE)
        return first == (FIN | opcode) && conn->body_length <= 125;
    if (opcode != (options->text ? TEXT : BINARY) || (conn->in_flight == 0 && options->mode != MODE_FANOUT))
        return false;
    if (options->deflate)
        return (first & ~RSV1) == (FIN | opcode);
    return first == (FIN | opcode) && conn->body_length == options->size;
}

/* Take in header bytes; false when the header is complete and not what an echo sends. */
static bool feed_header(struct load *load, struct conn *conn, const uint8_t **data, size_t *size) {
    while (*size > 0 && conn->head_length < header_size(conn)) {
        conn->head[conn->head_length++] = *(*data)++;
        (*size)--;
    }
    size_t whole = header_size(conn);
    if (conn->head_length < whole)
        return true;
    conn->body_length = whole == 2 ? conn->head[1] : 0;
    for (size_t i = 2; i < whole; i++)
        conn->body_length = conn->body_length << 8 | conn->head[i];
    conn->body_at = 0;
    return header_right(load, conn);
}

static void reply_done(struct load *load, struct conn *conn) {
    load->replies_in_event++;
    load->reply_bytes += conn->body_length;
    load->compressed += (conn->head[0] & RSV1) != 0;
    if (load->options.mode == MODE_FANOUT) {
        if (load->interval != 0) { /* from when it was due, however late it was sent */
            stats_latency(load->now - (load->first + conn->received++ / load->options.depth * load->interval));
            return;
        }
        stats_latency(load->now - load->round_began);
        load->awaited--;
        return;
    }
    stats_latency(load->now - conn->sent[conn->oldest]);
    conn->oldest = conn->oldest + 1 == load->options.depth ? 0 : conn->oldest + 1;
    conn->in_flight--;
}

/* A frame has come in whole. */
static void frame_done(struct load *load, struct conn *conn) {
    uint8_t opcode = conn->head[0] & 15;
    if (opcode < CLOSE)
        reply_done(load, conn);
    else if (opcode == PING)
        frames_control(conn, PONG, conn->ping, conn->body_length);
    else if (opcode == CLOSE)
        conn->closed_by_peer = true;
    conn->head_length = 0;
}

static bool body_right(const struct load *load, struct conn *conn, const uint8_t *data, size_t size) {
    if ((conn->head[0] & 15) >= CLOSE) {
        memcpy(conn->ping + conn->body_at, data, size);
        return true;
    }
    return load->options.deflate || memcmp(data, load->payload + conn->body_at, size < COMPARED ? size : COMPARED) == 0;
}

bool frames_feed(struct load *load, struct conn *conn, const uint8_t *data, size_t size) {
    while (size > 0) {
        if (conn->head_length < header_size(conn)) {
            if (!feed_header(load, conn, &data, &size))
                return false;
            if (conn->head_length < header_size(conn))
                return true;
        }
        uint64_t left = conn->body_length - conn->body_at;
        size_t part = size < left ? size : (size_t)left;
        if (!body_right(load, conn, data, part))
            return false;
        conn->body_at += part;
        data += part;
        size -= part;
        if (conn->body_at == conn->body_length)
            frame_done(load, conn);
    }
    return true;
}
