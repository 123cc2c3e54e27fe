/* Times of many operations in bounded memory: buckets that grow with the value, each at most 1/32 (3 %) wide.
 *
 *      histogram_add(&h, microseconds);         any number of times
 *      histogram_merge(&all, &h);
 *      p99 = histogram_quantile(&all, 0.99);
 *
 * A value, zeroed to start with; one thread at a time. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_BUCKETS (60 * 32)

struct histogram {
        uint64_t count, max;
        uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The largest value of the bucket in which the quantile lies, never above the maximum; 0 where nothing was added. */
uint64_t histogram_quantile(const struct histogram *h, double quantile);
