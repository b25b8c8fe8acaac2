/* fans.h - frames for many descriptors, sent with every buffer of ws_fanout at an edge. A part of
 * driver.c. */

#define PEERS 6
#define FRAMES 90

/* What one peer is to get, frame by frame. */
struct wanted {
    int frames[FRAMES], count;
};

/* The frames of a call. */
struct fanned {
    const uint8_t *data;
    const int64_t *ends;
};

/* An array of so many things at the end of an area that goes down as it is taken from. */
static void *take_from(struct area *area, size_t size)
{
    area->end -= size;
    return area->end;
}

/* Reads all there is for a peer, which is what it was to get up to the first refusal. */
static void check_peer(int fd, const struct wanted *wanted, const struct fanned *fanned,
                       const struct ws_refusal *refused, int count)
{
    static uint8_t expected[1 << 20], got[1 << 20];
    size_t size = 0, read_size = 0;
    int whole = wanted->count - count, i;
    ssize_t part;

    CHECK(whole >= 0);
    for (i = 0; i < wanted->count; i++) {
        int number = wanted->frames[i];
        int64_t start = number ? fanned->ends[number - 1] : 0;
        size_t most = (size_t)(i < whole ? fanned->ends[number] - start
                               : i == whole ? refused->sent : 0);

        CHECK(i < whole || refused[i - whole].frame == number);
        CHECK(i <= whole || !refused[i - whole].sent);
        memcpy(expected + size, fanned->data + start, most);
        size += most;
    }
    while ((part = recv(fd, got + read_size, sizeof got - read_size, MSG_DONTWAIT)) > 0)
        read_size += (size_t)part;
    CHECK(read_size == size && !memcmp(expected, got, size));
}

static struct wanted wanted[PEERS];
static int32_t fds[FRAMES * PEERS];

/* Draws who gets frame number i, and returns how many. */
static int32_t draw_targets(int pairs[PEERS][2], int i, int32_t except, int known, int32_t *to)
{
    int count = (int)pick(PEERS + 1), k;

    for (k = 0; k < count; k++) {
        int peer = (k + i) % PEERS;

        to[k] = pick(20) ? pairs[peer][1] : (int)pick(2) * (known + 1) - 1;
        if (to[k] == pairs[peer][1] && except != to[k] && to[k] < known)
            wanted[peer].frames[wanted[peer].count++] = i;
    }
    return count;
}

static void check_refusals(int pairs[PEERS][2], const struct ws_fanout *fanout,
                           const struct fanned *fanned, int count)
{
    int i;

    for (i = 0; i < fanout->known; i++)
        CHECK(fanout->first[i] == -1);
    for (i = 0; i < count; i++) {
        int fd = fanout->refusals[i].fd;

        CHECK((fanout->refusals[i].error == EBADF) == (fd < 0 || fd >= fanout->known));
    }
    for (i = 0; i < PEERS; i++) {
        const struct ws_refusal *mine = fanout->refusals, *end = fanout->refusals + count;
        int fd = pairs[i][1], mine_count = 0;

        while (mine < end && (mine->fd != fd || mine->error == EBADF))
            mine++;
        while (mine + mine_count < end && mine[mine_count].fd == fd)
            CHECK(mine[mine_count++].error == (fanout->shut[fd] ? 0 : EAGAIN));
        check_peer(pairs[i][0], wanted + i, fanned, mine, mine_count);
    }
}

static void fan_once(int pairs[PEERS][2], int known)
{
    struct area data = input, numbers = output, links = records, refusals = formats;
    size_t frames = pick(FRAMES), i, at = 0, all = 0;
    int64_t *ends = take_from(&numbers, sizeof *ends * frames);
    int32_t *counts = take_from(&numbers, sizeof *counts * frames);
    int32_t *excepts = take_from(&numbers, sizeof *excepts * frames);
    uint8_t *shut = take_from(&refusals, (size_t)known);
    struct ws_fanout fanout = {.known = known, .shut = shut};
    int32_t *targets;
    int count;

    memset(wanted, 0, sizeof wanted);
    for (i = 0; i < (size_t)known; i++)
        shut[i] = pick(9) ? 0 : 2;
    for (i = 0; i < frames; i++) {
        ends[i] = (int64_t)(all += 1 + pick(pick(99) ? 300 : 20000));
        excepts[i] = pick(3) ? -1 : pairs[pick(PEERS)][1];
        counts[i] = draw_targets(pairs, (int)i, excepts[i], known, fds + at);
        at += (size_t)counts[i];
    }
    CHECK(all < AREA);
    take_from(&data, all);
    for (i = 0; i < all; i++)
        data.end[i] = (uint8_t)(all - i);
    targets = memcpy(take_from(&numbers, sizeof *fds * at), fds, sizeof *fds * at);
    fanout.first = take_from(&numbers, sizeof *fds * (size_t)known);
    memset(fanout.first, 0xff, sizeof *fds * (size_t)known);
    fanout.last = take_from(&numbers, sizeof *fds * (size_t)known);
    fanout.links = take_from(&links, sizeof *fanout.links * at);
    refusals.end = (uint8_t *)((uintptr_t)refusals.end & ~(uintptr_t)7);
    fanout.refusals = take_from(&refusals, sizeof *fanout.refusals * at);
    count = ws_fanout(&fanout, data.end, ends, (int32_t)frames, targets, counts, excepts);
    checked++;
    CHECK(count >= 0 && (size_t)count <= at);
    check_refusals(pairs, &fanout, &(struct fanned){data.end, ends}, count);
}

static void fans(void)
{
    int pairs[PEERS][2], round, i, known = 0;

    for (i = 0; i < PEERS; i++) {
        int size = 4096;

        CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
        CHECK(!setsockopt(pairs[i][1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
        known = pairs[i][1] >= known ? pairs[i][1] + 1 : known;
    }
    for (round = 0; round < 20000; round++)
        fan_once(pairs, known - (int)(pick(9) == 0));
}
