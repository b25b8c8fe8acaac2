/* frame.h - RFC 6455 section 5.2: scanning a buffer for frames.
 *
 * This file is read twice: by the C compiler and by cffi's cdef(). So it has only declarations and
 * numbers. The following rules apply to the other headers of the core, too.
 *
 * Memory: the caller owns every buffer. Unless a contract says otherwise, nothing is allocated, and
 * nothing is kept between calls. No byte outside of the given sizes is read or written.
 *
 * Sizes: arguments are size_t. Fields of structs have a fixed width, as Python unpacks them: 64
 * bits for lengths that a peer announces, 32 bits within the core's own buffers (256 MiB or less).
 *
 * Results: a function that makes something returns how much, a size or a count; a negative number
 * means that it has made nothing. Positions are offsets into the caller's buffer.
 *
 * Preconditions are asserted if NDEBUG is not defined: in the tests, not in the shipped extension.
 * pure.py specifies scanning and masking in Python. */

/* Why a scan ended. WS_MORE and WS_PAYLOAD ask for more bytes, WS_FULL for more room in frames[].
 * The others are violations of the RFC, found as early as the bytes allow. */
enum ws_status {
    WS_MORE,              /* no byte left, or a header that is not complete */
    WS_PAYLOAD,           /* a good header, whose payload is not complete: see ws_scan.next */
    WS_FULL,              /* frames[] is full */
    WS_RESERVED_BITS,     /* 5.2: a reserved bit that no extension has claimed */
    WS_RESERVED_OPCODE,   /* 5.2: opcodes 3-7 and 11-15 */
    WS_CONTROL_FRAGMENTED,/* 5.5: a control frame without FIN */
    WS_CONTROL_TOO_LONG,  /* 5.5: a control frame of more than 125 bytes */
    WS_MASK_MISSING,      /* 5.1: an unmasked frame from a client */
    WS_MASK_UNEXPECTED,   /* 5.1: a masked frame from a server */
    WS_LENGTH_NOT_MINIMAL,/* 5.2: the minimal number of bytes MUST be used to encode the length */
    WS_LENGTH_TOO_LARGE,  /* 5.2: the most significant bit of a 64-bit length MUST be 0 */
    WS_TOO_BIG            /* 10.4: longer than max_payload */
};

struct ws_frame {
    uint64_t start;       /* offset of the payload */
    uint64_t length;      /* of the payload, in bytes */
    uint32_t mask_key;    /* its four bytes as a number in memory; 0 if there is none */
    uint32_t head;        /* the first byte: FIN 0x80, RSV1 0x40, RSV2 0x20, RSV3 0x10, opcode */
};

struct ws_scan {
    /* What the caller sets: */
    uint64_t max_payload; /* the largest payload of a data frame that is accepted */
    uint32_t reserved;    /* the RSV bits (0x70) that an extension has claimed, in data frames */
    uint32_t masked;      /* 1 where frames must be masked, 0 where they must not be */
    /* What ws_scan sets: */
    uint64_t consumed;    /* bytes of complete frames */
    uint64_t count;       /* complete frames, written to frames[] */
    struct ws_frame next; /* for WS_PAYLOAD: the frame after these */
};

/* Scans data[0..size) for complete frames, and unmasks their payloads in place. Fills
 * frames[0..scan->count) and the last three fields of `scan`. Returns an enum ws_status. */
int ws_scan(uint8_t *data, size_t size, struct ws_scan *scan,
            struct ws_frame *frames, size_t max_frames);
