/* A fuzz target is one file, one parser: bytes from anywhere must not break it, and what it says must hold (CHECK).
 *
 *      int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
 *
 * It is built twice: with libFuzzer and the sanitizers to look for new inputs (./dev fuzz), and with replay.c, which runs the
 * inputs of corpus/TARGET as an ordinary test. A new target is a new file and a row in meson.build. An input that found something
 * goes into the corpus, under a name that tells what it was. */
#pragma once

#include "base/check.h"
#include "base/slice.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static inline struct slice fuzz_input(const uint8_t *bytes, size_t n)
{
        return (struct slice){ bytes ? (const char *)bytes : "", n };
}

/* The first line of the input, for targets that take two things; *rest is what follows it. */
static inline struct slice fuzz_line(struct slice *rest)
{
        struct slice line;

        if (slice_cut(rest, '\n', &line))
                return line;
        line = *rest;
        *rest = S("");
        return line;
}

/* A number that depends on the input, so that a run can be repeated. */
static inline size_t fuzz_number(struct slice input, size_t below)
{
        size_t h = 5381;

        for (size_t i = 0; i < input.n; i++)
                h = h * 33 + (unsigned char)input.p[i];
        return below ? h % below : 0;
}
