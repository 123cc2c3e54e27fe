/* The daemon's certificate, wherever it comes from, and when it is looked at again.
 *
 *      TRY(certificates_new(settings, &certificates, e));             loads or makes it
 *      ... certificates_tls(certificates) for the server, certificates_identity() for the landing page ...
 *      every certificates_interval_ms(), when the clock was set, and on SIGHUP:
 *              TRY(certificates_refresh(certificates, settings, &changed, e));
 *      certificates_free(certificates);                               after the server has ended
 *
 * --tls auto: net/authority.h. --tls files: read again when one of the two files changed; what does not fit together is
 * refused once, and the certificate in use stays. --tls off: no TLS, nothing to do.
 *
 * Main thread; blocks. */
#pragma once

#include "cli/settings.h"
#include "net/authority.h"
#include "net/tls.h"

struct certificates;

/* `settings` is borrowed and outlives it: source and files are those of the start. */
RESULT certificates_new(const struct settings *settings, struct certificates **ret_certificates, struct err *e);
void certificates_free(struct certificates *certificates);
DEFINE_CLEANUP(struct certificates *, certificates_free)

/* `names` are the current settings' names. *ret_changed: another certificate is in use now. */
RESULT certificates_refresh(struct certificates *certificates, const struct settings_list *names, bool *ret_changed, struct err *e);
uint64_t certificates_interval_ms(const struct certificates *certificates);

struct tls *certificates_tls(const struct certificates *certificates);         /* borrowed; NULL: no TLS */
/* Borrowed until the next refresh. Of --tls files the authority's part is empty; of --tls off all is. */
const struct authority_identity *certificates_identity(const struct certificates *certificates);
