/* deflate.h - RFC 7692 7.2.1: compressing one small message by itself (RFC 1951).
 *
 * Read twice, as frame.h is, whose rules apply. It uses 30 KB of the stack. */

enum {
    WS_DEFLATE_LEAST = 256,   /* bytes of the smallest message that is compressed here, */
    WS_DEFLATE_MOST = 4096,   /* and of the largest */
    WS_STORED = 6             /* bytes that a message grows by if it is stored as it is */
};

/* Compresses data[0..size) into target[0..size + WS_STORED). Matches are at most `window` bytes
 * back (32768 or less). Returns the size of the result, which lacks the 00 00 ff ff of a flush, as
 * messages are sent; or -1 for a message that is smaller or larger than the limits above. */
int32_t ws_deflate(const uint8_t *data, size_t size, size_t window, uint8_t *target);
