/* Scrub: a turn reads as many bytes as are due by now, so that everything was read once when the period is over; at most for a
 * second, and never faster than scrub_rate. How far it came stands in the database: a restart goes on there. */
#include "jobs/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "registry/scrub.h"

enum { SECOND_US = 1000000, TURN_US = SECOND_US, TICKS_PER_PERIOD = 10000, TICK_US_MAX = 600 * SECOND_US, COUNT_US = 3600ll * SECOND_US };

struct scrub {
        struct jobs *jobs;
        struct jobs_settings settings;
        struct meta_scrub state;
        uint64_t due_bytes;                     /* of this round, by now */
        uint64_t turn_bytes;
        int64_t resumed_us;                     /* when the last pause was over */
        bool ended, changed;
};

/* As long as it took to read, or as long as the rate wants. */
static bool pace(void *arg, uint64_t bytes)
{
        struct scrub *scrub = arg;
        int64_t now_us = clock_mono_us(), due_us;
        bool go_on;

        scrub->turn_bytes += bytes;
        due_us = (int64_t)((double)scrub->turn_bytes / (double)scrub->settings.scrub_rate_bytes * SECOND_US);
        go_on = jobs_pause_for(scrub->jobs, MAX(scrub->jobs->turn_us + due_us - now_us, now_us - scrub->resumed_us));
        scrub->resumed_us = clock_mono_us();
        return go_on;
}

static void note_found(struct jobs *jobs, const struct scrub_found *found)
{
        pthread_mutex_lock(&jobs->lock);
        jobs->status.scrubbed_blobs++;
        jobs->status.scrubbed_bytes += found->bytes_read;
        jobs->status.scrub_damaged += found->verdict == SCRUB_DAMAGED;
        pthread_mutex_unlock(&jobs->lock);
        if (found->verdict == SCRUB_DAMAGED)
                log_event(LOG_ERROR, "a stored blob is damaged; it is not served, and the next push of it mends it",
                          LOG_C("digest", digest_format(&found->digest).s), LOG_C("damage", found->what));
        else if (found->verdict == SCRUB_MENDED)
                log_event(LOG_INFO, "a blob that was damaged is good again", LOG_C("digest", digest_format(&found->digest).s));
}

static void begin_round(struct meta_scrub *state)
{
        *state = (struct meta_scrub){ .started_us = clock_now_us(), .ended_us = state->ended_us };
}

static void end_round(struct meta_scrub *state)
{
        *state = (struct meta_scrub){ .ended_us = clock_now_us() };
}

/* Bytes of a round that are due: its share of all bytes is the share of the period that is over. The total is counted now and
 * then only, because that reads every row. */
static RESULT count_due(struct scrub *scrub, struct err *e)
{
        struct jobs *jobs = scrub->jobs;
        struct meta_totals totals;
        double over = (double)(clock_now_us() - scrub->state.started_us) / (double)scrub->settings.scrub_period_us;

        if (!jobs->scrub_total_us || clock_mono_us() - jobs->scrub_total_us > MIN(COUNT_US, (long long)scrub->settings.scrub_period_us)) {
                TRY(registry_totals(jobs->config.registry, &totals, e));
                jobs->scrub_total_bytes = totals.blob_bytes;
                jobs->scrub_total_us = clock_mono_us();
        }
        scrub->due_bytes = over >= 1 ? UINT64_MAX : (uint64_t)(over * (double)jobs->scrub_total_bytes);
        return OK;
}

static RESULT read_next(struct scrub *scrub, struct err *e)
{
        struct scrub_pace scrub_pace = { pace, scrub };
        struct scrub_found found;

        if (!registry_scrub_next(scrub->jobs->config.registry, scrub->state.last_blob_id, &scrub_pace, &found, e).ok) {
                scrub->ended = e->code == ERR_NOT_FOUND || e->code == ERR_CLOSED;
                scrub->changed |= e->code == ERR_NOT_FOUND && scrub->state.bytes;
                if (e->code == ERR_NOT_FOUND)
                        end_round(&scrub->state);
                return scrub->ended ? OK : FAILED;
        }
        note_found(scrub->jobs, &found);
        scrub->changed = true;
        scrub->state.last_blob_id = found.id;
        scrub->state.bytes += found.bytes_read;
        return OK;
}

/* A round begins when the period since the last one's beginning is over; at the latest then its end has come too. */
static RESULT scrub_turn(struct scrub *scrub, struct err *e)
{
        struct registry *registry = scrub->jobs->config.registry;
        int64_t end_us = clock_mono_us() + TURN_US;
        struct result result = OK;

        TRY(registry_scrub_get(registry, &scrub->state, e));
        if (!scrub->state.started_us)
                begin_round(&scrub->state);
        TRY(count_due(scrub, e));
        while (result.ok && !scrub->ended && scrub->state.bytes <= scrub->due_bytes && clock_mono_us() < end_us &&
               !jobs_others_due(scrub->jobs, JOB_SCRUB))
                result = read_next(scrub, e);
        if (scrub->changed)
                TRY(registry_scrub_put(registry, &scrub->state, e));
        return result;
}

RESULT job_scrub(struct jobs *jobs, int64_t *ret_next_us, struct err *e)
{
        struct scrub scrub = { .jobs = jobs, .resumed_us = clock_mono_us() };

        jobs_get(jobs, &scrub.settings);
        *ret_next_us = TICK_US_MAX;
        if (!scrub.settings.scrub_period_us)
                return OK;
        TRY(scrub_turn(&scrub, e));
        *ret_next_us = MAX(MIN(scrub.settings.scrub_period_us / TICKS_PER_PERIOD, (int64_t)TICK_US_MAX), (int64_t)SECOND_US);
        if (!scrub.ended && scrub.state.bytes <= scrub.due_bytes)
                *ret_next_us = 0;       /* the turn's time was over first */
        return OK;
}
