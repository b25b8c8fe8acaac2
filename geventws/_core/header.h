/* header.h - RFC 6455 section 5.2: the header of a frame.
 *
 *    byte 0          byte 1          bytes 2..9                bytes ..
 *   +-+-+-+-+-------+-+-------------+-------------------------+-----------------+----------- -
 *   |F|R|R|R| op    |M| length      | extended length         | mask key        | payload
 *   |I|S|S|S| code  |A| (7 bits)    | 16 bits if length = 126 | 4 bytes, if the | length bytes
 *   |N|V|V|V|       |S| 0-125, or   | 64 bits if length = 127 | MASK bit is set |
 *   | |1|2|3| (4)   |K| 126 or 127  | big-endian              |                 |
 *   +-+-+-+-+-------+-+-------------+-------------------------+-----------------+----------- -
 *
 * For frame.c and records.c, which read a header for every frame; Python does not see this file.
 * Include frame.h first. */

#define FIN 0x80          /* bits of the first byte */
#define RSV1 0x40
#define RESERVED 0x70
#define OPCODE 0x0f
#define CONTROL 0x08      /* the bit that the opcodes of control frames have */
#define LENGTH 0x7f       /* bits of the second byte */
#define KEY_SIZE 4        /* bytes of a mask key */

/* Reads a big-endian number of eight bytes. */
static inline uint64_t read_number(const uint8_t *data)
{
    uint64_t number = 0;
    int i;

    for (i = 0; i < 8; i++)
        number = number << 8 | data[i];
    return number;
}

/* Reads the length of the payload from the header at data[0..size), size >= 2. Returns WS_PAYLOAD
 * if the length is complete and valid; *header is then the number of bytes up to its end. */
static inline int read_length(const uint8_t *data, size_t size, size_t *header, uint64_t *length)
{
    *header = 2;
    *length = data[1] & LENGTH;
    if (*length < 126)
        return WS_PAYLOAD;
    if (*length == 126) {
        *header = 4;
        if (size < 4)
            return WS_MORE;
        *length = (uint64_t)data[2] << 8 | data[3];
        return *length < 126 ? WS_LENGTH_NOT_MINIMAL : WS_PAYLOAD;
    }
    *header = 10;
    if (size < 10)
        return WS_MORE;
    *length = read_number(data + 2);
    if (*length >> 63)
        return WS_LENGTH_TOO_LARGE;
    return *length < 65536 ? WS_LENGTH_NOT_MINIMAL : WS_PAYLOAD;
}
