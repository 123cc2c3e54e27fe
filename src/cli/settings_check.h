/* Further checks of a setting's text, before it is used: the table names them in its rows. ERR_INVALID says what would be right. */
#pragma once

#include "base/err.h"

/* HOST:PORT, [IPV6]:PORT, :PORT, unix:/PATH. Whether the address exists on this machine shows when it is listened on. */
RESULT check_address(struct slice value, struct err *e);
/* A DNS name (RFC 1123; "*." may stand before it) or an IP address, as a certificate may hold it (RFC 5280, 4.2.1.6). */
RESULT check_name(struct slice value, struct err *e);
/* An origin (RFC 6454, 6.2) or "*". */
RESULT check_origin(struct slice value, struct err *e);
