#include "net/certificate.h"

#include "base/rand.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

enum { SERIAL_BYTES = 16, COMMON_NAME_MAX = 64 /* ub-common-name */, MEMORY_BIO_MAX = 1024 * 1024 };

/* OpenSSL's reason belongs to the message; its queue must not leak into the next one. */
static struct result fail_openssl(struct err *e, enum err_code code, const char *what)
{
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());

        ERR_clear_error();
        return FAIL(e, code, 0, "%s: %s", what, reason ? reason : "no reason given");
}

RESULT certificate_key_new(EVP_PKEY **ret_key, struct err *e)
{
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

        if (!key)
                return fail_openssl(e, ERR_INTERNAL, "make a private key");
        *ret_key = key;
        return OK;
}

/* --- Parts of a certificate ------------------------------------------------------------------------------------------- */

/* Random, positive, at most 20 bytes (RFC 5280, 4.1.2.2). */
static bool put_serial(X509 *certificate)
{
        unsigned char bytes[SERIAL_BYTES];
        BIGNUM *number;
        bool good;

        rand_bytes(bytes, sizeof bytes);
        bytes[0] = (bytes[0] & 0x7f) | 0x40;    /* of one length, never zero */
        number = BN_bin2bn(bytes, sizeof bytes, NULL);
        good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
        BN_free(number);
        return good;
}

/* ASN1_TIME_set() picks the form that RFC 5280 (4.1.2.5) asks for. */
static bool put_times(X509 *certificate, int64_t from_s, int64_t until_s)
{
        return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from_s) &&
               ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)until_s);
}

static bool put_subject(X509 *certificate, const char *common_name)
{
        X509_NAME *subject = X509_get_subject_name(certificate);
        int n = (int)MIN(strlen(common_name), (size_t)COMMON_NAME_MAX);

        return X509_NAME_add_entry_by_NID(subject, NID_organizationName, MBSTRING_ASC, (const unsigned char *)"Orlop", -1, -1, 0) &&
               X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, (const unsigned char *)common_name, n, -1, 0);
}

static bool put_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX context;
        X509_EXTENSION *extension;
        bool good;

        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        good = extension && X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
        return good;
}

static bool set_ip_name(GENERAL_NAME *name, const char *text)
{
        ASN1_OCTET_STRING *octets = a2i_IPADDRESS(text);

        if (octets)
                GENERAL_NAME_set0_value(name, GEN_IPADD, octets);
        return octets;
}

static bool set_dns_name(GENERAL_NAME *name, const char *text)
{
        ASN1_IA5STRING *string = ASN1_IA5STRING_new();

        if (!string || !ASN1_STRING_set(string, text, -1)) {
                ASN1_IA5STRING_free(string);
                return false;
        }
        GENERAL_NAME_set0_value(name, GEN_DNS, string);
        return true;
}

static bool push_name(GENERAL_NAMES *list, const char *text)
{
        unsigned char address[sizeof(struct in6_addr)];
        bool ip = inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
        GENERAL_NAME *name = GENERAL_NAME_new();

        if (name && (ip ? set_ip_name(name, text) : set_dns_name(name, text)) && sk_GENERAL_NAME_push(list, name))
                return true;
        GENERAL_NAME_free(name);
        return false;
}

/* Not through a configuration text: a name must stay a name whatever letters it has. */
static bool put_names(X509 *certificate, const struct names *names)
{
        GENERAL_NAMES *list = GENERAL_NAMES_new();
        bool good = list;

        for (size_t i = 0; good && i < names->count; i++)
                good = push_name(list, names->items[i]);
        good = good && X509_add1_ext_i2d(certificate, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
        GENERAL_NAMES_free(list);
        return good;
}

static X509 *begin(const struct certificate_order *order)
{
        X509 *certificate = X509_new();

        if (certificate && X509_set_version(certificate, X509_VERSION_3) && put_serial(certificate) &&
            put_times(certificate, order->from_s, order->until_s) && X509_set_pubkey(certificate, order->key))
                return certificate;
        X509_free(certificate);
        return NULL;
}

/* --- The two kinds ---------------------------------------------------------------------------------------------------- */

RESULT certificate_sign_authority(const struct certificate_order *order, X509 **ret_certificate, struct err *e)
{
        _cleanup_(X509_freep) X509 *ca = begin(order);
        bool good = ca;

        good = good && (order->previous ? X509_set_subject_name(ca, X509_get_subject_name(order->previous))
                                        : put_subject(ca, order->common_name));
        good = good && X509_set_issuer_name(ca, X509_get_subject_name(ca));
        good = good && put_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
        good = good && put_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
        good = good && put_extension(ca, ca, NID_subject_key_identifier, "hash");
        good = good && X509_sign(ca, order->key, EVP_sha256());
        if (!good)
                return fail_openssl(e, ERR_INTERNAL, "make the authority's certificate");
        *ret_certificate = TAKE_PTR(ca);
        return OK;
}

RESULT certificate_sign_server(const struct certificate_order *order, X509 **ret_certificate, struct err *e)
{
        _cleanup_(X509_freep) X509 *server = begin(order);
        bool good = server && put_subject(server, order->common_name);

        good = good && X509_set_issuer_name(server, X509_get_subject_name(order->issuer));
        good = good && put_extension(server, order->issuer, NID_basic_constraints, "critical,CA:FALSE");
        good = good && put_extension(server, order->issuer, NID_key_usage, "critical,digitalSignature");
        good = good && put_extension(server, order->issuer, NID_ext_key_usage, "serverAuth");
        good = good && put_extension(server, order->issuer, NID_subject_key_identifier, "hash");
        good = good && put_extension(server, order->issuer, NID_authority_key_identifier, "keyid:always");
        good = good && put_names(server, order->names);
        good = good && X509_sign(server, order->issuer_key, EVP_sha256());
        if (!good)
                return fail_openssl(e, ERR_INTERNAL, "make the server's certificate");
        *ret_certificate = TAKE_PTR(server);
        return OK;
}

/* --- Text ------------------------------------------------------------------------------------------------------------- */

RESULT certificate_read(struct slice pem, X509 **ret_certificate, struct err *e)
{
        BIO *bio = pem.n <= MEMORY_BIO_MAX ? BIO_new_mem_buf(pem.n ? pem.p : "", (int)pem.n) : NULL;
        X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, (void *)"") : NULL;

        BIO_free(bio);
        if (!certificate)
                return fail_openssl(e, ERR_INVALID, "read a certificate (PEM)");
        *ret_certificate = certificate;
        return OK;
}

RESULT certificate_read_key(struct slice pem, EVP_PKEY **ret_key, struct err *e)
{
        BIO *bio = pem.n <= MEMORY_BIO_MAX ? BIO_new_mem_buf(pem.n ? pem.p : "", (int)pem.n) : NULL;
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;

        BIO_free(bio);
        if (!key)
                return fail_openssl(e, ERR_INVALID, "read a private key without a password (PEM)");
        *ret_key = key;
        return OK;
}

static RESULT take_text(BIO *bio, bool good, struct buf *b, struct err *e)
{
        char *text = NULL;
        long n = bio ? BIO_get_mem_data(bio, &text) : 0;

        if (good)
                buf_put(b, (struct slice){ text, (size_t)n });
        BIO_free(bio);
        if (!good)
                return fail_openssl(e, ERR_NOMEM, "write PEM");
        if (!buf_ok(b))
                return FAIL(e, ERR_NOMEM, 0, "the PEM text is larger than %zu bytes", b->max);
        return OK;
}

RESULT certificate_write(X509 *certificate, struct buf *b, struct err *e)
{
        BIO *bio = BIO_new(BIO_s_mem());

        return take_text(bio, bio && PEM_write_bio_X509(bio, certificate), b, e);
}

RESULT certificate_write_key(EVP_PKEY *key, struct buf *b, struct err *e)
{
        BIO *bio = BIO_new(BIO_s_secmem());     /* wiped when it is freed */

        return take_text(bio, bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), b, e);
}

/* --- What a certificate says ------------------------------------------------------------------------------------------ */

static int64_t seconds_of(const ASN1_TIME *time)
{
        struct tm tm = { 0 };

        return time && ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

int64_t certificate_from(const X509 *certificate)
{
        return seconds_of(X509_get0_notBefore(certificate));
}

int64_t certificate_until(const X509 *certificate)
{
        return seconds_of(X509_get0_notAfter(certificate));
}

static void add_name(struct names *names, const GENERAL_NAME *name)
{
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
        struct slice bytes;
        char text[INET6_ADDRSTRLEN] = "";

        if (type != GEN_DNS && type != GEN_IPADD)
                return;
        bytes = (struct slice){ (const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value) };
        if (type == GEN_DNS)
                names_add(names, bytes);
        else if (bytes.n == sizeof(struct in_addr) || bytes.n == sizeof(struct in6_addr))
                names_add(names, slice_from(inet_ntop(bytes.n == sizeof(struct in_addr) ? AF_INET : AF_INET6, bytes.p, text, sizeof text)));
}

void certificate_names(X509 *certificate, struct names *names)
{
        GENERAL_NAMES *list = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

        for (int i = 0; list && i < sk_GENERAL_NAME_num(list); i++)
                add_name(names, sk_GENERAL_NAME_value(list, i));
        GENERAL_NAMES_free(list);
}
