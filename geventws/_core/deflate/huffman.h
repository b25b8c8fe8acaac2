/* huffman.h - the codes of one block of deflate (RFC 1951 3.2.2). For deflate.c; Python does not see it. */

enum {
    WS_LITERALS = 286,    /* the most symbols: for bytes, the end of the block, and lengths */
    WS_LONGEST_CODE = 15  /* bits */
};

struct ws_code {
    uint16_t bits;        /* the first one is the lowest */
    uint16_t length;
};

/* Makes the shortest codes for symbols that occur so often, of `most` bits at the most, and for two of them at the least.
 * Fills codes[0..symbols), those that do not occur with a length of 0, and returns the last symbol that has a code. */
int ws_make_code(const uint16_t *frequencies, int symbols, int most, struct ws_code *codes);
