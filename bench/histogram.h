/* A histogram of latencies: fixed size, no bucket wider than 1/128 of its value. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

enum { SUB_BITS = 7, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB };

struct histogram {
    uint64_t count, max;
    uint64_t at[BUCKETS];
};

static inline unsigned bucket_of(uint64_t value) {
    if (value < SUB)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return shift * SUB + (unsigned)(value >> shift);
}

static inline uint64_t bucket_middle(unsigned bucket) {
    if (bucket < 2 * SUB)
        return bucket;
    unsigned shift = bucket / SUB - 1;
    return ((uint64_t)(bucket % SUB + SUB) << shift) + (1ull << shift) / 2;
}

static inline void histogram_add(struct histogram *h, uint64_t value) {
    h->count++;
    h->at[bucket_of(value)]++;
    if (value > h->max)
        h->max = value;
}

static inline uint64_t histogram_quantile(const struct histogram *h, double q) {
    uint64_t seen = 0, rank = (uint64_t)(q * (double)h->count);
    for (unsigned b = 0; b < BUCKETS; b++)
        if ((seen += h->at[b]) > rank)
            return bucket_middle(b);
    return h->max;
}

#endif
