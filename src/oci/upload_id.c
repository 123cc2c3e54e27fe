#include "oci/upload_id.h"

#include "base/hex.h"
#include "base/rand.h"

struct upload_id upload_id_new(void)
{
        struct upload_id id;

        rand_hex(id.s, UPLOAD_ID_LENGTH / 2);
        return id;
}

bool upload_id_parse(struct slice text, struct upload_id *ret_id)
{
        unsigned char bytes[UPLOAD_ID_LENGTH / 2];

        if (text.n != UPLOAD_ID_LENGTH || !hex_decode(text, bytes, sizeof bytes))
                return false;
        return slice_to_cstr(text, ret_id->s, sizeof ret_id->s);
}
