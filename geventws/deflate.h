/* deflate.h - RFC 7692 7.2.1: one small message, compressed by itself (RFC 1951).
 *
 * Read twice, as frame.h is. Nothing is allocated, and nothing is kept between calls. */

enum { WS_DEFLATE_LEAST = 256, WS_DEFLATE_MOST = 4096 };  /* bytes of a message */

/* Compresses data[0..size) into target[0..size), looking back `window` bytes at the most, and returns the new size.
 * The flush's 00 00 ff ff, which no message carries, is left out. Returns 0 where the size is none of these, or would
 * not become smaller: such a message is for zlib. */
int32_t ws_deflate(const uint8_t *data, int32_t size, int32_t window, uint8_t *target);
