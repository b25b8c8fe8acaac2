/* Clocks and latencies.
 *
 * Latencies go into a histogram whose buckets are 1/64 of a power of two wide, so a percentile is right
 * within 1.6 %. The server's CPU time comes from its processes' CPU clocks: all their threads, in ns, read
 * by the very process that knows when the measured stretch begins and ends. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "load.h"

enum { FINE_BITS = 6, FINE = 1 << FINE_BITS, BUCKETS = (64 - FINE_BITS + 1) * FINE };

static uint64_t buckets[BUCKETS];
static uint64_t slowest, began_at;
static double own_cpu, server_cpu;

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t stats_now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

static double read_server_cpu(const struct options *options) {
    uint64_t sum = 0;
    for (size_t i = 0; i < options->pid_count; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(options->pids[i], &clock) == 0)
            sum += read_clock(clock);
    }
    return (double)sum / 1e9;
}

static size_t bucket_of(uint64_t value) {
    if (value < FINE)
        return (size_t)value;
    int exponent = 63 - __builtin_clzll(value);
    return (size_t)(exponent - FINE_BITS + 1) * FINE + ((value >> (exponent - FINE_BITS)) & (FINE - 1));
}

static uint64_t lowest_in(size_t bucket) {
    if (bucket < FINE)
        return bucket;
    return (FINE + bucket % FINE) << (bucket / FINE - 1);
}

void stats_latency(uint64_t nanoseconds) {
    buckets[bucket_of(nanoseconds)]++;
    if (nanoseconds > slowest)
        slowest = nanoseconds;
}

static double percentile_us(double share) {
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        all += buckets[i];
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > 0 && (double)seen >= share * (double)all)
            return (double)lowest_in(i) / 1e3;
    }
    return 0;
}

void stats_begin(const struct load *load) {
    memset(buckets, 0, sizeof buckets);
    slowest = 0;
    began_at = stats_now();
    own_cpu = (double)read_clock(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
    server_cpu = read_server_cpu(&load->options);
}

void stats_report(const struct load *load) {
    double server = read_server_cpu(&load->options) - server_cpu;
    double own = (double)read_clock(CLOCK_PROCESS_CPUTIME_ID) / 1e9 - own_cpu;
    double seconds = (double)(stats_now() - began_at) / 1e9;
    printf("{\"messages\": %llu, \"seconds\": %.6f, \"server_cpu\": %.6f, \"load_cpu\": %.6f, ",
           (unsigned long long)load->messages, seconds, server, own);
    printf("\"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f, ", percentile_us(0.5), percentile_us(0.99), (double)slowest / 1e3);
    printf("\"reply_bytes\": %llu, \"compressed\": %llu, ", (unsigned long long)load->reply_bytes,
           (unsigned long long)load->compressed);
    printf("\"errors\": %llu, \"error\": \"%s\"}\n", (unsigned long long)load->errors, load->error);
    fflush(stdout);
}
