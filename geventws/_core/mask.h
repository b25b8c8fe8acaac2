/* mask.h - RFC 6455 section 5.3: masking a payload.
 *
 * Read twice, as frame.h is, whose rules apply. */

/* Writes size bytes of source to target, each XORed with its byte of the mask key. mask_key is the
 * key's four bytes as a number in memory; source[0] is byte number `offset` of the payload.
 *
 * target == source masks in place; otherwise the two must not overlap. Masking twice with the same
 * key and offset gives the original bytes. */
void ws_mask(uint8_t *target, const uint8_t *source, size_t size,
             uint32_t mask_key, uint64_t offset);
