/* inflate.c - inflating messages without context. See inflate.h. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "inflate.h"

#ifdef WS_ZLIB

#include <stdlib.h>
#include <zlib.h>

/* The four bytes that a message is sent without (7.2.1), and an empty final block. After a complete
 * message they add nothing, and end the stream. If a message was cut short within a block, the
 * stream either does not end with them, or they inflate to something. */
static const uint8_t tail[] = {0x00, 0x00, 0xff, 0xff, 0x03, 0x00};

struct ws_inflater {
    z_stream stream;
};

struct ws_inflater *ws_inflater_new(void)
{
    struct ws_inflater *inflater = calloc(1, sizeof *inflater);

    if (inflater && inflateInit2(&inflater->stream, -MAX_WBITS) != Z_OK) {
        free(inflater);
        return NULL;
    }
    return inflater;
}

void ws_inflater_free(struct ws_inflater *inflater)
{
    if (inflater)
        inflateEnd(&inflater->stream);
    free(inflater);
}

int32_t ws_inflate(struct ws_inflater *inflater, const uint8_t *data, size_t size,
                   uint8_t *target, size_t room)
{
    z_stream *stream = &inflater->stream;
    uInt left;
    int status;

    assert(size < 1 << 30 && room < 1 << 30);
    inflateReset(stream);  /* no message may see bytes of another */
    stream->next_in = (Bytef *)data;
    stream->avail_in = (uInt)size;
    stream->next_out = target;
    stream->avail_out = (uInt)room;
    status = inflate(stream, Z_SYNC_FLUSH);
    if ((status != Z_OK && status != Z_BUF_ERROR) || stream->avail_in)
        return -1;
    left = stream->avail_out;
    stream->next_in = (Bytef *)tail;
    stream->avail_in = sizeof tail;
    status = inflate(stream, Z_FINISH);
    if (status != Z_STREAM_END || stream->avail_in || stream->avail_out != left)
        return -1;
    return (int32_t)(room - left);
}

#else

struct ws_inflater *ws_inflater_new(void)
{
    return NULL;
}

void ws_inflater_free(struct ws_inflater *inflater)
{
    (void)inflater;
}

int32_t ws_inflate(struct ws_inflater *inflater, const uint8_t *data, size_t size,
                   uint8_t *target, size_t room)
{
    (void)inflater, (void)data, (void)size, (void)target, (void)room;
    return -1;
}

#endif
