/* The rules on which collection while pushes go on depends. Each is kept at one spot of the code, which asks here:
 *
 *      if (rule_holds(RULE_ASKED_FOR_STAYS)) ...
 *
 * A program is built with all rules kept; the call is a constant. Tests are built a second time with -DORLOP_RULES_BREAKABLE, and
 * show by breaking one after the other that each is needed and that the tests would notice. */
#pragma once

#include <stdbool.h>

enum rule {
        RULE_NONE,
        RULE_UNIQUE_OBJECTS,            /* an object's name is unique per upload, never the digest alone */
        RULE_REVIEW_QUEUED,             /* what may have become garbage is queued, with the change that made it so */
        RULE_GRACE,                     /* nothing is reviewed before its time */
        RULE_USED_STAYS,                /* what a manifest names stays */
        RULE_LED_TO_STAYS,              /* what a tag, an index or a subject leads to stays */
        RULE_ASKED_FOR_STAYS,           /* asking for what is due soon puts its review off, and then looks */
        RULE_TRASH_DELAY,               /* bytes go after the commit, and later */
        RULE_CHANGES_TOLD,              /* what is removed is told to caches */
};

#ifdef ORLOP_RULES_BREAKABLE
extern enum rule rule_broken;

static inline bool rule_holds(enum rule rule)
{
        return rule != rule_broken;
}
#else
#define rule_holds(rule) ((void)(rule), true)
#endif
