/* What was done, for the person who reads a violation: the last thousands of operations in a ring, of which those are told that
 * have to do with the thing. */
#include "model.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINES = 1 << 15, TOLD = 60 };

struct line {
        int64_t began_us, ended_us;
        const char *what, *detail;
        enum thing thing;
        int thread, repository, number;
        char outcome[60];
};

struct history {
        pthread_mutex_t lock;
        size_t count;
        struct line lines[LINES];
};

struct history *history_new(void)
{
        struct history *history = calloc(1, sizeof *history);

        CHECK(history);
        pthread_mutex_init(&history->lock, NULL);
        return history;
}

void history_free(struct history *history)
{
        pthread_mutex_destroy(&history->lock);
        free(history);
}

void record(const struct window *w, const char *what, enum thing thing, int number, const char *detail, const char *outcome)
{
        struct history *history = w->model->history;
        struct line *line;

        pthread_mutex_lock(&history->lock);
        line = &history->lines[history->count++ % LINES];
        *line = (struct line){ .began_us = w->began_us, .ended_us = w->ended_us, .what = what, .detail = detail, .thing = thing,
                               .thread = w->thread, .repository = w->repository, .number = number };
        snprintf(line->outcome, sizeof line->outcome, "%.*s", (int)sizeof line->outcome - 1, outcome);
        pthread_mutex_unlock(&history->lock);
}

/* --- Telling ---------------------------------------------------------------------------------------------------------- */

static void name_thing(FILE *out, enum thing thing, int number)
{
        const char *kind = number < FIRST_INDEX ? "image" : number < FIRST_REFERRER ? "index" : "referrer";

        switch (thing) {
        case THING_BLOB:
                fprintf(out, "blob %d", number);
                break;
        case THING_MANIFEST:
                fprintf(out, "%s %d", kind, number);
                break;
        case THING_TAG:
                fprintf(out, "tag %.*s", SLICE_ARG(tag_name(number)));
                break;
        case THING_NONE:
                break;
        }
}

/* Does what happened to the manifest matter to the thing? */
static bool leads_to(const struct content *content, int manifest, enum thing thing, int number)
{
        const struct image *image = &content->manifests[manifest];

        if (thing == THING_BLOB)
                return image->blobs & 1u << number;
        return thing == THING_TAG || image->children & 1u << number || content->manifests[number].subject == manifest;
}

static bool matters(const struct content *content, const struct line *line, int repository, enum thing thing, int number)
{
        if (line->thing == THING_NONE || thing == THING_NONE)
                return true;
        if (line->repository != repository)
                return false;
        if (line->thing == thing && line->number == number)
                return true;
        if (line->thing == THING_MANIFEST)
                return leads_to(content, line->number, thing, number);
        return line->thing == THING_TAG && thing == THING_MANIFEST;
}

static void tell_line(FILE *out, const struct line *line, int64_t now_us)
{
        fprintf(out, "  %9.3f ms %+9.3f  thread %d  %.*s  %-15s ", (double)(line->began_us - now_us) / 1e3,
                (double)(line->ended_us - line->began_us) / 1e3, line->thread, SLICE_ARG(repository_name(line->repository)), line->what);
        name_thing(out, line->thing, line->number);
        fprintf(out, "%s%s: %s\n", *line->detail ? " " : "", line->detail, line->outcome);
}

static void tell_history(FILE *out, const struct window *w, enum thing thing, int number)
{
        struct history *history = w->model->history;
        const struct line *told[TOLD];
        size_t count = 0;

        pthread_mutex_lock(&history->lock);
        for (size_t i = history->count; i-- > 0 && history->count - i < LINES && count < TOLD;) {
                const struct line *line = &history->lines[i % LINES];

                if (matters(w->model->content, line, w->repository, thing, number))
                        told[count++] = line;
        }
        while (count-- > 0)
                tell_line(out, told[count], w->ended_us);
        pthread_mutex_unlock(&history->lock);
}

void violation(const struct window *w, enum thing thing, int number, const char *fmt, ...)
{
        struct model *model = w->model;
        size_t n;
        va_list args;
        FILE *out;

        if (atomic_exchange(&model->violated, true))
                return;
        out = open_memstream(&model->story, &n);
        CHECK(out);
        if (thing != THING_NONE)
                fprintf(out, "%.*s, ", SLICE_ARG(repository_name(w->repository)));
        name_thing(out, thing, number);
        fprintf(out, "%s", thing == THING_NONE ? "" : ": ");
        va_start(args, fmt);
        vfprintf(out, fmt, args);
        va_end(args);
        fprintf(out, "\n  began %.3f ms ago in thread %d; before that (when, how long, who, where, what, outcome):\n",
                (double)(w->ended_us - w->began_us) / 1e3, w->thread);
        tell_history(out, w, thing, number);
        CHECK(fclose(out) == 0);
        model->ended = true;
}
