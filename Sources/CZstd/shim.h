// The system's zstd library.
#include <zstd.h>
#include <zstd_errors.h>
