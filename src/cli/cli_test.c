/* Unit tests of the command line, the texts made from the tables, the lock file, systemd's protocol and the health probe. */
#include "base/fs.h"
#include "cli/command.h"
#include "cli/probe.h"
#include "cli/running.h"
#include "cli/service.h"
#include "cli/setting_value.h"
#include "cli/settings_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

enum { WORDS_MAX = 12, TEXT_MAX = 256 * 1024 };

/* --- Command line ----------------------------------------------------------------------------------------------------- */

/* Splits "serve --data x" in place; the words live in `text`. */
static void split(char *text, char *words[static WORDS_MAX])
{
        size_t n = 0;

        words[n++] = text;
        for (char *at = text; *at;) {
                size_t length = strcspn(at, " ");

                assert_true(n < WORDS_MAX - 1);
                words[n++] = at;
                at += length;
                if (*at)
                        *at++ = 0;
        }
        words[n] = NULL;
}

static void test_words_that_are_understood(void **state)
{
        static const struct { const char *line, *command, *first_argument; size_t arguments, flags; } rows[] = {
                { "serve", "serve", NULL, 0, 0 },
                { "serve --data x --listen=a:1 --read-only --listen b:2", "serve", NULL, 0, 4 },
                { "serve --read-only=false", "serve", NULL, 0, 1 },
                { "trust --data=x host:1", "trust", "host:1", 1, 1 },
                { "trust host:1 --data x", "trust", "host:1", 1, 1 },
                { "trust -- --data", "trust", "--data", 1, 0 },
                { "help serve", "help", "serve", 1, 0 },
                { "serve --data x --help", "help", "serve", 1, 1 },
                { "serve -h", "help", "serve", 1, 0 },
                { "--help", "help", NULL, 0, 0 }, { "-h", "help", NULL, 0, 0 },
                { "--version", "version", NULL, 0, 0 }, { "-V", "version", NULL, 0, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char text[200], *words[WORDS_MAX];
                struct invocation in;
                struct err e = ERR_INIT;

                snprintf(text, sizeof text, "%s", rows[i].line);
                split(text, words);
                if (!invocation_parse(words, NULL, &in, &e).ok)
                        fail_msg("%s: %s", rows[i].line, e.message);
                assert_string_equal(in.command->name, rows[i].command);
                assert_int_equal(in.argument_count, rows[i].arguments);
                assert_int_equal(in.settings.flag_count, rows[i].flags);
                if (rows[i].first_argument)
                        assert_string_equal(in.arguments[0], rows[i].first_argument);
                invocation_fini(&in);
        }
}

static void test_words_that_are_not(void **state)
{
        static const struct { const char *line, *want; } rows[] = {
                { "", "a command is needed" },
                { "srve", "there is no command \"srve\"; the nearest is \"serve\"" },
                { "-x", "there is no option \"-x\"" },
                { "--data x", "options stand after the command: orlop serve --data" },
                { "--data=x", "options stand after the command: orlop serve --data=x" },
                { "serve --dtaa x", "orlop serve has no option \"--dtaa\"; the nearest is \"--data\"" },
                { "serve -data x", "orlop serve has no option \"--data\"" },
                { "serve --max-page", "--max-page needs a value: --max-page N" },
                { "serve extra", "does not take the word \"extra\"" },
                { "trust a b", "does not take the word \"b\"; its usage is: orlop trust [HOST[:PORT]]" },
                { "help --man=x", "--man takes no value" },
                { "help --data x", "orlop help has no option \"--data\"" },
                { "version --dat", "the nearest is \"--" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char text[200], *words[WORDS_MAX];
                struct invocation in;
                struct err e = ERR_INIT;

                snprintf(text, sizeof text, "%s", rows[i].line);
                split(text, words);
                assert_false(invocation_parse(words, NULL, &in, &e).ok);
                assert_int_equal(e.code, ERR_INVALID);
                if (!strstr(e.message, rows[i].want) || strchr(e.message, '\n'))
                        fail_msg("%s: %s", rows[i].line, e.message);
        }
}

static void test_options_of_a_command(void **state)
{
        char text[] = "help --man", *words[WORDS_MAX];
        struct invocation in;
        struct err e = ERR_INIT;

        (void)state;
        split(text, words);
        assert_true(invocation_parse(words, NULL, &in, &e).ok);
        assert_string_equal(command_option(&in, "man"), "");
        assert_null(command_option(&in, "sample"));
        invocation_fini(&in);
}

/* --- Texts ------------------------------------------------------------------------------------------------------------ */

static void check_width(struct slice text)
{
        struct slice line;

        while (slice_next(&text, '\n', &line))
                if (line.n > 100)
                        fail_msg("longer than 100 columns: %.*s", SLICE_ARG(line));
}

static void test_help_of_every_command(void **state)
{
        (void)state;
        for (const struct command *const *at = commands; *at; at++) {
                _cleanup_(buf_fini) struct buf b = BUF_INIT(TEXT_MAX);
                const char *sentence = (*at)->sentence;

                assert_ptr_equal(commands_find(slice_from((*at)->name)), *at);
                assert_true((*at)->run && sentence[strlen(sentence) - 1] == '.' && strlen((*at)->text) > 20);
                help_command(*at, &b);
                assert_true(buf_ok(&b));
                check_width(buf_slice(&b));
        }
        _cleanup_(buf_fini) struct buf overview = BUF_INIT(TEXT_MAX), serve = BUF_INIT(TEXT_MAX);
        help_overview(&overview);
        check_width(buf_slice(&overview));
        help_command(commands_find(S("serve")), &serve);
        for (size_t i = 0; i < SETTING_COUNT; i++)
                assert_non_null(strstr(buf_cstr(&serve), settings_table[i].name));
}

/* The documents in the tree are what the program prints. To bring them up to date: ninja -C build documents */
static void check_document(const char *path, struct buf *b)
{
        _cleanup_(buf_fini) struct buf document = BUF_INIT(TEXT_MAX);
        struct err e = ERR_INIT;

        assert_true(buf_ok(b));
        if (!fs_read_file(path, &document, &e).ok)
                fail_msg("%s", e.message);
        if (!slice_eq(buf_slice(&document), buf_slice(b)))
                fail_msg("%s is not current; make it again: ninja -C build documents", path);
}

static void test_documents_are_current(void **state)
{
        _cleanup_(buf_fini) struct buf man = BUF_INIT(TEXT_MAX), sample = BUF_INIT(TEXT_MAX);

        (void)state;
        help_man_page(&man);
        check_document(DOCUMENTS "/orlop.1", &man);
        help_sample(&sample);
        check_document(DOCUMENTS "/orlop.conf", &sample);
}

static struct result take_sample_row(void *arg, const struct settings_file_row *row, struct err *e)
{
        size_t *count = arg;
        const struct setting *setting = settings_find(row->key);
        struct settings_flag flag = { .value = row->value.p };
        struct settings *settings;

        assert_non_null(setting);
        assert_string_equal(settings_headings[setting->section].key, row->section.p);
        ++*count;
        if (row->value.n == 0)
                return OK;
        assert_true(slice_eq(row->value, slice_from(setting->fallback)));
        flag.id = (enum setting_id)(setting - settings_table);
        TRY(settings_load(&(struct settings_input){ &flag, 1, NULL }, &settings, e));
        settings_free(settings);
        return OK;
}

/* With its comment signs removed, each line of the sample is a setting with its default. */
static void test_sample_holds_every_setting(void **state)
{
        _cleanup_(buf_fini) struct buf sample = BUF_INIT(TEXT_MAX), opened = BUF_INIT(TEXT_MAX);
        struct slice rest, line;
        struct err e = ERR_INIT;
        size_t count = 0;

        (void)state;
        help_sample(&sample);
        rest = buf_slice(&sample);
        while (slice_next(&rest, '\n', &line)) {
                bool setting = slice_starts(line, S("#")) && !slice_starts(line, S("# "));

                buf_printf(&opened, "%.*s\n", SLICE_ARG(setting ? slice_skip(line, 1) : line));
        }
        if (!settings_file_parse(buf_slice(&opened), "sample", take_sample_row, &count, &e).ok)
                fail_msg("%s", e.message);
        assert_int_equal(count, SETTING_COUNT - 1);     /* all but --config */
}

/* --- Lock file -------------------------------------------------------------------------------------------------------- */

static void test_lock_tells_who_runs(void **state)
{
        char folder[] = "/tmp/orlop-cli-XXXXXX", path[64];
        static const char *const addresses[] = { "https://127.0.0.1:5000", "unix:/run/x.sock" };
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(64 * 1024);
        struct running running;
        struct err e = ERR_INIT;
        int fd = -1, second = -1;

        (void)state;
        assert_non_null(mkdtemp(folder));
        snprintf(path, sizeof path, "%s/lock", folder);
        assert_false(running_read(folder, &arena, &running, &e).ok);
        assert_int_equal(e.code, ERR_NOT_FOUND);
        assert_true(running_lock(folder, &fd, &e).ok);
        assert_true(running_announce(fd, addresses, 2, &e).ok);
        assert_false(running_lock(folder, &second, &e).ok);
        assert_int_equal(e.code, ERR_BUSY);
        assert_non_null(strstr(e.message, folder));
        snprintf(path, sizeof path, "pid %ld", (long)getpid());
        assert_non_null(strstr(e.message, path));
        assert_true(running_read(folder, &arena, &running, &e).ok);
        assert_int_equal(running.pid, getpid());
        assert_int_equal(running.count, 2);
        assert_string_equal(running.addresses[1], addresses[1]);
        close(fd);
        assert_true(running_lock(folder, &second, &e).ok);
        assert_true(running_read(folder, &arena, &running, &e).ok);
        assert_int_equal(running.count, 0);
        close(second);
        snprintf(path, sizeof path, "%s/lock", folder);
        assert_true(fs_publish_file(path, S("rubbish"), 0600, &e).ok);
        assert_false(running_read(folder, &arena, &running, &e).ok);
        unlink(path);
        rmdir(folder);
}

/* --- systemd ---------------------------------------------------------------------------------------------------------- */

static void test_notifications_reach_systemd(void **state)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char got[64] = "", path[sizeof address.sun_path];
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ssize_t n;

        (void)state;
        snprintf(path, sizeof path, "@orlop-test-%ld", (long)getpid());
        memcpy(address.sun_path + 1, path + 1, strlen(path) - 1);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))), 0);
        setenv("NOTIFY_SOCKET", path, 1);
        service_notify("READY=1");
        n = recv(fd, got, sizeof got - 1, MSG_DONTWAIT);
        assert_int_equal(n, 7);
        assert_string_equal(got, "READY=1");
        service_notify_reloading();
        assert_true(recv(fd, got, sizeof got - 1, MSG_DONTWAIT) > 27);
        assert_memory_equal(got, "RELOADING=1\nMONOTONIC_USEC=", 27);
        setenv("NOTIFY_SOCKET", "relative", 1);         /* not heard is not failed */
        service_notify("READY=1");
        unsetenv("NOTIFY_SOCKET");
        service_notify("READY=1");
        assert_int_equal(recv(fd, got, sizeof got, MSG_DONTWAIT), -1);
        close(fd);
}

static void offer_sockets(const char *pid, const char *count)
{
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", count, 1);
}

static void test_sockets_of_systemd(void **state)
{
        int fds[SERVICE_SOCKETS_MAX];
        struct err e = ERR_INIT;
        char pid[32];
        size_t count = 7;

        (void)state;
        unsetenv("LISTEN_PID");
        assert_true(service_take_sockets(fds, &count, &e).ok);
        assert_int_equal(count, 0);
        offer_sockets("1", "1");                        /* for somebody else */
        assert_true(service_take_sockets(fds, &count, &e).ok);
        assert_int_equal(count, 0);
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        offer_sockets(pid, "33");
        assert_false(service_take_sockets(fds, &count, &e).ok);
        assert_null(getenv("LISTEN_FDS"));
        offer_sockets(pid, "1");
        int saved = fcntl(3, F_DUPFD_CLOEXEC, 10), plain = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(dup2(plain, 3), 3);
        assert_false(service_take_sockets(fds, &count, &e).ok);         /* it does not listen */
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(listen(3, 1), 0);
        offer_sockets(pid, "1");
        assert_true(service_take_sockets(fds, &count, &e).ok);
        assert_int_equal(count, 1);
        assert_int_equal(fds[0], 3);
        assert_true(fcntl(3, F_GETFD) & FD_CLOEXEC);
        close(3);
        close(plain);
        if (saved >= 0)
                dup2(saved, 3);
}

/* --- Health ----------------------------------------------------------------------------------------------------------- */

static struct {
        int fd;
        const char *answer;             /* NULL: says nothing */
} peer;

static void *answer_once(void *arg)
{
        char request[4096];
        int fd = accept(peer.fd, NULL, NULL);

        assert_true(fd >= 0 && recv(fd, request, sizeof request, 0) > 0);
        if (peer.answer)
                assert_true(send(fd, peer.answer, strlen(peer.answer), MSG_NOSIGNAL) > 0);
        else
                poll(NULL, 0, 300);
        close(fd);
        return arg;
}

/* A listening socket; *ret_port is where. */
static int listen_somewhere(uint16_t *ret_port)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof address;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *)&address, n), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

static void test_probe(void **state)
{
        static const struct { const char *scheme, *answer; enum err_code code; int status; const char *body; } rows[] = {
                { "http://127.0.0.1", "HTTP/1.1 200 OK\r\nX: y\r\n\r\nready\n", ERR_NONE, 200, "ready\n" },
                { "http://0.0.0.0", "HTTP/1.0 503 No\r\n\r\n", ERR_NONE, 503, "" },
                { "http://127.0.0.1", "HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234567890123456789", ERR_NONE, 200,
                  "01234567890123456789012345678901" },
                { "http://127.0.0.1", "SSH-2.0-x\r\n\r\n", ERR_INVALID, 0, NULL },
                { "http://127.0.0.1", "HTTP/1.1 2", ERR_INVALID, 0, NULL },
                { "http://127.0.0.1", "HTTP/1.1 abc\r\n\r\n", ERR_INVALID, 0, NULL },
                { "http://127.0.0.1", NULL, ERR_TIMEOUT, 0, NULL },
                { "https://127.0.0.1", "HTTP/1.1 400 Bad Request\r\n\r\n", ERR_CLOSED, 0, NULL },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                _cleanup_(buf_fini) struct buf body = BUF_INIT(32);
                struct err e = ERR_INIT;
                char address[64];
                pthread_t thread;
                uint16_t port;
                int status = 0;

                peer.fd = listen_somewhere(&port);
                peer.answer = rows[i].answer;
                snprintf(address, sizeof address, "%s:%u", rows[i].scheme, port);
                assert_int_equal(pthread_create(&thread, NULL, answer_once, NULL), 0);
                IGNORE(probe_get(address, "/readyz", 150, &status, &body, &e));
                pthread_join(thread, NULL);
                close(peer.fd);
                if (e.code != rows[i].code)
                        fail_msg("row %zu: %s", i, e.message);
                assert_int_equal(status, rows[i].status);
                if (rows[i].body)
                        assert_true(slice_eq(buf_slice(&body), slice_from(rows[i].body)));
        }
}

static void test_probe_of_nobody(void **state)
{
        static const char *const wrong[] = { "", "ftp://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:0", "http://127.0.0.1:65536",
                                             "http://[::1]", "http://localhost:5000", "http://[::1:5000" };
        _cleanup_(buf_fini) struct buf body = BUF_INIT(32);
        struct err e = ERR_INIT;
        char address[64];
        uint16_t port;
        int status;

        (void)state;
        close(listen_somewhere(&port));
        snprintf(address, sizeof address, "http://127.0.0.1:%u", port);
        assert_false(probe_get(address, "/", 1000, &status, &body, &e).ok);
        assert_int_equal(e.code, ERR_CLOSED);
        assert_false(probe_get("unix:/nowhere/x.sock", "/", 1000, &status, &body, &e).ok);
        assert_int_equal(e.code, ERR_CLOSED);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                assert_false(probe_get(wrong[i], "/", 1000, &status, &body, &e).ok);
                assert_int_equal(e.code, ERR_INVALID);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_words_that_are_understood),
                cmocka_unit_test(test_words_that_are_not),
                cmocka_unit_test(test_options_of_a_command),
                cmocka_unit_test(test_help_of_every_command),
                cmocka_unit_test(test_documents_are_current),
                cmocka_unit_test(test_sample_holds_every_setting),
                cmocka_unit_test(test_lock_tells_who_runs),
                cmocka_unit_test(test_notifications_reach_systemd),
                cmocka_unit_test(test_sockets_of_systemd),
                cmocka_unit_test(test_probe),
                cmocka_unit_test(test_probe_of_nobody),
        };

        return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
