/* One setting's value: text to value and back, with the row's limits.
 *
 *      INTEGER    12
 *      BYTES      4096, 32KiB, 4MiB, 1GiB, 2TiB; a space before the unit is fine
 *      RATE       the same, with or without "/s"
 *      DURATION   500ms, 15s, 5m, 1h, 30d; a number alone is seconds
 *      BOOL       true false yes no on off 1 0
 *      ENUM       one of the row's choices
 *      LIST       parts separated by commas; spaces around a part are not part of it
 *
 * ERR_INVALID: the message tells the text and what would be right, without the setting's name. */
#pragma once

#include "cli/settings.h"

/* Writes the field of `row`. A LIST is appended to; strings are copied into the settings' arena. */
RESULT setting_value_parse(struct settings *s, const struct setting *row, struct slice text, struct err *e);
/* The value as a user would write it; a list with commas. */
void setting_value_format(const struct settings *s, const struct setting *row, struct buf *b);
bool setting_value_equal(const struct settings *a, const struct settings *b, const struct setting *row);
/* "1 to 10000", "one of auto, off, files". */
void setting_value_range(const struct setting *row, struct buf *b);
