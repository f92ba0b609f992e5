// Nothing of gloo's error.h is used by c10d's headers; its exceptions are std::runtime_error.
#pragma once
