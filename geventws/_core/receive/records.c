/* records.c - from bytes that were received to records. See receive.h.
 *
 * Nearly every message comes this way, so only the simple case is handled: whole data frames that a
 * handler can have as they are. Anything else goes as it came to protocol/, which knows all the
 * rules. So a frame that is turned down here is not an error; it only takes longer. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "frame.h"
#include "header.h"
#include "mask.h"
#include "deflate/inflate.h"
#include "receive.h"
#include "records.h"

/* The most bytes that a message is inflated to here. If it turns out to be larger, the work is
 * lost, and the protocol inflates it again. */
#define MAX_INFLATED 65536

/* Bytes that Python takes for a message besides its content, including its place in a list. */
#define OVERHEAD 104

#define INFLATED_BYTES 16 /* to inflate so many bytes takes as long as a message: see MAX_WORK */
#define DATA_BYTES 4      /* so many bytes of WS_DATA take the protocol as long */

#define FIELD 12          /* the most characters that one field of a format takes */
#define MAX_FIELDS 3      /* the most fields that one message adds */

static_assert(WS_TEXT == 0x1 && WS_BINARY == 0x2, "ws_make_records takes an opcode for the kind");

/* Appends a field to the format of a run, which has room for FIELD characters. All of them are
 * written: copying a fixed number is cheaper than copying as many as are used. */
static void append_field(struct batch *batch, int32_t number, char code)
{
    char field[2 * FIELD] = {0};
    uint32_t left = (uint32_t)number;
    int at = FIELD - 1;

    field[at] = code;
    do
        field[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    memcpy(batch->poller->options.format + batch->format_used, field + at, FIELD);
    batch->format_used += FIELD - at;
}

/* Adds a message whose payload is buffer[start..end): as a record of its own, or to the last
 * record, if that is a run or becomes one. `before` is the end of the previous message's payload,
 * if that was the same descriptor's and not inflated; otherwise 0. */
static void add_message(struct batch *batch, int fd, int kind, int32_t start, int32_t end,
                        int32_t before)
{
    const struct ws_poller_options *options = &batch->poller->options;
    const int run = kind == WS_TEXT ? WS_TEXTS : WS_BINARIES;
    struct ws_record *next = options->records + batch->count;

    assert(!before || batch->count);
    batch->work++;
    if (!before || (next[-1].kind != kind && next[-1].kind != run)
        || options->format_size - batch->format_used < MAX_FIELDS * FIELD) {
        add_record(batch, fd, kind, start, end);
        return;
    }
    if (next[-1].kind == kind)
        append_field(batch, next[-1].end - next[-1].start, 's');
    append_field(batch, start - before, 'x');
    append_field(batch, end - start, 's');
    next[-1].kind = run;
    next[-1].end = batch->format_used;
}

/* Reads the header of a whole, unfragmented data frame at data[0..size) that the word allows.
 * Returns the size of the header, and sets *length; 0 for anything else. */
static int32_t read_fast_header(const uint8_t *data, int32_t size, uint32_t word,
                                uint32_t *length)
{
    int masked = !(word & WS_FAST_UNMASKED), head;
    uint64_t announced;
    size_t header;

    if (size < 2 || data[1] >> 7 != masked)
        return 0;
    head = word & WS_FAST_DEFLATED ? data[0] & ~RSV1 : data[0];
    if (head != (FIN | WS_TEXT) && head != (FIN | WS_BINARY))
        return 0;
    if (read_length(data, (size_t)size, &header, &announced) != WS_PAYLOAD)
        return 0;
    header += masked ? KEY_SIZE : 0;
    if (announced > (word & WS_FAST_SIZE) || header + announced > (uint64_t)size)
        return 0;
    *length = (uint32_t)announced;
    return (int32_t)header;
}

/* Unmasks a payload in place, if the peer masks. A second call masks it again. */
static void mask_payload(uint8_t *payload, uint32_t length, uint32_t word)
{
    uint32_t mask_key;

    if (word & WS_FAST_UNMASKED)
        return;
    memcpy(&mask_key, payload - KEY_SIZE, KEY_SIZE);
    ws_mask(payload, payload, length, mask_key, 0);
}

/* Returns how many bytes Python takes for a message. A text takes one, two or four bytes for each
 * character, as its widest one needs. If there is room for four, the text is not looked at. */
static int32_t weigh(int kind, const uint8_t *payload, uint32_t length, int32_t room)
{
    int32_t size = (int32_t)length;
    uint8_t highest = 0;
    uint32_t i;

    if (kind == WS_BINARY || 4 * size + OVERHEAD <= room)
        return (kind == WS_BINARY ? size : 4 * size) + OVERHEAD;
    for (i = 0; i < length; i++)
        highest = payload[i] > highest ? payload[i] : highest;
    return size * (highest < 0xc4 ? 1 : highest < 0xf0 ? 2 : 4) + OVERHEAD;
}

/* Inflates the message data[0..length) into the buffer, after the received bytes, and adds it.
 * Returns how many bytes Python takes for it; 0 if it does not inflate here, or takes more than
 * `room`. */
static int32_t add_inflated(struct batch *batch, int fd, int kind, const uint8_t *data,
                            uint32_t length, uint32_t word, int32_t room)
{
    const struct ws_poller_options *options = &batch->poller->options;
    int32_t start = batch->used, most, size, weight;

    most = smaller(smaller(word & WS_FAST_SIZE, MAX_INFLATED), options->size - start);
    if (!options->inflater || most <= 0)
        return 0;
    size = ws_inflate(options->inflater, data, length, batch->buffer + start, (size_t)most);
    batch->work += 1 + (size < 0 ? most : size) / INFLATED_BYTES;
    if (size < 0)
        return 0;
    weight = weigh(kind, batch->buffer + start, (uint32_t)size, 0);
    if (weight > room)
        return 0;
    add_record(batch, fd, kind, start, start + size);
    batch->used = start + size;
    return weight;
}

void ws_make_records(struct batch *batch, int fd, uint32_t word, int32_t received)
{
    int32_t at = batch->used, end = at + received, before = 0;
    int32_t room = (int32_t)((word & WS_FAST_SIZE) / 2) + WS_LEAST_ROOM, header, start, weight;
    uint32_t length;
    uint8_t *payload;

    batch->used = end;
    while (at < end && batch->count < batch->poller->options.max_records - 1) {
        uint8_t head = batch->buffer[at];

        header = read_fast_header(batch->buffer + at, end - at, word, &length);
        if (!header)
            break;
        start = at + header;
        payload = batch->buffer + start;
        mask_payload(payload, length, word);
        if (head & RSV1)
            weight = add_inflated(batch, fd, head & OPCODE, payload, length, word, room);
        else
            weight = weigh(head & OPCODE, payload, length, room);
        if (!weight || weight > room) {
            mask_payload(payload, length, word);  /* the protocol gets it as it was received */
            break;
        }
        room -= weight;
        at = start + (int32_t)length;
        if (!(head & RSV1))
            add_message(batch, fd, head & OPCODE, start, at, before);
        before = head & RSV1 ? 0 : at;
    }
    if (at < end) {
        /* Nobody knows what compressed bytes inflate to: one such descriptor fills a call. */
        batch->work += word & WS_FAST_DEFLATED ? MAX_WORK : (end - at) / DATA_BYTES;
        add_record(batch, fd, WS_DATA, at, end);
    }
}

int32_t ws_split(struct ws_poller *poller, int fd, uint32_t word,
                 uint8_t *buffer, size_t received)
{
    struct batch batch = {.poller = poller, .buffer = buffer};

    assert(received <= (size_t)poller->options.size);
    ws_make_records(&batch, fd, word, (int32_t)received);
    return batch.count;
}
