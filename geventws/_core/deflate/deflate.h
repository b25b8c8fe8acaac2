/* deflate.h - RFC 7692 7.2.1: compressing one small message by itself (RFC 1951).
 *
 * Read twice, as frame.h is, which says what sizes and results are. Takes 30 KB of the stack. */

enum {
    WS_DEFLATE_LEAST = 256,   /* bytes of the smallest message that is compressed here, */
    WS_DEFLATE_MOST = 4096,   /* and of the largest */
    WS_STORED = 6             /* bytes that a message may grow by: then it is stored as it is */
};

/* Compresses data[0..size) into target[0..size + WS_STORED), with matches at most `window` bytes
 * back, 32768 or less. Returns the size of the result, which is as a message is sent: without the
 * 00 00 ff ff of a flush. Returns -1 for a message that is smaller or larger than said above. */
int32_t ws_deflate(const uint8_t *data, size_t size, size_t window, uint8_t *target);
