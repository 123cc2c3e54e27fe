/* Unit tests of the registry's own authority: what is made, when it is made again, what strict clients say to it, and that no
 * crash and no damaged file leads to certificates that contradict each other. */
#include "net/authority.h"

#include "base/clock.h"
#include "base/fs.h"
#include "net/certificate.h"

#include <dirent.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define DAY_S ((int64_t)24 * 3600)

/* --- Help of the tests ------------------------------------------------------------------------------------------------ */

struct fixture {
        char folder[64];
        const char *names[4];
        struct authority_config config;
        struct authority_identity identity;
        bool renewed;
        struct err e;
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof *f);

        assert_non_null(f);
        snprintf(f->folder, sizeof f->folder, "/tmp/orlop-authority-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        f->identity = AUTHORITY_IDENTITY_INIT;
        f->config = (struct authority_config){ f->folder, f->names, 0 };
        *state = f;
        return 0;
}

static const char *path_of(struct fixture *f, const char *name)
{
        static char path[400];

        snprintf(path, sizeof path, "%s/%s", f->folder, name);
        return path;
}

static const char *const file_names[] = { "ca.key", "ca.crt", "server.key", "server.crt" };

static void remove_files(struct fixture *f, size_t from)
{
        for (size_t i = from; i < ARRAY_LEN(file_names); i++)
                unlink(path_of(f, file_names[i]));
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        DIR *dir = opendir(f->folder);

        authority_identity_fini(&f->identity);
        assert_non_null(dir);
        for (struct dirent *entry; (entry = readdir(dir));)
                unlink(path_of(f, entry->d_name));      /* "." and ".." fail */
        closedir(dir);
        assert_int_equal(rmdir(f->folder), 0);
        free(f);
        return 0;
}

static void ensure(struct fixture *f)
{
        f->e = ERR_INIT;
        if (!authority_ensure(&f->config, &f->identity, &f->renewed, &f->e).ok)
                fail_msg("%s", f->e.message);
}

static X509 *read_crt(struct fixture *f, const char *name)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);
        X509 *certificate;

        assert_true(fs_read_file(path_of(f, name), &pem, &f->e).ok);
        assert_true(certificate_read(buf_slice(&pem), &certificate, &f->e).ok);
        return certificate;
}

static EVP_PKEY *read_key(struct fixture *f, const char *name)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);
        EVP_PKEY *key;

        assert_true(fs_read_file(path_of(f, name), &pem, &f->e).ok);
        assert_true(certificate_read_key(buf_slice(&pem), &key, &f->e).ok);
        return key;
}

static void write_crt(struct fixture *f, const char *name, X509 *certificate)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);

        assert_true(certificate_write(certificate, &pem, &f->e).ok);
        assert_true(fs_publish_file(path_of(f, name), buf_slice(&pem), 0644, &f->e).ok);
}

static void write_text(struct fixture *f, const char *name, struct slice text)
{
        assert_true(fs_publish_file(path_of(f, name), text, 0600, &f->e).ok);
}

/* What a strict client does: the chain by RFC 5280, for a server of that name. */
static bool verifies(X509 *ca, X509 *server, const char *host, const char *ip)
{
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *context = X509_STORE_CTX_new();
        X509_VERIFY_PARAM *param;
        bool good;

        assert_true(store && context && X509_STORE_add_cert(store, ca));
        assert_true(X509_STORE_CTX_init(context, store, server, NULL));
        param = X509_STORE_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
        if (host)
                assert_true(X509_VERIFY_PARAM_set1_host(param, host, 0));
        if (ip)
                assert_true(X509_VERIFY_PARAM_set1_ip_asc(param, ip));
        good = X509_verify_cert(context) == 1;
        X509_STORE_CTX_free(context);
        X509_STORE_free(store);
        return good;
}

/* The four files fit together, and what the server uses is what stands in them. */
static void check_files(struct fixture *f)
{
        _cleanup_(X509_freep) X509 *ca = read_crt(f, "ca.crt"), *server = read_crt(f, "server.crt");
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *ca_key = read_key(f, "ca.key"), *server_key = read_key(f, "server.key");

        assert_true(X509_check_private_key(ca, ca_key));
        assert_true(X509_check_private_key(server, server_key));
        assert_true(verifies(ca, server, "localhost", NULL));
}

static void refused(struct fixture *f, const char *want)
{
        f->e = ERR_INIT;
        assert_false(authority_check(f->folder, &f->e).ok);
        assert_int_equal(f->e.code, ERR_CORRUPT);
        f->e = ERR_INIT;
        assert_false(authority_ensure(&f->config, &f->identity, &f->renewed, &f->e).ok);
        assert_int_equal(f->e.code, ERR_CORRUPT);
        if (!strstr(f->e.message, want))
                fail_msg("%s", f->e.message);
}

/* --- What is made ----------------------------------------------------------------------------------------------------- */

static void test_first_call_makes_all(void **state)
{
        struct fixture *f = *state;
        _cleanup_(X509_freep) X509 *ca = NULL, *server = NULL;
        int64_t now_s = clock_now_us() / 1000000;
        char fingerprint[FINGERPRINT_TEXT_MAX];
        struct stat st;

        umask(0);
        assert_false(authority_check(f->folder, &f->e).ok);
        assert_int_equal(f->e.code, ERR_NOT_FOUND);
        ensure(f);
        assert_true(authority_check(f->folder, &f->e).ok);
        assert_true(f->renewed);
        check_files(f);
        for (size_t i = 0; i < ARRAY_LEN(file_names); i++) {
                assert_int_equal(stat(path_of(f, file_names[i]), &st), 0);
                assert_int_equal(st.st_mode & 07777, strstr(file_names[i], ".key") ? 0600 : 0644);
        }
        ca = read_crt(f, "ca.crt");
        server = read_crt(f, "server.crt");
        assert_int_equal((certificate_until(server) - certificate_from(server)) / DAY_S, 398);
        assert_int_equal((certificate_until(ca) - certificate_from(ca)) / DAY_S, 3652);
        assert_true(certificate_from(server) <= now_s - 3600 && certificate_from(server) >= certificate_from(ca));
        assert_int_equal(X509_get_extension_flags(ca) & (EXFLAG_CA | EXFLAG_SS | EXFLAG_CRITICAL), EXFLAG_CA | EXFLAG_SS);
        assert_int_equal(X509_get_key_usage(server), KU_DIGITAL_SIGNATURE);
        assert_int_equal(X509_get_extended_key_usage(server), XKU_SSL_SERVER);
        assert_true(authority_fingerprint(buf_slice(&f->identity.chain_pem), fingerprint, &f->e).ok);
        assert_string_equal(fingerprint, f->identity.fingerprint);
        assert_int_equal(strlen(fingerprint), 95);
        assert_true(strcmp(f->identity.fingerprint, f->identity.ca_fingerprint));
}

static void test_names(void **state)
{
        struct fixture *f = *state;
        _cleanup_(X509_freep) X509 *ca = NULL, *server = NULL;
        char host[256] = "";
        static const struct { const char *host, *ip; bool good; } rows[] = {
                { "localhost", NULL, true }, { NULL, "127.0.0.1", true }, { NULL, "::1", true },
                { "registry.example.org", NULL, true }, { "REGISTRY.example.org", NULL, true }, { NULL, "192.0.2.7", true },
                { NULL, "2001:db8::7", true }, { "a.wild.example.org", NULL, true }, { "wild.example.org", NULL, false },
                { "a.b.wild.example.org", NULL, false }, { "example.org", NULL, false }, { NULL, "192.0.2.8", false },
                { "192.0.2.7", NULL, false },   /* an address is no DNS name */
        };

        f->names[0] = "Registry.Example.org.";
        f->names[1] = "192.0.2.7";
        f->names[2] = "2001:DB8:0::7";
        f->names[3] = "*.wild.example.org";
        f->config.name_count = 4;
        ensure(f);
        ca = read_crt(f, "ca.crt");
        server = read_crt(f, "server.crt");
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                if (verifies(ca, server, rows[i].host, rows[i].ip) != rows[i].good)
                        fail_msg("%s %s", rows[i].host ? rows[i].host : "", rows[i].ip ? rows[i].ip : "");
        assert_int_equal(gethostname(host, sizeof host - 1), 0);
        assert_true(verifies(ca, server, host, NULL));
}

static void test_names_are_bounded_and_checked(void **state)
{
        _cleanup_(names_fini) struct names names = NAMES_INIT, same = NAMES_INIT;
        char text[300];

        (void)state;
        for (size_t i = 0; i < 2 * NAMES_MAX; i++) {
                snprintf(text, sizeof text, "host%zu.%0200zu", i, i);
                text[64] = text[128] = text[190] = '.';
                names_add(&names, slice_from(text));
        }
        assert_int_equal(names.count, NAMES_MAX);
        for (size_t i = 1; i < names.count; i++)
                assert_true(strcmp(names.items[i - 1], names.items[i]) < 0);
        names_fini(&names);
        memset(text, 'a', sizeof text);
        names_add(&names, (struct slice){ text, 64 });
        names_add(&names, (struct slice){ text, 300 });
        names_add(&names, S(""));
        names_add(&names, S("."));
        names_add(&names, S("a\0b"));
        names_add(&names, S("a,DNS:evil"));
        names_add(&names, S("a.*.b"));
        names_add(&names, S("fe80::1%eth0"));
        assert_int_equal(names.count, 0);
        names_add(&names, S("B"));
        names_add(&names, S("a."));
        names_add(&names, S("b"));
        names_add(&same, S("A"));
        assert_false(names_equal(&names, &same));
        names_add(&same, S("b"));
        assert_true(names_equal(&names, &same));
}

static void test_hosts_file(void **state)
{
        static const struct { const char *text, *host, *want; } rows[] = {
                { "127.0.0.1 localhost\n127.0.1.1\tbox.example.org box\n", "box", "box.example.org" },
                { "127.0.1.1 box box.example.org", "BOX", "box.example.org" },
                { "127.0.1.1 box # box.example.org\n", "box", NULL },
                { "#127.0.1.1 box.example.org box\n", "box", NULL },
                { "127.0.1.1 boxes.example.org boxes\n", "box", NULL },
                { "box box.example.org\n", "box", NULL },       /* the first word is the address */
                { "", "box", NULL }, { "\n \n127.0.0.1\n", "box", NULL },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct slice full = names_in_hosts_file(slice_from(rows[i].text), slice_from(rows[i].host));

                if (!slice_eq(full, slice_from(rows[i].want)))
                        fail_msg("row %zu: \"%.*s\"", i, SLICE_ARG(full));
        }
}

/* --- When it is made again -------------------------------------------------------------------------------------------- */

static void test_later_calls_keep_it(void **state)
{
        struct fixture *f = *state;
        char before[FINGERPRINT_TEXT_MAX];

        ensure(f);
        memcpy(before, f->identity.fingerprint, sizeof before);
        ensure(f);
        assert_false(f->renewed);
        assert_string_equal(before, f->identity.fingerprint);
}

static void test_new_names_make_a_new_certificate(void **state)
{
        struct fixture *f = *state;
        char server[FINGERPRINT_TEXT_MAX], ca[FINGERPRINT_TEXT_MAX];

        ensure(f);
        memcpy(server, f->identity.fingerprint, sizeof server);
        memcpy(ca, f->identity.ca_fingerprint, sizeof ca);
        f->names[0] = "new.example.org";
        f->config.name_count = 1;
        ensure(f);
        assert_true(f->renewed);
        assert_string_not_equal(server, f->identity.fingerprint);
        assert_string_equal(ca, f->identity.ca_fingerprint);
        check_files(f);
        f->config.name_count = 0;
        ensure(f);
        assert_true(f->renewed);
}

/* A server certificate that the authority signed, with these times and the names that it has anyway. */
static void replace_server(struct fixture *f, int64_t from_s, int64_t until_s)
{
        _cleanup_(X509_freep) X509 *ca = read_crt(f, "ca.crt"), *old = read_crt(f, "server.crt"), *server = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *ca_key = read_key(f, "ca.key"), *key = read_key(f, "server.key");
        _cleanup_(names_fini) struct names names = NAMES_INIT;
        struct certificate_order order = { .key = key, .common_name = "t", .from_s = from_s, .until_s = until_s, .issuer = ca,
                                           .issuer_key = ca_key, .names = &names };

        certificate_names(old, &names);
        assert_true(certificate_sign_server(&order, &server, &f->e).ok);
        write_crt(f, "server.crt", server);
}

static void test_it_is_renewed_thirty_days_before_its_end(void **state)
{
        struct fixture *f = *state;
        int64_t now_s = clock_now_us() / 1000000;
        const struct { int64_t from_s, until_s; bool renewed; } rows[] = {
                { now_s - DAY_S, now_s + 31 * DAY_S, false }, { now_s - DAY_S, now_s + 30 * DAY_S - 60, true },
                { now_s - 400 * DAY_S, now_s - DAY_S, true }, { now_s + DAY_S, now_s + 398 * DAY_S, true },
        };

        ensure(f);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                replace_server(f, rows[i].from_s, rows[i].until_s);
                ensure(f);
                assert_int_equal(f->renewed, rows[i].renewed);
                check_files(f);
        }
}

static void replace_authority(struct fixture *f, int64_t from_s, int64_t until_s)
{
        _cleanup_(X509_freep) X509 *old = read_crt(f, "ca.crt"), *ca = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = read_key(f, "ca.key");
        struct certificate_order order = { .key = key, .previous = old, .from_s = from_s, .until_s = until_s };

        assert_true(certificate_sign_authority(&order, &ca, &f->e).ok);
        write_crt(f, "ca.crt", ca);
}

static void test_an_ending_authority_keeps_its_key_and_name(void **state)
{
        struct fixture *f = *state;
        _cleanup_(X509_freep) X509 *old = NULL, *ca = NULL, *server = NULL;
        int64_t now_s = clock_now_us() / 1000000;

        ensure(f);
        replace_authority(f, now_s - 3000 * DAY_S, now_s + 429 * DAY_S);
        ensure(f);
        old = read_crt(f, "ca.crt");
        assert_true(certificate_until(old) < now_s + 430 * DAY_S);
        X509_free(old);
        replace_authority(f, now_s - 3000 * DAY_S, now_s + 427 * DAY_S);
        old = read_crt(f, "ca.crt");
        ensure(f);
        ca = read_crt(f, "ca.crt");
        server = read_crt(f, "server.crt");
        assert_true(certificate_until(ca) > now_s + 3600 * DAY_S);
        assert_int_equal(X509_NAME_cmp(X509_get_subject_name(old), X509_get_subject_name(ca)), 0);
        assert_true(verifies(old, server, "localhost", NULL) && verifies(ca, server, "localhost", NULL));
}

/* The authority was made by a later clock than ours: what it signs is good from its own beginning on. */
static void test_a_clock_that_lost_its_time(void **state)
{
        struct fixture *f = *state;
        _cleanup_(X509_freep) X509 *ca = NULL, *server = NULL;
        int64_t now_s = clock_now_us() / 1000000;

        ensure(f);
        replace_authority(f, now_s + 1000 * DAY_S, now_s + 4000 * DAY_S);
        ensure(f);
        assert_true(f->renewed);
        ca = read_crt(f, "ca.crt");
        server = read_crt(f, "server.crt");
        assert_int_equal(certificate_until(ca), now_s + 4000 * DAY_S);
        assert_int_equal(certificate_from(server), certificate_from(ca));
        ensure(f);
        assert_false(f->renewed);
}

/* --- Crashes and damage ----------------------------------------------------------------------------------------------- */

static void test_every_half_made_folder_is_completed(void **state)
{
        struct fixture *f = *state;

        for (size_t from = 0; from <= ARRAY_LEN(file_names); from++) {
                char ca[FINGERPRINT_TEXT_MAX];

                ensure(f);
                memcpy(ca, f->identity.ca_fingerprint, sizeof ca);
                remove_files(f, from);
                write_text(f, "ca.key.0123456789abcdef.tmp", S("half a key"));
                ensure(f);
                check_files(f);
                assert_int_equal(f->renewed, from < 4);
                assert_int_equal(strcmp(ca, f->identity.ca_fingerprint) == 0, from >= 2);
                assert_int_equal(access(path_of(f, "ca.key.0123456789abcdef.tmp"), F_OK), -1);
        }
}

static void wait_us(int64_t us)
{
        struct timespec time = { 0, us * 1000 };

        nanosleep(&time, NULL);
}

/* kill -9 at any moment of the first call, and of one that renews. */
static void test_killed_at_any_moment(void **state)
{
        struct fixture *f = *state;

        for (int64_t round = 0; round < 120; round++) {
                char ca[FINGERPRINT_TEXT_MAX] = "";
                pid_t child;

                if (round % 3 == 0)
                        remove_files(f, 0);
                else
                        memcpy(ca, f->identity.ca_fingerprint, sizeof ca);
                f->names[0] = round % 2 ? "odd.example.org" : "even.example.org";
                f->config.name_count = 1;
                child = fork();
                assert_true(child >= 0);
                if (child == 0)
                        _exit(authority_ensure(&f->config, &f->identity, &f->renewed, &f->e).ok ? 0 : 1);
                wait_us(round * 50);
                kill(child, SIGKILL);
                waitpid(child, NULL, 0);
                ensure(f);
                check_files(f);
                if (*ca)
                        assert_string_equal(ca, f->identity.ca_fingerprint);
        }
}

static void test_a_damaged_authority_is_never_replaced(void **state)
{
        struct fixture *f = *state;
        _cleanup_(buf_fini) struct buf other = BUF_INIT(AUTHORITY_PEM_MAX);
        static const char locked[] =
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhq0mW3gN0mGAICCAAw\n"
                "-----END ENCRYPTED PRIVATE KEY-----\n";

        ensure(f);
        assert_true(fs_read_file(path_of(f, "ca.crt"), &other, &f->e).ok);
        unlink(path_of(f, "ca.key"));
        refused(f, "ca.key is missing");
        write_text(f, "ca.key", S("rubbish"));
        refused(f, "ca.key is damaged");
        write_text(f, "ca.key", slice_from(locked));
        refused(f, "ca.key is damaged");
        remove_files(f, 0);
        ensure(f);
        write_text(f, "ca.crt", S(""));
        refused(f, "ca.crt is damaged");
        write_text(f, "ca.crt", buf_slice(&other));
        refused(f, "ca.crt does not belong to the key");
        remove_files(f, 0);
        ensure(f);
        check_files(f);
}

static void test_a_damaged_server_certificate_is_made_again(void **state)
{
        struct fixture *f = *state;

        ensure(f);
        for (size_t i = 2; i < ARRAY_LEN(file_names); i++) {
                write_text(f, file_names[i], S("-----BEGIN rubbish"));
                ensure(f);
                assert_true(f->renewed);
                check_files(f);
        }
}

static void test_a_key_that_others_could_read_is_closed(void **state)
{
        struct fixture *f = *state;
        struct stat st;

        ensure(f);
        assert_int_equal(chmod(path_of(f, "ca.key"), 0644), 0);
        ensure(f);
        assert_int_equal(stat(path_of(f, "ca.key"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_texts_that_are_no_certificates(void **state)
{
        struct fixture *f = *state;
        char fingerprint[FINGERPRINT_TEXT_MAX];

        assert_false(authority_fingerprint(SLICE_NONE, fingerprint, &f->e).ok);
        assert_int_equal(f->e.code, ERR_INVALID);
        assert_false(authority_fingerprint(S("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), fingerprint, &f->e).ok);
        ensure(f);
        assert_false(authority_fingerprint(buf_slice(&f->identity.key_pem), fingerprint, &f->e).ok);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(test_first_call_makes_all),
                TEST(test_names),
                TEST(test_names_are_bounded_and_checked),
                TEST(test_hosts_file),
                TEST(test_later_calls_keep_it),
                TEST(test_new_names_make_a_new_certificate),
                TEST(test_it_is_renewed_thirty_days_before_its_end),
                TEST(test_an_ending_authority_keeps_its_key_and_name),
                TEST(test_a_clock_that_lost_its_time),
                TEST(test_every_half_made_folder_is_completed),
                TEST(test_killed_at_any_moment),
                TEST(test_a_damaged_authority_is_never_replaced),
                TEST(test_a_damaged_server_certificate_is_made_again),
                TEST(test_a_key_that_others_could_read_is_closed),
                TEST(test_texts_that_are_no_certificates),
#undef TEST
        };

        return cmocka_run_group_tests_name("authority", tests, NULL, NULL);
}
