/* inflate.h - RFC 7692 7.2.2: inflating messages that are each compressed by themselves, with zlib.
 *
 * Read twice, as frame.h is, which says what sizes and results are. */

struct ws_inflater;

/* Returns what one thread at a time inflates with, which is to be freed; NULL where there is no
 * memory, or the core was built without zlib. */
struct ws_inflater *ws_inflater_new(void);

/* Frees an inflater, or does nothing for NULL. */
void ws_inflater_free(struct ws_inflater *inflater);

/* Inflates the message data[0..size) into target[0..room), both below 1 GiB. Returns its length; -1
 * where it does not fit, or anything is wrong with it: if it was cut short within a block, say. */
int32_t ws_inflate(struct ws_inflater *inflater, const uint8_t *data, size_t size,
                   uint8_t *target, size_t room);
