#include "cli/job_settings.h"

static int64_t us(uint64_t ms)
{
        return (int64_t)ms * 1000;
}

struct jobs_settings job_settings(const struct settings *s)
{
        return (struct jobs_settings){
                .rules = {
                        .names = { .grace_us = us(s->gc_grace_ms), .untagged_us = us(s->untagged_expiry_ms) },
                        .trash_delay_us = us(s->gc_trash_delay_ms),
                        .upload_expiry_us = us(s->upload_expiry_ms),
                },
                .gc_interval_us = us(s->gc_interval_ms),
                .scrub_period_us = us(s->scrub_period_ms),
                .scrub_rate_bytes = s->scrub_rate_bytes,
                .copy_interval_us = us(s->copy_interval_ms),
        };
}
