#include "cli/store.h"

#include "base/clock.h"
#include "cli/control.h"
#include "cli/job_settings.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/running.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

struct answer {
        store_render_fn *render;
        void *arg;
        bool json;
        struct progress_line progress_line;
        struct progress progress;
        char what[64];                  /* of the progress; the line only borrows it */
};

/* --- Lines ------------------------------------------------------------------------------------------------------------ */

const char *store_text(const json_t *line, const char *name)
{
        const char *text = json_string_value(json_object_get(line, name));

        return text ? text : "";
}

uint64_t store_number(const json_t *line, const char *name)
{
        return (uint64_t)json_integer_value(json_object_get(line, name));
}

struct age_text store_duration(uint64_t seconds)
{
        struct age_text text;

        if (seconds < 120)
                snprintf(text.s, sizeof text.s, "%llu s", (unsigned long long)seconds);
        else if (seconds < 7200)
                snprintf(text.s, sizeof text.s, "%llu min", (unsigned long long)seconds / 60);
        else if (seconds < 2ull * 86400)
                snprintf(text.s, sizeof text.s, "%llu h", (unsigned long long)seconds / 3600);
        else
                snprintf(text.s, sizeof text.s, "%llu d", (unsigned long long)seconds / 86400);
        return text;
}

struct age_text store_age(const json_t *line, const char *name)
{
        int64_t at = json_integer_value(json_object_get(line, name)), now = clock_now_us() / 1000000;
        struct age_text text = { "-" }, duration;

        if (!at)
                return text;
        duration = store_duration((uint64_t)(at > now ? at - now : now - at));
        snprintf(text.s, sizeof text.s, at > now ? "in %s" : "%s ago", duration.s);
        return text;
}

static void show_progress(struct answer *answer, const json_t *line)
{
        const char *what = store_text(line, "what");

        if (strcmp(answer->what, what) != 0)
                snprintf(answer->what, sizeof answer->what, "%s", what);
        answer->progress_line.counts = !json_is_true(json_object_get(line, "bytes"));
        progress_tell(&answer->progress, answer->what, store_number(line, "done"), store_number(line, "total"));
}

static RESULT print_json(struct slice line, struct err *e)
{
        if (fwrite(line.p, 1, line.n, stdout) != line.n || putchar('\n') == EOF)
                return FAIL(e, ERR_IO, errno, "write to standard output");
        return OK;
}

static RESULT take_line(void *arg, struct slice line, struct err *e)
{
        struct answer *answer = arg;
        json_t *root = json_loadb(line.p, line.n, 0, NULL);
        const char *kind = store_text(root, "kind");
        struct result result = OK;

        if (!root) {
                result = FAIL(e, ERR_IO, 0, "the registry's answer is not understood; is it of another version?");
        } else if (strcmp(kind, "progress") == 0) {
                show_progress(answer, root);
        } else {
                progress_line_end(&answer->progress_line);
                result = answer->json ? print_json(line, e) : answer->render(answer->arg, kind, root, e);
        }
        json_decref(root);
        return result;
}

/* --- Here or there ---------------------------------------------------------------------------------------------------- */

static RESULT ask_here(const struct settings *settings, const struct operation_request *request, struct answer *answer, int *ret_status,
                       struct err *e)
{
        _cleanup_(buf_fini) struct buf line = BUF_INIT(OPERATION_LINE_MAX);
        struct registry_config config = { .data_dir = settings->data, .inspect = true };
        struct jobs_settings jobs = job_settings(settings);
        struct operation op = { .request = request, .rules = jobs.rules, .disk_reserve_bytes = settings->disk_reserve_bytes,
                                .sink = { take_line, answer }, .line = line };
        struct result result;

        TRY(registry_open(&config, &op.registry, e));
        registry_set_stay(op.registry, &jobs.rules.names);
        result = operation_run(&op, e);
        registry_free(op.registry);
        line = op.line;
        *ret_status = op.status;
        return result;
}

static RESULT rebuild_here(const struct settings *settings, const struct operation_request *request, struct answer *answer,
                           int *ret_status, struct err *e)
{
        _cleanup_(buf_fini) struct buf line = BUF_INIT(OPERATION_LINE_MAX);
        struct operation op = { .request = request, .sink = { take_line, answer }, .line = line };
        _cleanup_fd_ int lock_fd = -1;
        struct result result;
        bool changed;

        if (access(settings->data, F_OK) < 0)
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no store in %s (give its folder with --data)", settings->data);
        TRY(process_become_owner_of(settings->data, &changed, e));
        if (!running_lock(settings->data, &lock_fd, e).ok)
                return e->code == ERR_BUSY ? err_context(e, "stop the registry first") : FAILED;
        result = operation_rebuild(&op, settings->data, e);
        line = op.line;
        *ret_status = op.status;
        return result;
}

static RESULT check_there(const char *data_dir, struct err *e)
{
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof path, "%s/orlop.db", data_dir);
        if (stat(path, &st) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "there is no store in %s (give its folder with --data)",
                            data_dir);
        return OK;
}

static RESULT ask(const struct settings *settings, const struct operation_request *request, struct answer *answer, int *ret_status,
                  struct err *e)
{
        _cleanup_fd_ int lock_fd = -1, control = -1;
        bool changed;

        TRY(check_there(settings->data, e));
        TRY(process_become_owner_of(settings->data, &changed, e));
        if (control_connect(settings->data, &control, e).ok)
                return control_ask(control, request, take_line, answer, ret_status, e);
        if (e->code != ERR_NOT_FOUND)
                return FAILED;
        TRY(running_lock(settings->data, &lock_fd, e));
        return ask_here(settings, request, answer, ret_status, e);
}

typedef RESULT_FN(ask_fn, (const struct settings *settings, const struct operation_request *request, struct answer *answer,
                           int *ret_status, struct err *e));

static RESULT ask_and_print(const struct invocation *in, struct operation_request *request, ask_fn ask_it, store_render_fn *render,
                            void *arg, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        struct answer answer = { .render = render, .arg = arg, .json = command_option(in, "json"),
                                 .progress_line = PROGRESS_LINE_INIT };
        struct result result;

        TRY(settings_load(&in->settings, &settings, e));
        store_take_rules(settings, request);
        process_prepare();
        answer.progress = progress_line(&answer.progress_line);
        result = ask_it(settings, request, &answer, ret_status, e);
        progress_line_end(&answer.progress_line);
        TRY(result);
        if (fflush(stdout) != 0)
                return FAIL(e, ERR_IO, errno, "write to standard output");
        return OK;
}

RESULT store_ask(const struct invocation *in, struct operation_request *request, store_render_fn *render, void *arg,
                 int *ret_status, struct err *e)
{
        return ask_and_print(in, request, ask, render, arg, ret_status, e);
}

RESULT store_rebuild(const struct invocation *in, struct operation_request *request, store_render_fn *render, void *arg,
                     int *ret_status, struct err *e)
{
        return ask_and_print(in, request, rebuild_here, render, arg, ret_status, e);
}

static int64_t given(const struct settings *settings, enum setting_id id, uint64_t ms)
{
        return settings->sources[id] == SOURCE_FLAG ? (int64_t)ms * 1000 : -1;
}

void store_take_rules(const struct settings *settings, struct operation_request *request)
{
        request->grace_us = given(settings, SETTING_ID_gc_grace_ms, settings->gc_grace_ms);
        request->untagged_us = given(settings, SETTING_ID_untagged_expiry_ms, settings->untagged_expiry_ms);
        request->trash_delay_us = given(settings, SETTING_ID_gc_trash_delay_ms, settings->gc_trash_delay_ms);
        request->upload_expiry_us = given(settings, SETTING_ID_upload_expiry_ms, settings->upload_expiry_ms);
}

RESULT store_words(const struct invocation *in, struct operation_request *request, struct err *e)
{
        if (in->argument_count > OPERATION_WORDS_MAX)
                return FAIL(e, ERR_INVALID, 0, "too many words at once; %d are the most", OPERATION_WORDS_MAX);
        for (size_t i = 0; i < in->argument_count; i++)
                request->words[request->word_count++] = slice_from(in->arguments[i]);
        return OK;
}
