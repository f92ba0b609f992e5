// The account of one process's meta tensors, and which one a thread has in use.
#pragma once

#include <c10/core/DeviceType.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace xtuner::imagined {

class Ledger {
 public:
  Ledger(c10::DeviceType kind, int32_t purposes);

  /// The device whose operators' memory is accounted for.
  const c10::DeviceType kind;

  void add(int64_t byte_count, int32_t purpose);
  void move(int64_t byte_count, int32_t from, int32_t to);
  void begin_moment();
  int64_t moment_count() const;
  void read(int64_t moment, int64_t *peak, int64_t *live) const;

 private:
  struct Moment {
    std::vector<int64_t> peak, live;
    int64_t peak_total;
  };

  mutable std::mutex mutex_;  // tensors may be freed on any thread
  std::vector<int64_t> live_;
  int64_t total_ = 0;
  std::vector<Moment> moments_;
};

/// The account that the calling thread uses; null without one.
const std::shared_ptr<Ledger> &current();

/// Bytes that something takes until the end of a scope; nothing without an account.
class Temporary {
 public:
  explicit Temporary(int64_t byte_count);
  ~Temporary();
  Temporary(const Temporary &) = delete;
  Temporary &operator=(const Temporary &) = delete;

 private:
  std::shared_ptr<Ledger> ledger_;
  int64_t byte_count_;
  int32_t purpose_;
};

}  // namespace xtuner::imagined
