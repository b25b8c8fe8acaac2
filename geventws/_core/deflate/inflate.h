/* inflate.h - RFC 7692 7.2.2: messages that are whole, and compressed each by itself, through zlib.
 *
 * Read twice, as frame.h is. */

struct ws_inflater;

/* What one thread at a time inflates with; NULL where there is no memory, or the core was built without zlib. */
struct ws_inflater *ws_inflater_new(void);
void ws_inflater_free(struct ws_inflater *inflater);

/* Inflates the message data[0..size) into target[0..room), and returns its length; -1 where it does not fit, or anything
 * is wrong with it: it was cut short within a block, say. */
int32_t ws_inflate(struct ws_inflater *inflater, const uint8_t *data, int32_t size, uint8_t *target, int32_t room);
