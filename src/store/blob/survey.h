/* Every file of the store, known or not; and a place for those that nobody knows. One thread at a time needs it: a check. */
#pragma once

#include "store/blob/blob.h"

struct survey_file {
        struct slice path;              /* below the data folder; valid during the call */
        bool is_object;                 /* its name is that of an object, in the right place: digest and id */
        bool is_upload;                 /* that of an upload: id */
        struct digest digest;
        struct upload_id id;
        uint64_t size;
        int64_t age_s;                  /* since it was written */
};
typedef struct result survey_fn(void *arg, const struct survey_file *file, struct err *e);
/* Files below blobs/ and uploads/. */
RESULT survey_each(struct blob_store *store, survey_fn *fn, void *arg, struct err *e);

/* Can files be moved to <data>/lost+found? One that mkfs has made belongs to root: ERR_DENIED, with what helps. */
RESULT survey_may_set_aside(const char *data_dir, struct err *e);
/* Moves a file to <data>/lost+found/, under its own name; one of that name there stays, the new one gets a number. Durable.
 * ERR_DENIED as above. */
RESULT survey_set_aside(struct blob_store *store, struct slice path, struct err *e);
/* The same, under the name `as`. ERR_NOT_FOUND: there is no such file. */
RESULT survey_set_aside_as(struct blob_store *store, struct slice path, struct slice as, struct err *e);
