/* One table instead of comparisons: heads are read byte by byte, a hundred thousand times a second. */
#include "http/chars.h"

enum {
        V = CHAR_VALUE,
        VV = CHAR_VALUE | CHAR_VISIBLE,
        H = VV | CHAR_HOST,
        T = VV | CHAR_TOKEN,
        TH = T | CHAR_HOST,
        X = TH | CHAR_HEX,
        D = X | CHAR_DIGIT,
};

const unsigned char char_classes[256] = {
        ['\t'] = V, [' '] = V, ['!'] = TH, ['"'] = VV, ['#'] = T, ['$' ... '\''] = TH, ['(' ... ')'] = H, ['*' ... '+'] = TH,
        [','] = H, ['-' ... '.'] = TH, ['/'] = VV, ['0' ... '9'] = D, [':'] = VV, [';'] = H, ['<'] = VV, ['='] = H,
        ['>' ... '@'] = VV, ['A' ... 'F'] = X, ['G' ... 'Z'] = TH, ['[' ... ']'] = VV, ['^'] = T, ['_'] = TH, ['`'] = T,
        ['a' ... 'f'] = X, ['g' ... 'z'] = TH, ['{'] = VV, ['|'] = T, ['}'] = VV, ['~'] = TH, [0x80 ... 0xff] = V,
};
