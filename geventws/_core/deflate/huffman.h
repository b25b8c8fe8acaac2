/* huffman.h - the codes of one block of deflate (RFC 1951 3.2.2).
 *
 * For deflate.c; Python does not see this file. */

enum {
    WS_LITERALS = 286,    /* symbols at most: for bytes, the end of a block, and lengths */
    WS_LONGEST_CODE = 15  /* bits */
};

/* The code of one symbol. */
struct ws_code {
    uint16_t bits;        /* the lowest one is sent first */
    uint16_t length;      /* in bits; 0 for a symbol that does not occur */
};

/* Makes the shortest code for 2 to WS_LITERALS symbols with these frequencies, of at most `most`
 * bits for each symbol. If fewer than two symbols occur, one or two others get a code, too. Fills
 * codes[0..symbols), and returns the last symbol that has a code. */
int ws_make_code(const uint16_t *frequencies, int symbols, int most, struct ws_code *codes);
