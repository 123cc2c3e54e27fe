#include "cli/nearest.h"

#include "base/check.h"

/* The table's three rows that are needed at once; rows[i][j] is the distance of the first i letters of a to the first j of b. */
struct rows {
        unsigned before[NEAREST_LENGTH_MAX + 1], last[NEAREST_LENGTH_MAX + 1], now[NEAREST_LENGTH_MAX + 1];
};

static void next_row(struct rows *rows, struct slice a, struct slice b, size_t i)
{
        rows->now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
                unsigned change = rows->last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
                unsigned add_or_drop = MIN(rows->last[j], rows->now[j - 1]) + 1;

                rows->now[j] = MIN(change, add_or_drop);
                if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
                        rows->now[j] = MIN(rows->now[j], rows->before[j - 2] + 1);
        }
        memcpy(rows->before, rows->last, sizeof rows->last);
        memcpy(rows->last, rows->now, sizeof rows->now);
}

static unsigned distance_of(struct slice a, struct slice b)
{
        struct rows rows = { 0 };

        for (size_t j = 0; j <= b.n; j++)
                rows.last[j] = (unsigned)j;
        for (size_t i = 1; i <= a.n; i++)
                next_row(&rows, a, b, i);
        return rows.last[b.n];
}

void nearest_offer(struct nearest *near, const char *name)
{
        struct slice word = slice_head(near->word, NEAREST_LENGTH_MAX);
        unsigned distance = distance_of(word, slice_head(slice_from(name), NEAREST_LENGTH_MAX));

        if (distance >= near->distance)
                return;
        near->best = name;
        near->distance = distance;
}
