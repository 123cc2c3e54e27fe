/* Values below 64 have a bucket each. Above, the five bits that follow the leading one choose among 32 buckets of an octave. */
#include "histogram.h"

#include "base/check.h"

static unsigned bucket_of(uint64_t value)
{
        if (value < 64)
                return (unsigned)value;
        unsigned octave = 63 - (unsigned)__builtin_clzll(value);
        return (octave - 4) * 32 + (unsigned)(value >> (octave - 5) & 31);
}

static uint64_t bucket_last(unsigned bucket)
{
        if (bucket < 64)
                return bucket;
        unsigned shift = bucket / 32 - 1;
        return ((uint64_t)(32 + bucket % 32 + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
        unsigned bucket = bucket_of(value);

        CHECK(bucket < HISTOGRAM_BUCKETS);
        h->buckets[bucket]++;
        h->count++;
        h->max = MAX(h->max, value);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                into->buckets[i] += from->buckets[i];
        into->count += from->count;
        into->max = MAX(into->max, from->max);
}

uint64_t histogram_quantile(const struct histogram *h, double quantile)
{
        uint64_t rank = (uint64_t)((double)h->count * quantile), seen = 0;

        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
                seen += h->buckets[i];
                if (seen > rank)
                        return MIN(bucket_last(i), h->max);
        }
        return h->max;
}
