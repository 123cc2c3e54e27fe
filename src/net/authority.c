/* What is made when, and the order in which it is written.
 *
 *      ca.key -> ca.crt -> server.key -> server.crt
 *
 * Each file appears whole or not at all, a key stands before the certificate that is made for it, and a key never changes: a
 * daemon that was killed between two steps goes on with the next one, and no two files can contradict each other.
 *
 * The authority is what clients trust, so it is never replaced without being asked: where its files are damaged, that is an
 * error. What the server uses can be made again at any time and is.
 *
 * A clock that is wrong must not spoil that: a machine without a battery begins in 1970. No time before this program was written,
 * and none before the authority was made, is believed. */
#include "net/authority.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/rand.h"
#include "net/certificate.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define DAY_S ((int64_t)24 * 3600)
#define BELIEVABLE_FROM_S ((int64_t)1767225600)         /* 2026-01-01 */
#define EARLIER_S DAY_S                                 /* for clients whose clocks are late */
#define AUTHORITY_LIFE_S (3652 * DAY_S)
#define SERVER_LIFE_S (398 * DAY_S)
#define RENEW_BEFORE_S (30 * DAY_S)

struct files {
        char ca_key[PATH_MAX], ca_crt[PATH_MAX], server_key[PATH_MAX], server_crt[PATH_MAX];
};

struct authority {
        struct files files;
        const char *folder;             /* borrowed */
        int64_t now_s;
        EVP_PKEY *ca_key, *server_key;  /* owned */
        X509 *ca, *server;              /* owned */
};

static void authority_fini(struct authority *a)
{
        X509_free(a->server);
        X509_free(a->ca);
        EVP_PKEY_free(a->server_key);
        EVP_PKEY_free(a->ca_key);
}

void authority_identity_fini(struct authority_identity *identity)
{
        buf_fini(&identity->ca_pem);
        buf_fini(&identity->chain_pem);
        buf_fini(&identity->key_pem);
}

/* --- Files ------------------------------------------------------------------------------------------------------------ */

static RESULT name_files(struct authority *a, struct err *e)
{
        const struct { char *path; const char *name; } rows[] = {
                { a->files.ca_key, "ca.key" }, { a->files.ca_crt, "ca.crt" },
                { a->files.server_key, "server.key" }, { a->files.server_crt, "server.crt" },
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                if ((size_t)snprintf(rows[i].path, PATH_MAX, "%s/%s", a->folder, rows[i].name) >= PATH_MAX)
                        return FAIL(e, ERR_INVALID, 0, "path too long: %s/%s", a->folder, rows[i].name);
        return OK;
}

/* A daemon that was killed while it wrote left these behind; some hold a key. */
static RESULT remove_unfinished(const char *folder, struct err *e)
{
        DIR *dir = opendir(folder);
        struct result result = OK;
        char path[PATH_MAX];

        if (!dir)
                return FAIL(e, ERR_IO, errno, "open folder %s", folder);
        for (struct dirent *entry; result.ok && (entry = readdir(dir));)
                if (slice_ends(slice_from(entry->d_name), S(".tmp")) &&
                    (size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < sizeof path)
                        result = fs_remove(path, e);
        closedir(dir);
        return result;
}

static RESULT close_to_others(const char *path, struct err *e)
{
        struct stat st;

        if (stat(path, &st) == 0 && (st.st_mode & 077) && chmod(path, 0600) < 0)
                return FAIL(e, ERR_IO, errno, "%s can be read by others; set its mode to 0600", path);
        return OK;
}

/* *ret_key stays NULL where there is no such file. */
static RESULT read_key(const char *path, EVP_PKEY **ret_key, struct err *e)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);

        if (!fs_read_file(path, &pem, e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        return certificate_read_key(buf_slice(&pem), ret_key, e);
}

static RESULT read_certificate(const char *path, X509 **ret_certificate, struct err *e)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);

        if (!fs_read_file(path, &pem, e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        return certificate_read(buf_slice(&pem), ret_certificate, e);
}

static RESULT make_key(const char *path, EVP_PKEY **ret_key, struct err *e)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);

        TRY(certificate_key_new(&key, e));
        TRY(certificate_write_key(key, &pem, e));
        TRY(fs_publish_file(path, buf_slice(&pem), 0600, e));
        *ret_key = TAKE_PTR(key);
        return OK;
}

static RESULT publish_certificate(const char *path, X509 *certificate, struct err *e)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);

        TRY(certificate_write(certificate, &pem, e));
        return fs_publish_file(path, buf_slice(&pem), 0644, e);
}

/* --- The authority ---------------------------------------------------------------------------------------------------- */

static struct result damaged(const struct authority *a, const char *path, const char *what, struct err *e)
{
        return FAIL(e, ERR_CORRUPT, 0, "%s %s. Bring it back from a copy, or remove the folder %s: a new authority is made then, and "
                    "every client has to trust it anew", path, what, a->folder);
}

/* ERR_INVALID is what reading PEM gives; anything else is the machine's trouble and no reason to call a file damaged. */
static RESULT load_authority(struct authority *a, struct err *e)
{
        if (!read_key(a->files.ca_key, &a->ca_key, e).ok)
                return e->code == ERR_INVALID ? damaged(a, a->files.ca_key, "is damaged", e) : FAILED;
        if (!read_certificate(a->files.ca_crt, &a->ca, e).ok)
                return e->code == ERR_INVALID ? damaged(a, a->files.ca_crt, "is damaged", e) : FAILED;
        if (a->ca && !a->ca_key)
                return damaged(a, a->files.ca_key, "is missing", e);
        if (a->ca && !X509_check_private_key(a->ca, a->ca_key))
                return damaged(a, a->files.ca_crt, "does not belong to the key beside it", e);
        return OK;
}

/* With a subject of its own, so that a client that trusts several registries never tries the wrong one. */
static RESULT sign_authority(struct authority *a, const X509 *previous, struct err *e)
{
        X509 *ca;
        char name[64], id[9];

        rand_hex(id, 4);
        snprintf(name, sizeof name, "Orlop registry authority %s", id);
        TRY(certificate_sign_authority(&(struct certificate_order){ .key = a->ca_key, .common_name = name, .previous = previous,
                                                                    .from_s = a->now_s - EARLIER_S,
                                                                    .until_s = a->now_s - EARLIER_S + AUTHORITY_LIFE_S },
                                       &ca, e));
        X509_free(a->ca);
        a->ca = ca;
        return publish_certificate(a->files.ca_crt, ca, e);
}

/* Before the authority ends within a server certificate's life it is signed anew, with the same key and the same subject: what
 * it signs is good for clients that trust the old one too, and they have a year to take the new one. */
static RESULT ensure_authority(struct authority *a, struct err *e)
{
        TRY(load_authority(a, e));
        if (!a->ca_key)
                TRY(make_key(a->files.ca_key, &a->ca_key, e));
        if (!a->ca)
                return sign_authority(a, NULL, e);
        a->now_s = MAX(a->now_s, certificate_from(a->ca) + EARLIER_S);
        if (certificate_until(a->ca) < a->now_s + SERVER_LIFE_S + RENEW_BEFORE_S)
                return sign_authority(a, a->ca, e);
        return OK;
}

/* --- The server's certificate ----------------------------------------------------------------------------------------- */

static RESULT load_server(struct authority *a, struct err *e)
{
        if (!read_key(a->files.server_key, &a->server_key, e).ok && e->code != ERR_INVALID)
                return FAILED;
        if (!read_certificate(a->files.server_crt, &a->server, e).ok && e->code != ERR_INVALID)
                return FAILED;
        return OK;
}

static bool is_current(struct authority *a, const struct names *names)
{
        _cleanup_(names_fini) struct names held = NAMES_INIT;
        EVP_PKEY *issuer_key = X509_get0_pubkey(a->ca);

        if (!a->server || !X509_check_private_key(a->server, a->server_key) || X509_verify(a->server, issuer_key) != 1)
                return false;
        if (certificate_from(a->server) > a->now_s || certificate_until(a->server) < a->now_s + RENEW_BEFORE_S)
                return false;
        certificate_names(a->server, &held);
        return names_equal(&held, names);
}

static RESULT ensure_server(struct authority *a, const struct names *names, bool *ret_renewed, struct err *e)
{
        int64_t from_s = a->now_s - EARLIER_S;

        TRY(load_server(a, e));
        if (!a->server_key)
                TRY(make_key(a->files.server_key, &a->server_key, e));
        *ret_renewed = !is_current(a, names);
        if (!*ret_renewed)
                return OK;
        X509_free(TAKE_PTR(a->server));
        TRY(certificate_sign_server(&(struct certificate_order){ .key = a->server_key, .common_name = "Orlop registry",
                                                                 .from_s = from_s, .until_s = from_s + SERVER_LIFE_S,
                                                                 .issuer = a->ca, .issuer_key = a->ca_key, .names = names },
                                    &a->server, e));
        return publish_certificate(a->files.server_crt, a->server, e);
}

/* --- Public ----------------------------------------------------------------------------------------------------------- */

static RESULT fingerprint(const X509 *certificate, char ret_fingerprint[static FINGERPRINT_TEXT_MAX], struct err *e)
{
        unsigned char hash[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (!X509_digest(certificate, EVP_sha256(), hash, &n))
                return FAIL(e, ERR_INTERNAL, 0, "cannot hash a certificate");
        for (unsigned i = 0; i < n; i++)
                snprintf(ret_fingerprint + 3 * (size_t)i, 4, "%02X%s", hash[i], i + 1 < n ? ":" : "");
        return OK;
}

static RESULT fill_identity(const struct authority *a, struct authority_identity *identity, struct err *e)
{
        buf_reset(&identity->ca_pem);
        buf_reset(&identity->chain_pem);
        buf_reset(&identity->key_pem);
        TRY(certificate_write(a->ca, &identity->ca_pem, e));
        TRY(certificate_write(a->server, &identity->chain_pem, e));
        TRY(certificate_write_key(a->server_key, &identity->key_pem, e));
        TRY(fingerprint(a->ca, identity->ca_fingerprint, e));
        return fingerprint(a->server, identity->fingerprint, e);
}

RESULT authority_ensure(const struct authority_config *config, struct authority_identity *ret_identity, bool *ret_renewed,
                        struct err *e)
{
        _cleanup_(authority_fini) struct authority a = { .folder = config->folder };
        _cleanup_(names_fini) struct names names = NAMES_INIT;

        for (size_t i = 0; i < config->name_count; i++)         /* first, so that no crowd of addresses pushes them out */
                names_add(&names, slice_from(config->names[i]));
        names_add_machine(&names);
        a.now_s = MAX(clock_now_us() / 1000000, BELIEVABLE_FROM_S);
        TRY(name_files(&a, e));
        TRY(fs_mkdir(a.folder, 0700, e));
        TRY(remove_unfinished(a.folder, e));
        TRY(close_to_others(a.files.ca_key, e));
        TRY(close_to_others(a.files.server_key, e));
        TRY(ensure_authority(&a, e));
        TRY(ensure_server(&a, &names, ret_renewed, e));
        return fill_identity(&a, ret_identity, e);
}

RESULT authority_check(const char *folder, struct err *e)
{
        _cleanup_(authority_fini) struct authority a = { .folder = folder };

        TRY(name_files(&a, e));
        TRY(load_authority(&a, e));
        if (!a.ca)
                return FAIL(e, ERR_NOT_FOUND, 0, "%s holds no authority yet", folder);
        return OK;
}

RESULT authority_fingerprint(struct slice chain_pem, char ret_fingerprint[static FINGERPRINT_TEXT_MAX], struct err *e)
{
        _cleanup_(X509_freep) X509 *certificate = NULL;

        TRY(certificate_read(chain_pem, &certificate, e));
        return fingerprint(certificate, ret_fingerprint, e);
}
