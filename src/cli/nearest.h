/* The nearest right name to a wrong one, for messages: "no command \"srve\"; the nearest is \"serve\"".
 *
 *      struct nearest near = NEAREST_INIT(word);
 *      for each right name
 *              nearest_offer(&near, name);
 *      ... near.best ...                       NULL only where nothing was offered
 *
 * Distance is the number of letters to add, drop, change or swap with a neighbour. Names are borrowed. */
#pragma once

#include "base/slice.h"

enum { NEAREST_LENGTH_MAX = 64 };       /* what comes after it in a word does not count */

struct nearest {
        struct slice word;
        const char *best;
        unsigned distance;
};

#define NEAREST_INIT(word) ((struct nearest){ (word), NULL, ~0u })

void nearest_offer(struct nearest *near, const char *name);
