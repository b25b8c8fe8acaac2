/* frame.h - RFC 6455 section 5: scanning and masking frames in a buffer.
 *
 * This file is read twice: by the C compiler and by cffi's cdef(), so it holds declarations only.
 *
 * The caller owns every buffer. Nothing is allocated, nothing is kept between calls, and no byte
 * outside of [data, data + size) is read or written. Results are offsets into the caller's buffer.
 * pure.py specifies every function here in Python. */

/* Why a scan ended. WS_MORE and WS_PAYLOAD ask for more bytes, WS_FULL for more room in frames[];
 * the others are breaches of the RFC, found as early as the bytes allow. */
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
    uint32_t mask_key;    /* as the four bytes stand in memory; 0 when there is none */
    uint32_t head;        /* the first byte: FIN 0x80, RSV1 0x40, RSV2 0x20, RSV3 0x10, opcode 0x0f */
};

struct ws_scan {
    uint64_t max_payload; /* in: the largest payload of a data frame that is taken */
    uint32_t reserved;    /* in: the RSV bits (0x70) that an extension has claimed, in data frames */
    uint32_t masked;      /* in: 1 where frames must be masked, 0 where they must not be */
    uint64_t consumed;    /* out: bytes of complete frames */
    uint64_t count;       /* out: complete frames written to frames[] */
    struct ws_frame next; /* out: the frame behind them, for WS_PAYLOAD */
};

/* Scans data[0..size) for complete frames, and unmasks their payloads in place.
 * Fills frames[0..scan->count) and scan's out fields, and returns an enum ws_status. */
int ws_scan(uint8_t *data, size_t size, struct ws_scan *scan,
            struct ws_frame *frames, size_t max_frames);

/* Writes size bytes of source to target, each XORed with its byte of the mask key (5.3), where source[0]
 * is byte number `offset` of the payload. target == source masks in place; else they must not overlap. */
void ws_mask(uint8_t *target, const uint8_t *source, size_t size, uint32_t mask_key, uint64_t offset);
