/* inflate.h - RFC 7692 7.2.2: inflating messages without context, with zlib.
 *
 * Read twice, as frame.h is, whose rules apply. */

struct ws_inflater;

/* Returns a new inflater, for one thread at a time; the caller has to free it. NULL if there is no
 * memory, or if the core was built without zlib. */
struct ws_inflater *ws_inflater_new(void);

/* Frees an inflater, or does nothing for NULL. */
void ws_inflater_free(struct ws_inflater *inflater);

/* Inflates the message data[0..size) into target[0..room), both below 1 GiB. Returns its length, or
 * -1 if it does not fit, or if it is invalid: if it was cut short within a block, for instance. */
int32_t ws_inflate(struct ws_inflater *inflater, const uint8_t *data, size_t size,
                   uint8_t *target, size_t room);
