// A kernel for each type of elements that most of our operators take on CPUs.
#pragma once

#include <ATen/Dispatch.h>

#define XTUNER_DISPATCH(tensor, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, (tensor).scalar_type(), name, __VA_ARGS__)
