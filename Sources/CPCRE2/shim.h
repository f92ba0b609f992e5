#ifndef XTUNER_CPCRE2_SHIM_H
#define XTUNER_CPCRE2_SHIM_H

// PCRE2 for byte strings (UTF-8). The width has to be named before the header is read.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#endif
