/* What the settings say to the registry's own jobs. */
#pragma once

#include "cli/settings.h"
#include "jobs/jobs.h"

struct jobs_settings job_settings(const struct settings *s);
