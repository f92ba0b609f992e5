// Nothing of gloo's algorithm.h is used by c10d's headers.
#pragma once
#include <gloo/context.h>
