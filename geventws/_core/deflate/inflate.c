/* inflate.c - messages that are whole, and compressed each by itself, through zlib. See inflate.h. */

#include <stddef.h>
#include <stdint.h>

#include "inflate.h"

#ifdef WS_ZLIB

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* What a message is sent without (7.2.1), and an empty final block: what does not come to it was cut short. */
static const uint8_t tail[WS_TAIL] = {0x00, 0x00, 0xff, 0xff, 0x03, 0x00};

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

int32_t ws_inflate(struct ws_inflater *inflater, uint8_t *data, int32_t size, uint8_t *target, int32_t room)
{
    z_stream *stream = &inflater->stream;
    uint8_t behind[sizeof tail];
    int status;

    memcpy(behind, data + size, sizeof tail);
    memcpy(data + size, tail, sizeof tail);
    inflateReset(stream);  /* so that no message sees anything of another */
    stream->next_in = data;
    stream->avail_in = (uInt)size + sizeof tail;
    stream->next_out = target;
    stream->avail_out = (uInt)room;
    status = inflate(stream, Z_FINISH);
    memcpy(data + size, behind, sizeof tail);
    return status == Z_STREAM_END && !stream->avail_in ? room - (int32_t)stream->avail_out : -1;
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

int32_t ws_inflate(struct ws_inflater *inflater, uint8_t *data, int32_t size, uint8_t *target, int32_t room)
{
    (void)inflater, (void)data, (void)size, (void)target, (void)room;
    return -1;
}

#endif
