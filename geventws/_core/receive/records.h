/* records.h - what one call of receive.c has made so far.
 *
 * For receive.c and records.c; Python does not see this file. Include receive.h before it. */

#include <assert.h>

/* The most work that one call may cause, here and in Python, counted in messages: some 3 ms, while
 * everybody else waits. */
#define MAX_WORK 32768
#define READABLE_WORK 512 /* for a descriptor that Python receives for: TLS records are small */

/* What one call has made so far. */
struct batch {
    struct ws_poller *poller;
    uint8_t *buffer;
    int32_t used;         /* bytes of buffer */
    int32_t count;        /* of records */
    int32_t format_used;  /* characters of format */
    int32_t work;         /* done here, and left to do in Python: see MAX_WORK */
};

static inline void add_record(struct batch *batch, int fd, int kind, int32_t start, int32_t end)
{
    struct ws_record *record = &batch->poller->options.records[batch->count++];

    assert(batch->count <= batch->poller->options.max_records);
    record->fd = fd;
    record->kind = kind;
    record->start = start;
    record->end = end;
}

static inline int32_t smaller(int32_t one, int32_t other)
{
    return one < other ? one : other;
}

/* Makes records of the next `received` bytes of the buffer, which are fd's: see ws_receive. */
void ws_make_records(struct batch *batch, int fd, uint32_t word, int32_t received);
