// Runs the C++ kernels and the arena on awkward random sizes, under the sanitizers. See scripts/kernels.sh.
//
// The seed is fixed, so that a failure comes again; another one is the first argument. The second one, the name of a group
// of checks, leaves out the others.
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "support.h"

int main(int count, char **arguments) {
  using namespace sanitized;
  uint64_t first_seed = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 7;
  auto begin = std::chrono::steady_clock::now();
  struct Group {
    const char *name;
    void (*check)();
  };
  constexpr Group groups[] = {{"attention", check_attention}, {"products", check_products},
                              {"norm", check_norm},           {"rows", check_rows},
                              {"router", check_router},       {"head", check_head},
                              {"float8", check_float8},       {"float8 parts", check_float8_parts},
                              {"flat", check_flat},
#ifndef XTUNER_DEVICE_KERNELS
                              {"arena", check_arena}
#endif
  };
  try {
    for (const auto &name : missing_operators()) expect(false, name + " has no kernel");
#ifdef XTUNER_DEVICE_KERNELS
    use_native_float8(true);
    for (int threads : {2}) {  // of references
#else
    for (int threads : {1, 2}) {
#endif
      at::set_num_threads(threads);
      for (const auto &group : groups) {
        if (count > 2 && std::strcmp(arguments[2], group.name) != 0) continue;
        seed(first_seed + uint64_t(threads));
        group.check();
        if (std::getenv("VERBOSE") != nullptr)
          std::fprintf(stderr, "%s on %d threads: at %.1f s\n", group.name, threads,
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
    }
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  std::printf("%s: %lld failures, %.0f s\n", at::get_cpu_capability().c_str(), (long long)failure_count(),
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  return failure_count() == 0 ? 0 : 1;
}
