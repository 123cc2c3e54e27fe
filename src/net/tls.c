/* TLS contexts: one for each certificate that was set, and the keys of session tickets, which outlive them.
 *
 * Tickets (RFC 5077, RFC 8446 section 4.6.1) are encrypted with a key that is made new every TICKET_KEY_HOURS; the ones before
 * it still decrypt, so that a ticket is good for a day and a stolen key for not much longer. Nothing is kept for a session here. */
#include "base/clock.h"
#include "base/rand.h"
#include "net/tls_internal.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>

enum { TICKET_KEYS = 4, TICKET_KEY_HOURS = 8, TICKET_NAME_BYTES = 16, TICKET_LIFETIME_SECONDS = 24 * 3600 };

struct ticket_key {
        unsigned char name[TICKET_NAME_BYTES], cipher[32], mac[32];
        int64_t made_ms;                /* 0: none */
};

struct tls {
        pthread_mutex_t lock;
        SSL_CTX *context;               /* owned; of the certificate in use, NULL before the first */
        struct ticket_key keys[TICKET_KEYS];    /* newest first */
};

const char *tls_reason(void)
{
        unsigned long code = ERR_peek_last_error();
        const char *text = code ? ERR_reason_error_string(code) : NULL;

        ERR_clear_error();
        return text ? text : "the connection was closed";
}

/* --- Tickets ---------------------------------------------------------------------------------------------------------- */

static int tls_index(void)
{
        static int index = -1;

        if (index < 0)
                index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
        return index;
}

/* With the lock held. */
static struct ticket_key newest_key(struct tls *tls)
{
        int64_t now_ms = clock_mono_ms();

        if (tls->keys[0].made_ms == 0 || now_ms - tls->keys[0].made_ms > TICKET_KEY_HOURS * 3600 * 1000ll) {
                memmove(tls->keys + 1, tls->keys, sizeof tls->keys[0] * (TICKET_KEYS - 1));
                rand_bytes(&tls->keys[0], sizeof tls->keys[0]);
                tls->keys[0].made_ms = MAX(now_ms, (int64_t)1);
        }
        return tls->keys[0];
}

/* With the lock held: -1 where none has that name. */
static int find_key(const struct tls *tls, const unsigned char *name)
{
        for (int i = 0; i < TICKET_KEYS; i++)
                if (tls->keys[i].made_ms && memcmp(tls->keys[i].name, name, TICKET_NAME_BYTES) == 0)
                        return i;
        return -1;
}

static int set_mac_key(EVP_MAC_CTX *mac, struct ticket_key *key)
{
        char digest[] = "SHA256";
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                OSSL_PARAM_construct_end(),
        };

        return EVP_MAC_CTX_set_params(mac, params);
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 fine, 2 fine but make a new ticket, 0 no such key, -1 failure. */
static int ticket_key(SSL *session, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypting)
{
        struct tls *tls = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(session), tls_index());
        struct ticket_key key;
        int at = 0;

        pthread_mutex_lock(&tls->lock);
        key = newest_key(tls);
        if (!encrypting) {
                at = find_key(tls, name);
                if (at >= 0)
                        key = tls->keys[at];
        }
        pthread_mutex_unlock(&tls->lock);
        if (at < 0)
                return 0;
        if (encrypting) {
                memcpy(name, key.name, TICKET_NAME_BYTES);
                rand_bytes(iv, 16);
        }
        if (!EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv, encrypting) || !set_mac_key(mac, &key))
                return -1;
        return at == 0 ? 1 : 2;
}

/* --- Certificates ----------------------------------------------------------------------------------------------------- */

static int choose_alpn(SSL *session, const unsigned char **ret_name, unsigned char *ret_n, const unsigned char *offered,
                       unsigned offered_n, void *arg)
{
        static const unsigned char ours[] = "\x08http/1.1";
        unsigned char *name;

        (void)session;
        (void)arg;
        if (SSL_select_next_proto(&name, ret_n, ours, sizeof ours - 1, offered, offered_n) != OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_NOACK;
        *ret_name = name;
        return SSL_TLSEXT_ERR_OK;
}

static RESULT use_chain(SSL_CTX *context, struct slice pem, struct err *e)
{
        BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
        X509 *certificate = bio ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
        bool ok = certificate && SSL_CTX_use_certificate(context, certificate) == 1;

        X509_free(certificate);
        while (ok && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
                ok = SSL_CTX_add0_chain_cert(context, certificate) == 1;        /* takes it */
        BIO_free(bio);
        if (!ok)
                return FAIL(e, ERR_INVALID, 0, "the certificate cannot be used: %s", tls_reason());
        ERR_clear_error();      /* the end of the file is no error */
        return OK;
}

/* A key that is protected by a pass phrase is refused, not asked for. */
static int no_pass_phrase(char *buffer, int size, int writing, void *arg)
{
        (void)buffer;
        (void)size;
        (void)writing;
        (void)arg;
        return -1;
}

static RESULT use_key(SSL_CTX *context, struct slice pem, struct err *e)
{
        BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL) : NULL;
        X509 *certificate = SSL_CTX_get0_certificate(context);
        bool belongs = !key || EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
        bool usable = key && belongs && SSL_CTX_use_PrivateKey(context, key) == 1;

        EVP_PKEY_free(key);
        BIO_free(bio);
        if (!belongs) {
                ERR_clear_error();
                return FAIL(e, ERR_INVALID, 0, "the private key does not belong to the certificate");
        }
        if (!usable)
                return FAIL(e, ERR_INVALID, 0, "the private key cannot be used: %s", tls_reason());
        return OK;
}

static void configure(SSL_CTX *context, struct tls *tls)
{
        static const unsigned char id[] = "orlop";

        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
        /* AES-128 first: it is strong enough for everybody and costs a quarter less. */
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
        SSL_CTX_set_cipher_list(context, "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2");
        /* HTTP tells itself where a message ends, so an end without close_notify is just an end. */
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                             SSL_OP_PRIORITIZE_CHACHA | SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_alpn_select_cb(context, choose_alpn, NULL);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_session_id_context(context, id, sizeof id - 1);
        SSL_CTX_set_timeout(context, TICKET_LIFETIME_SECONDS);
        SSL_CTX_set_num_tickets(context, 1);
        SSL_CTX_set_ex_data(context, tls_index(), tls);
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket_key);
}

static void free_context(SSL_CTX **context)
{
        SSL_CTX_free(*context);
}

RESULT tls_set_certificate(struct tls *tls, struct slice chain_pem, struct slice key_pem, struct err *e)
{
        _cleanup_(free_context) SSL_CTX *context = SSL_CTX_new(TLS_server_method());
        SSL_CTX *old;

        if (!context)
                return FAIL(e, ERR_NOMEM, 0, "make a TLS context: %s", tls_reason());
        configure(context, tls);
        TRY(use_chain(context, chain_pem, e));
        TRY(use_key(context, key_pem, e));
        pthread_mutex_lock(&tls->lock);
        old = tls->context;
        tls->context = context;
        pthread_mutex_unlock(&tls->lock);
        context = old;          /* sessions that use it hold a reference of their own */
        return OK;
}

RESULT tls_new(struct tls **ret_tls, struct err *e)
{
        struct tls *tls = calloc(1, sizeof *tls);

        if (!tls || tls_index() < 0) {
                free(tls);
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare TLS");
        }
        pthread_mutex_init(&tls->lock, NULL);
        *ret_tls = tls;
        return OK;
}

void tls_free(struct tls *tls)
{
        if (!tls)
                return;
        SSL_CTX_free(tls->context);
        OPENSSL_cleanse(tls->keys, sizeof tls->keys);
        pthread_mutex_destroy(&tls->lock);
        free(tls);
}

RESULT tls_session_new(struct tls *tls, SSL **ret_session, struct err *e)
{
        SSL *session = NULL;

        pthread_mutex_lock(&tls->lock);
        if (tls->context)
                session = SSL_new(tls->context);
        pthread_mutex_unlock(&tls->lock);
        if (!session)
                return FAIL(e, ERR_NOMEM, 0, "make a TLS session: %s", tls_reason());
        *ret_session = session;
        return OK;
}
