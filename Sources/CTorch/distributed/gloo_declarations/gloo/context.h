// What c10d's headers need of Gloo, which libtorch_cpu contains and whose headers it does not ship.
//
// Declarations only: objects of these types are made, laid out and destroyed inside libtorch. Members
// that are not named here exist; nothing may depend on a type's size.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  Context() = delete;
  Context(const Context &) = delete;

  void setTimeout(std::chrono::milliseconds timeout);
};

}  // namespace gloo
