/* Unit tests of the settings: values and their limits, the four sources and their order, what is refused and how it is said. */
#include "cli/nearest.h"
#include "cli/setting_value.h"
#include "cli/settings_check.h"
#include "cli/settings_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define ROW(field) (&settings_table[SETTING_ID_##field])

/* --- Help of the tests ------------------------------------------------------------------------------------------------ */

struct fixture {
        char path[64];                  /* the configuration file, removed at the end */
        struct settings_flag flags[64];
        size_t flag_count;
        const char *environment[16];
        struct settings *settings;
        struct err e;
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        assert_non_null(f);
        snprintf(f->path, sizeof f->path, "/tmp/orlop-settings-XXXXXX");
        f->e = ERR_INIT;
        close(mkstemp(f->path));
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        settings_free(f->settings);
        unlink(f->path);
        free(f);
        return 0;
}

static void flag(struct fixture *f, enum setting_id id, const char *value)
{
        f->flags[f->flag_count++] = (struct settings_flag){ id, value };
}

static void file(struct fixture *f, struct slice text)
{
        FILE *out = fopen(f->path, "w");

        assert_non_null(out);
        assert_int_equal(fwrite(text.p, 1, text.n, out), text.n);
        assert_int_equal(fclose(out), 0);
        flag(f, SETTING_ID_config, f->path);
}

static bool load(struct fixture *f)
{
        struct settings_input in = { f->flags, f->flag_count, (char *const *)(void *)f->environment };

        settings_free(f->settings);
        f->settings = NULL;
        return settings_load(&in, &f->settings, &f->e).ok;
}

static void refused(struct fixture *f, const char *want)
{
        char message[600];

        assert_false(load(f));
        assert_null(f->settings);
        snprintf(message, sizeof message, "%s", f->e.message);
        if (!strstr(message, want))
                fail_msg("the message is: %s\nit should hold: %s", message, want);
}

static void refused_line(struct slice text, const char *want)
{
        void *state;

        set_up(&state);
        file(state, text);
        refused(state, want);
        tear_down(&state);
}

/* --- Values ----------------------------------------------------------------------------------------------------------- */

static void test_values(void **state)
{
        struct fixture *f = *state;
        static const struct { const struct setting *row; const char *text, *out; } rows[] = {
                { ROW(max_page), "1", "1" }, { ROW(max_page), " 10000\t", "10000" }, { ROW(max_page), "0", NULL },
                { ROW(max_page), "10001", NULL }, { ROW(max_page), "-1", NULL }, { ROW(max_page), "1k", NULL },
                { ROW(max_page), "", NULL }, { ROW(max_page), "99999999999999999999", NULL },
                { ROW(max_manifest_bytes), "4096", "4KiB" }, { ROW(max_manifest_bytes), "4095", NULL },
                { ROW(max_manifest_bytes), "8MiB", "8MiB" }, { ROW(max_manifest_bytes), "8 mib", "8MiB" },
                { ROW(max_manifest_bytes), "9MiB", NULL }, { ROW(max_manifest_bytes), "5000B", "5000" },
                { ROW(max_manifest_bytes), "4MB", NULL }, { ROW(max_manifest_bytes), "18014398509481984KiB", NULL },
                { ROW(max_upload_bytes), "0", "0" }, { ROW(max_upload_bytes), "2TiB", "2TiB" },
                { ROW(body_rate_bytes), "2KiB/s", "2KiB/s" }, { ROW(body_rate_bytes), "100", "100/s" },
                { ROW(body_rate_bytes), "0", "0" }, { ROW(body_rate_bytes), "/s", NULL },
                { ROW(head_timeout_ms), "15", "15s" }, { ROW(head_timeout_ms), "1500ms", "1500ms" },
                { ROW(head_timeout_ms), "1m", "1m" }, { ROW(head_timeout_ms), "90s", "90s" }, { ROW(head_timeout_ms), "1h", "1h" },
                { ROW(head_timeout_ms), "999ms", NULL }, { ROW(head_timeout_ms), "61m", NULL }, { ROW(head_timeout_ms), "1w", NULL },
                { ROW(head_timeout_ms), "18446744073709551615d", NULL }, { ROW(stop_timeout_ms), "0", "0s" },
                { ROW(read_only), "yes", "true" }, { ROW(read_only), "OFF", "false" }, { ROW(read_only), "maybe", NULL },
                { ROW(tls), "files", "files" }, { ROW(tls), "Files", NULL }, { ROW(tls), "", NULL },
                { ROW(data), "", NULL }, { ROW(data), "/srv/orlop", "/srv/orlop" },
                { ROW(listen), "a:1, [::1]:2 ,", "a:1,[::1]:2" }, { ROW(listen), ",", NULL }, { ROW(listen), "a:1,b", NULL },
        };

        assert_true(load(f));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                _cleanup_(buf_fini) struct buf b = BUF_INIT(1000);
                bool good;

                f->settings->listen.count = 0;
                good = setting_value_parse(f->settings, rows[i].row, slice_from(rows[i].text), &f->e).ok;
                if (good != (rows[i].out != NULL))
                        fail_msg("%s = %s", rows[i].row->name, rows[i].text);
                if (!good)
                        continue;
                setting_value_format(f->settings, rows[i].row, &b);
                assert_string_equal(buf_cstr(&b), rows[i].out);
        }
}

static void test_lists_and_strings_are_bounded(void **state)
{
        struct fixture *f = *state;
        char text[5000];

        for (size_t i = 0; i <= SETTINGS_LIST_MAX; i++)
                flag(f, SETTING_ID_name, "example.org");
        refused(f, "--name: more than 32 values");
        f->flag_count--;
        assert_true(load(f));
        assert_int_equal(f->settings->name.count, SETTINGS_LIST_MAX);
        f->flag_count = 0;
        memset(text, 'd', sizeof text);
        text[3801] = 0;
        flag(f, SETTING_ID_data, text);
        refused(f, "1 to 3800 bytes");
        text[3800] = 0;
        assert_true(load(f));
}

static void test_every_row_is_sound(void **state)
{
        struct fixture *f = *state;

        assert_true(load(f));
        for (size_t i = 0; i < SETTING_COUNT; i++) {
                const struct setting *row = &settings_table[i];
                _cleanup_(buf_fini) struct buf text = BUF_INIT(1000);
                size_t n = strlen(row->sentence);

                assert_ptr_equal(settings_find(slice_from(row->name)), row);
                assert_int_equal(f->settings->sources[i], SOURCE_DEFAULT);
                assert_true(n > 10 && row->sentence[n - 1] == '.');
                assert_true(row->type == SETTING_BOOL ? !*row->value : *row->value != 0);
                assert_true(strlen(row->name) < 40 && !strstr(row->name, "port") && !strstr(row->name, "service"));
                setting_value_format(f->settings, row, &text);         /* what is shown can be given */
                if (row->type == SETTING_LIST)
                        ((struct settings_list *)(void *)((char *)f->settings + row->offset))->count = 0;
                if (!setting_value_parse(f->settings, row, buf_slice(&text), &f->e).ok)
                        fail_msg("%s: %s", row->name, f->e.message);
        }
}

static void test_addresses_names_and_origins(void **state)
{
        static const struct { RESULT_FN(check, (struct slice, struct err *)); const char *text; bool good; } rows[] = {
                { check_address, "127.0.0.1:5000", true }, { check_address, "[::1]:0", true },
                { check_address, "host.example:65535", true },
                { check_address, ":5000", true }, { check_address, "unix:/run/orlop.sock", true },
                { check_address, "127.0.0.1", false }, { check_address, "::1", false }, { check_address, "::1:5000", false },
                { check_address, "[::1]", false }, { check_address, "[::1]5000", false }, { check_address, "[127.0.0.1]:5000", false },
                { check_address, "h:65536", false }, { check_address, "h:", false }, { check_address, "h:5000x", false },
                { check_address, "256.1.1.1:5000", false }, { check_address, "https://h:5000", false },
                { check_address, "unix:orlop.sock", false }, { check_address, "unix:", false }, { check_address, "", false },
                { check_address, "*.a:1", false },
                { check_address, "unix:/a23456789a23456789a23456789a23456789"
                                 "a23456789a23456789a23456789a23456789a23456789a23456789a23456789a23456789",
                  false },
                { check_name, "registry.example.org", true }, { check_name, "*.example.org", true }, { check_name, "192.0.2.1", true },
                { check_name, "2001:db8::1", true }, { check_name, "Host_1", true },
                { check_name, "", false }, { check_name, "a..b", false }, { check_name, "-a", false }, { check_name, "a.*.b", false },
                { check_name, "host:5000", false }, { check_name, "[::1]", false }, { check_name, "1.2.3", false },
                { check_name, "a b", false }, { check_name, "\xc3\xa4.example", false },
                { check_name, "a23456789a23456789a23456789a23456789a23456789a23456789a23456789a23456789", false },
                { check_origin, "*", true }, { check_origin, "https://ui.example.org", true },
                { check_origin, "http://localhost:8080", true },
                { check_origin, "https://[::1]", true }, { check_origin, "https://[::1]:8443", true },
                { check_origin, "ui.example.org", false }, { check_origin, "https://", false }, { check_origin, "https://a/", false },
                { check_origin, "https://:80", false }, { check_origin, "https://unix:/x", false }, { check_origin, "**", false },
                { check_origin, "https://a\r\nb", false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct err e = ERR_INIT;

                if (rows[i].check(slice_from(rows[i].text), &e).ok != rows[i].good)
                        fail_msg("\"%s\" should be %s", rows[i].text, rows[i].good ? "good" : "refused");
                assert_true(rows[i].good || (e.code == ERR_INVALID && *e.message));
        }
}

/* --- Sources ---------------------------------------------------------------------------------------------------------- */

static void test_order_of_sources(void **state)
{
        struct fixture *f = *state;

        file(f, S("[limits]\nmax-page = 1\nmax-ranges=1\nmax-head-fields : 16\n[network]\nname = a.example\n"));
        f->environment[0] = "ORLOP_MAX_PAGE=2";
        f->environment[1] = "ORLOP_MAX_RANGES=2";
        f->environment[2] = "PATH=/bin";
        flag(f, SETTING_ID_max_page, "3");
        flag(f, SETTING_ID_name, "b.example");
        flag(f, SETTING_ID_name, "c.example");
        assert_true(load(f));
        assert_int_equal(f->settings->max_page, 3);
        assert_int_equal(f->settings->max_ranges, 2);
        assert_int_equal(f->settings->max_head_fields, 16);
        assert_int_equal(f->settings->max_connections, 4096);
        assert_int_equal(f->settings->sources[SETTING_ID_max_page], SOURCE_FLAG);
        assert_int_equal(f->settings->sources[SETTING_ID_max_ranges], SOURCE_VARIABLE);
        assert_int_equal(f->settings->sources[SETTING_ID_max_head_fields], SOURCE_FILE);
        assert_int_equal(f->settings->name.count, 2);
        assert_string_equal(f->settings->name.items[1], "c.example");
}

static void test_file_forms(void **state)
{
        struct fixture *f = *state;

        file(f, S("\xef\xbb\xbf# comment\r\n; comment\r\n\r\n[network]\r\nlisten = 127.0.0.1:1,\r\n\t[::1]:2\r\nlisten = unix:/x ; why\r\n"
                  "[general]\r\nread-only = yes"));
        assert_true(load(f));
        assert_int_equal(f->settings->listen.count, 3);
        assert_string_equal(f->settings->listen.items[2], "unix:/x");
        assert_true(f->settings->read_only);
}

static void test_what_a_file_may_not_hold(void **state)
{
        (void)state;
        refused_line(S("[limits]\n\nmax-pge = 3\n"), ":3: there is no setting \"max-pge\"; the nearest is \"max-page\"");
        refused_line(S("[limit]\nmax-page = 3\n"), ":2: there is no heading [limit]; the nearest is [limits]");
        refused_line(S("[general]\nmax-page = 3\n"), ":2: \"max-page\" belongs under the heading [limits]");
        refused_line(S("max-page = 3\n"), ":1: \"max-page\" belongs under the heading [limits]");
        refused_line(S("[limits]\nmax-page = 3\nmax-page = 4\n"), ":3: \"max-page\" stands here for the second time");
        refused_line(S("[limits]\nmax-page = 3\n  4\n"), ":3: \"max-page\" stands here for the second time");
        refused_line(S("[limits]\nmax-page = 20000\n"), ":2: max-page: \"20000\" is not in range: allowed is 1 to 10000");
        refused_line(S("[limits]\nmax-page\nmax-page = 0\n"), ":2: this is no [heading]");
        refused_line(S("[limits\n"), ":1: this is no [heading]");
        refused_line(S("[limits]\nmax-page = 0\nnonsense\n"), ":2: max-page");
        refused_line(S("[general]\nconfig = other\n"), ":2: \"config\" names this file");
        refused_line(S("[general]\ndata = a\0b\n"), ":2: the line holds a NUL byte");
        refused_line(S("[general]\nread-only = perhaps\n"), "true or false");
        refused_line(S("[network]\nname = -x\n"), ":2: name: \"-x\" is neither a DNS name nor an IP address");
}

static void test_long_lines_and_large_files(void **state)
{
        struct fixture *f = *state;
        _cleanup_(buf_fini) struct buf text = BUF_INIT(2 * SETTINGS_FILE_MAX);

        buf_put(&text, S("[general]\ndata = /"));
        for (size_t i = 0; i < 170; i++)
                buf_put_char(&text, 'x');
        buf_put(&text, S("\n"));
        file(f, buf_slice(&text));
        assert_true(load(f));
        assert_int_equal(strlen(f->settings->data), 171);
        text.n--;
        for (size_t i = 0; i < 100; i++)
                buf_put_char(&text, 'x');
        refused_line(buf_slice(&text), ":2: the line is longer than");
        while (text.n <= SETTINGS_FILE_MAX)
                buf_put(&text, S("\n#"));
        refused_line(buf_slice(&text), "is larger than");
}

static void test_files_that_cannot_be_read(void **state)
{
        struct fixture *f = *state;

        flag(f, SETTING_ID_config, "/nowhere/orlop.conf");
        refused(f, "/nowhere/orlop.conf: No such file");
        assert_int_equal(f->e.code, ERR_NOT_FOUND);
        f->flag_count = 0;
        f->environment[0] = "ORLOP_CONFIG=/tmp";
        refused(f, "/tmp: Is a directory");
        file(f, S(""));         /* the flag outweighs the variable */
        assert_true(load(f));
}

static void test_variables(void **state)
{
        struct fixture *f = *state;

        f->environment[0] = "ORLOP_MAX_PAGE=";
        assert_true(load(f));
        assert_int_equal(f->settings->max_page, 1000);
        f->environment[0] = "ORLOP_MAXPAGE=3";
        refused(f, "there is no variable ORLOP_MAXPAGE; the nearest is ORLOP_MAX_PAGE");
        f->environment[0] = "ORLOP_max_page=3";
        refused(f, "the nearest is ORLOP_");
        f->environment[0] = "ORLOP_MAX_PAGE=0";
        refused(f, "ORLOP_MAX_PAGE: \"0\" is not in range");
        f->environment[0] = "ORLOP_PORT_5000_TCP_ADDR=10.0.0.1";        /* Kubernetes' own, for a service called orlop */
        f->environment[1] = "ORLOP_SERVICE_HOST=10.0.0.1";
        f->environment[2] = "ORLOP_PORT=tcp://10.0.0.1:5000";
        f->environment[3] = "ORLOP_NO_DELETE=1";
        assert_true(load(f));
        assert_true(f->settings->no_delete);
}

static void test_settings_that_contradict_each_other(void **state)
{
        struct fixture *f = *state;

        flag(f, SETTING_ID_tls, "files");
        refused(f, "--tls files needs --tls-cert and --tls-key");
        flag(f, SETTING_ID_tls_cert, "c");
        refused(f, "--tls files needs");
        flag(f, SETTING_ID_tls_key, "k");
        assert_true(load(f));
        assert_int_equal(f->settings->tls, TLS_SOURCE_FILES);
        f->flags[0].value = "auto";
        refused(f, "--tls-cert is used with --tls files only");
        f->flag_count = 0;
        flag(f, SETTING_ID_max_head_bytes, "1KiB");
        refused(f, "--max-request-line is larger than --max-head");
}

static void test_changes_are_seen(void **state)
{
        struct fixture *f = *state;
        struct settings *before;

        assert_true(load(f));
        before = TAKE_PTR(f->settings);
        flag(f, SETTING_ID_max_page, "7");
        flag(f, SETTING_ID_name, "x.example");
        flag(f, SETTING_ID_idle_timeout_ms, "1m");      /* as before, written otherwise */
        assert_true(load(f));
        for (size_t i = 0; i < SETTING_COUNT; i++)
                assert_int_equal(setting_value_equal(before, f->settings, &settings_table[i]),
                                 i != SETTING_ID_max_page && i != SETTING_ID_name);
        settings_free(before);
}

static void test_nearest(void **state)
{
        static const struct { const char *word, *want; } rows[] = {
                { "srve", "serve" }, { "serev", "serve" }, { "SERVE", "serve" }, { "chck", "check" }, { "trst", "trust" },
                { "", "help" }, { "versoin", "version" },
        };
        static const char *const names[] = { "serve", "check", "trust", "version", "help" };
        char word[500];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct nearest near = NEAREST_INIT(slice_from(rows[i].word));

                for (size_t k = 0; k < ARRAY_LEN(names); k++)
                        nearest_offer(&near, names[k]);
                assert_string_equal(near.best, rows[i].want);
        }
        memset(word, 'x', sizeof word);
        struct nearest near = NEAREST_INIT(((struct slice){ word, sizeof word }));
        nearest_offer(&near, "serve");
        assert_string_equal(near.best, "serve");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(test_values),
                TEST(test_lists_and_strings_are_bounded),
                TEST(test_every_row_is_sound),
                TEST(test_addresses_names_and_origins),
                TEST(test_order_of_sources),
                TEST(test_file_forms),
                TEST(test_what_a_file_may_not_hold),
                TEST(test_long_lines_and_large_files),
                TEST(test_files_that_cannot_be_read),
                TEST(test_variables),
                TEST(test_settings_that_contradict_each_other),
                TEST(test_changes_are_seen),
                TEST(test_nearest),
#undef TEST
        };

        return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
