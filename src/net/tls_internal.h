/* What stream.c needs of tls.c. */
#pragma once

#include "net/tls.h"

#include <openssl/types.h>

/* A session of the certificate in use now. The caller owns it and gives it its BIO. */
RESULT tls_session_new(struct tls *tls, SSL **ret_session, struct err *e);
/* What OpenSSL says of the last failure on this thread; empties its queue. */
const char *tls_reason(void);
