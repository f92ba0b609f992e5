// The system's zstd library.
#include <zstd.h>
