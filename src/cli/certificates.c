#include "cli/certificates.h"

#include "base/fs.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define AUTO_INTERVAL_MS (3600 * 1000ull)       /* what the machine is called changes rarely */
#define FILES_INTERVAL_MS (5 * 1000ull)         /* two stat(2) calls */

/* What tells that a file is another one, or was written again. */
struct stamp {
        dev_t device;
        ino_t inode;
        off_t size;
        struct timespec modified, changed;
};

struct certificates {
        enum tls_source source;
        const char *cert_path, *key_path;       /* borrowed from the settings of the start */
        char folder[PATH_MAX];                  /* of --tls auto */
        struct tls *tls;                        /* owned; NULL: no TLS */
        struct authority_identity identity;     /* owned */
        struct stamp cert_stamp, key_stamp;
        bool loaded;
};

struct tls *certificates_tls(const struct certificates *certificates)
{
        return certificates->tls;
}

const struct authority_identity *certificates_identity(const struct certificates *certificates)
{
        return &certificates->identity;
}

uint64_t certificates_interval_ms(const struct certificates *certificates)
{
        return certificates->source == TLS_SOURCE_FILES ? FILES_INTERVAL_MS : AUTO_INTERVAL_MS;
}

/* --- Auto ------------------------------------------------------------------------------------------------------------- */

static RESULT refresh_auto(struct certificates *c, const struct settings_list *names, bool *ret_changed, struct err *e)
{
        struct authority_config config = { .folder = c->folder, .names = names->items, .name_count = names->count };
        bool renewed;

        TRY(authority_ensure(&config, &c->identity, &renewed, e));
        *ret_changed = renewed || !c->loaded;
        if (*ret_changed)
                return tls_set_certificate(c->tls, buf_slice(&c->identity.chain_pem), buf_slice(&c->identity.key_pem), e);
        return OK;
}

/* --- Files ------------------------------------------------------------------------------------------------------------ */

static struct stamp stamp_of(const char *path)
{
        struct stamp stamp;
        struct stat st;

        memset(&stamp, 0, sizeof stamp);        /* padding too: stamps are compared as bytes */
        if (stat(path, &st) == 0) {
                stamp.device = st.st_dev;
                stamp.inode = st.st_ino;
                stamp.size = st.st_size;
                stamp.modified = st.st_mtim;
                stamp.changed = st.st_ctim;
        }
        return stamp;
}

static RESULT load_files(struct certificates *c, struct err *e)
{
        _cleanup_(buf_fini) struct buf chain = BUF_INIT(AUTHORITY_PEM_MAX);
        _cleanup_(buf_fini) struct buf key = BUF_INIT(AUTHORITY_PEM_MAX);
        char fingerprint[FINGERPRINT_TEXT_MAX];

        TRY(fs_read_file(c->cert_path, &chain, e));
        TRY(fs_read_file(c->key_path, &key, e));
        if (!authority_fingerprint(buf_slice(&chain), fingerprint, e).ok ||
            !tls_set_certificate(c->tls, buf_slice(&chain), buf_slice(&key), e).ok)
                return err_context(e, "%s with %s", c->cert_path, c->key_path);
        memcpy(c->identity.fingerprint, fingerprint, sizeof fingerprint);
        return OK;
}

/* The stamps are kept whether or not the files can be used, so that what is wrong is said once. */
static RESULT refresh_files(struct certificates *c, bool *ret_changed, struct err *e)
{
        struct stamp cert = stamp_of(c->cert_path), key = stamp_of(c->key_path);

        *ret_changed = false;
        if (c->loaded && memcmp(&cert, &c->cert_stamp, sizeof cert) == 0 && memcmp(&key, &c->key_stamp, sizeof key) == 0)
                return OK;
        c->cert_stamp = cert;
        c->key_stamp = key;
        TRY(load_files(c, e));
        *ret_changed = true;
        return OK;
}

/* --- Both ------------------------------------------------------------------------------------------------------------- */

RESULT certificates_refresh(struct certificates *c, const struct settings_list *names, bool *ret_changed, struct err *e)
{
        *ret_changed = false;
        switch (c->source) {
        case TLS_SOURCE_AUTO:
                TRY(refresh_auto(c, names, ret_changed, e));
                break;
        case TLS_SOURCE_FILES:
                TRY(refresh_files(c, ret_changed, e));
                break;
        case TLS_SOURCE_OFF:
                break;
        }
        c->loaded = true;
        return OK;
}

RESULT certificates_new(const struct settings *settings, struct certificates **ret_certificates, struct err *e)
{
        _cleanup_(certificates_freep) struct certificates *c = calloc(1, sizeof *c);
        bool changed;

        if (!c)
                return FAIL(e, ERR_NOMEM, 0, "too little memory for the certificate");
        c->source = settings->tls;
        c->cert_path = settings->tls_cert;
        c->key_path = settings->tls_key;
        c->identity = AUTHORITY_IDENTITY_INIT;
        if ((size_t)snprintf(c->folder, sizeof c->folder, "%s/tls", settings->data) >= sizeof c->folder)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s/tls", settings->data);
        if (c->source != TLS_SOURCE_OFF)
                TRY(tls_new(&c->tls, e));
        TRY(certificates_refresh(c, &settings->name, &changed, e));
        *ret_certificates = TAKE_PTR(c);
        return OK;
}

void certificates_free(struct certificates *c)
{
        if (!c)
                return;
        tls_free(c->tls);
        authority_identity_fini(&c->identity);
        free(c);
}
