/* deflate.h - RFC 7692 7.2.1: one small message, compressed by itself (RFC 1951).
 *
 * Read twice, as frame.h is. Nothing is kept between calls, and nothing allocated but 30 KB of the stack. */

enum {
    WS_DEFLATE_LEAST = 256, WS_DEFLATE_MOST = 4096,  /* bytes of a message */
    WS_STORED = 6                                    /* that one may take more than it has */
};

/* Compresses data[0..size) into target[0..size + WS_STORED), looking back `window` bytes at the most, and returns the
 * new size. The flush's 00 00 ff ff, which no message carries, is left out. Returns 0 for a message of another size. */
int32_t ws_deflate(const uint8_t *data, int32_t size, int32_t window, uint8_t *target);
