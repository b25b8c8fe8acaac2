/* frame.c - RFC 6455 section 5.2: scanning a buffer for frames. See frame.h for the contract.
 *
 * This file checks every rule about a single frame. Rules about several frames (fragments, UTF-8 in
 * a message, data after a close) belong to protocol/. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "frame.h"
#include "header.h"
#include "mask.h"

/* Checks the first two bytes, or the first one if there is only one. */
static int check_start(const uint8_t *data, size_t size, const struct ws_scan *rules)
{
    unsigned opcode = data[0] & OPCODE;

    if (data[0] & RESERVED & ~(opcode & CONTROL ? 0 : rules->reserved))
        return WS_RESERVED_BITS;
    if ((opcode & 7) > 2)
        return WS_RESERVED_OPCODE;
    if (opcode & CONTROL && !(data[0] & FIN))
        return WS_CONTROL_FRAGMENTED;
    if (size < 2)
        return WS_MORE;
    if (data[1] >> 7 != (int)rules->masked)
        return rules->masked ? WS_MASK_MISSING : WS_MASK_UNEXPECTED;
    if (opcode & CONTROL && (data[1] & LENGTH) > 125)
        return WS_CONTROL_TOO_LONG;
    return WS_PAYLOAD;
}

/* Reads the header at data[0..size), size > 0, into frame, with frame->start relative to data.
 * Returns WS_PAYLOAD if it is complete and valid. */
static int read_header(const uint8_t *data, size_t size, const struct ws_scan *rules,
                       struct ws_frame *frame)
{
    size_t header;
    int status = check_start(data, size, rules);

    if (status != WS_PAYLOAD)
        return status;
    status = read_length(data, size, &header, &frame->length);
    if (status != WS_PAYLOAD)
        return status;
    if (frame->length > rules->max_payload && !(data[0] & CONTROL))
        return WS_TOO_BIG;
    if (rules->masked)
        header += KEY_SIZE;
    if (size < header)
        return WS_MORE;
    frame->head = data[0];
    frame->start = header;
    frame->mask_key = 0;
    if (rules->masked)
        memcpy(&frame->mask_key, data + header - KEY_SIZE, KEY_SIZE);
    return WS_PAYLOAD;
}

int ws_scan(uint8_t *data, size_t size, struct ws_scan *scan,
            struct ws_frame *frames, size_t max_frames)
{
    struct ws_frame *frame = &scan->next;
    int status = WS_MORE;

    assert(scan->masked <= 1 && !(scan->reserved & ~RESERVED));
    scan->consumed = 0;
    scan->count = 0;
    while (scan->consumed < size) {
        if (scan->count == max_frames)
            return WS_FULL;
        status = read_header(data + scan->consumed, size - scan->consumed, scan, frame);
        if (status != WS_PAYLOAD)
            return status;
        frame->start += scan->consumed;
        if (frame->length > size - frame->start)
            return WS_PAYLOAD;
        if (scan->masked)
            ws_mask(data + frame->start, data + frame->start, frame->length, frame->mask_key, 0);
        scan->consumed = frame->start + frame->length;
        frames[scan->count++] = *frame;
        status = WS_MORE;
    }
    return status;
}
