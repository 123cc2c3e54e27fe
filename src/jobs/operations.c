/* The table of operations, their requests on the wire, and their lines. */
#include "jobs/operation.h"

#include <errno.h>
#include <jansson.h>

enum { BRACKETS_MAX = 16 };

static const struct {
        const char *name;
        RESULT_FN(run, (struct operation *op, struct err *e));
} table[] = {
        { "status", operation_status },
        { "gc", operation_gc },
        { "check", operation_check },
        { "rm", operation_rm },
        { "du", operation_du },
        { "ls", operation_ls },
};

RESULT operation_run(struct operation *op, struct err *e)
{
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (slice_eq(op->request->name, slice_from(table[i].name)))
                        return table[i].run(op, e);
        return FAIL(e, ERR_INVALID, 0, "this registry knows no operation \"%.*s\"; is it older than this program?",
                    SLICE_ARG(slice_head(op->request->name, 32)));
}

/* --- Lines ------------------------------------------------------------------------------------------------------------ */

void line_begin(struct operation *op, const char *kind)
{
        buf_reset(&op->line);
        buf_printf(&op->line, "{\"kind\":\"%s\"", kind);
}

void line_text(struct operation *op, const char *name, struct slice text)
{
        if (!text.p)
                return;
        buf_printf(&op->line, ",\"%s\":", name);
        buf_put_json_string(&op->line, text);
}

void line_number(struct operation *op, const char *name, uint64_t number)
{
        buf_printf(&op->line, ",\"%s\":%llu", name, (unsigned long long)number);
}

void line_bool(struct operation *op, const char *name, bool value)
{
        buf_printf(&op->line, ",\"%s\":%s", name, value ? "true" : "false");
}

void line_time(struct operation *op, const char *name, int64_t us)
{
        if (us)
                buf_printf(&op->line, ",\"%s\":%lld", name, (long long)(us / 1000000));
}

void line_digest(struct operation *op, const char *name, const struct digest *digest)
{
        if (digest->algorithm)
                line_text(op, name, slice_from(digest_format(digest).s));
}

RESULT line_end(struct operation *op, struct err *e)
{
        buf_put_char(&op->line, '}');
        if (!buf_ok(&op->line))
                return FAIL(e, ERR_NOMEM, 0, "a line of the answer is too long");
        return op->sink.line(op->sink.arg, buf_slice(&op->line), e);
}

RESULT line_progress(struct operation *op, const char *what, uint64_t done, uint64_t total, bool bytes, struct err *e)
{
        line_begin(op, "progress");
        line_text(op, "what", slice_from(what));
        line_number(op, "done", done);
        line_number(op, "total", total);
        line_bool(op, "bytes", bytes);
        return line_end(op, e);
}

/* --- Requests --------------------------------------------------------------------------------------------------------- */

static void put_rule(struct buf *line, const char *name, int64_t us)
{
        if (us >= 0)
                buf_printf(line, ",\"%s\":%lld", name, (long long)us);
}

void operation_encode(const struct operation_request *request, struct buf *line)
{
        buf_put(line, S("{\"operation\":"));
        buf_put_json_string(line, request->name);
        buf_put(line, S(",\"words\":["));
        for (size_t i = 0; i < request->word_count; i++) {
                if (i)
                        buf_put_char(line, ',');
                buf_put_json_string(line, request->words[i]);
        }
        buf_printf(line, "],\"dry_run\":%s,\"repair\":%s,\"bytes\":%s", request->dry_run ? "true" : "false",
                   request->repair ? "true" : "false", request->bytes ? "true" : "false");
        put_rule(line, "grace_us", request->grace_us);
        put_rule(line, "untagged_us", request->untagged_us);
        put_rule(line, "trash_delay_us", request->trash_delay_us);
        put_rule(line, "upload_expiry_us", request->upload_expiry_us);
        buf_put_char(line, '}');
}

static RESULT copy_text(const json_t *value, struct arena *arena, struct slice *ret_text, struct err *e)
{
        if (!json_is_string(value))
                return FAIL(e, ERR_INVALID, 0, "the request has something else where a text must be");
        *ret_text = arena_copy(arena, (struct slice){ json_string_value(value), json_string_length(value) });
        return ret_text->p ? OK : FAIL(e, ERR_NOMEM, 0, "the request is too large");
}

static int64_t rule_of(const json_t *root, const char *name)
{
        const json_t *value = json_object_get(root, name);

        return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

static RESULT read_request(const json_t *root, struct arena *arena, struct operation_request *request, struct err *e)
{
        const json_t *words = json_object_get(root, "words");

        TRY(copy_text(json_object_get(root, "operation"), arena, &request->name, e));
        request->word_count = json_array_size(words);
        if (request->word_count > OPERATION_WORDS_MAX)
                return FAIL(e, ERR_LIMIT, 0, "too many words at once; %d are the most", OPERATION_WORDS_MAX);
        for (size_t i = 0; i < request->word_count; i++)
                TRY(copy_text(json_array_get(words, i), arena, &request->words[i], e));
        request->dry_run = json_is_true(json_object_get(root, "dry_run"));
        request->repair = json_is_true(json_object_get(root, "repair"));
        request->bytes = json_is_true(json_object_get(root, "bytes"));
        request->grace_us = rule_of(root, "grace_us");
        request->untagged_us = rule_of(root, "untagged_us");
        request->trash_delay_us = rule_of(root, "trash_delay_us");
        request->upload_expiry_us = rule_of(root, "upload_expiry_us");
        return OK;
}

/* Brackets outside of texts; a request has two. The parser goes down a level of the stack for each that is open. */
static bool is_nested(struct slice line)
{
        bool in_text = false;
        size_t brackets = 0;

        for (size_t i = 0; i < line.n; i++) {
                if (line.p[i] == '\\' && in_text)
                        i++;
                else if (line.p[i] == '"')
                        in_text = !in_text;
                else if (!in_text && (line.p[i] == '[' || line.p[i] == '{'))
                        brackets++;
        }
        return brackets > BRACKETS_MAX;
}

RESULT operation_decode(struct slice line, struct arena *arena, struct operation_request *ret_request, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;
        json_t *root = is_nested(line) ? NULL : json_loadb(line.p, line.n, 0, NULL);
        struct result result;

        if (!root)
                return FAIL(e, ERR_INVALID, 0, "the request is not one line of JSON");
        result = read_request(root, arena, &request, e);
        json_decref(root);
        if (result.ok)
                *ret_request = request;
        return result;
}
