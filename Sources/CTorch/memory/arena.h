// A range of address space from which large blocks are taken and given back.
//
// Blocks that were given back join their neighbours and are taken again, the best fit first; pages
// stay with the process. The kernel clears a page when it is first touched, which costs more than
// most operations on it: a step that takes the memory of the one before pays nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace ctorch {

class Arena {
 public:
  /// Reserves address space, not memory. `is_usable()` says whether the system gave it.
  explicit Arena(size_t byte_count);

  bool is_usable() const { return base_ != nullptr; }
  bool contains(const void *data) const {
    auto place = reinterpret_cast<uintptr_t>(data) - reinterpret_cast<uintptr_t>(base_);
    return base_ != nullptr && place < capacity_;
  }

  /// Memory for `byte_count` bytes, aligned to 64; null where the system has no more.
  void *take(size_t byte_count);
  /// Gives back what `take` returned.
  void give_back(void *data);

  /// Bytes of blocks in use, with what rounding adds.
  size_t used_bytes() const;
  /// Bytes that were ever in use at a time: what the process keeps.
  size_t kept_bytes() const;

 private:
  using Place = std::pair<size_t, size_t>;  // size, offset

  bool grow(size_t byte_count);
  void insert_free(size_t offset, size_t size);
  void erase_free(size_t offset, size_t size);

  char *base_ = nullptr;
  size_t capacity_ = 0;
  /// Where memory that was never in use begins.
  size_t top_ = 0;
  /// Where memory begins that may not be touched yet.
  size_t committed_ = 0;
  size_t used_ = 0;
  std::set<Place> free_by_size_;
  std::map<size_t, size_t> free_by_offset_;
  std::map<size_t, size_t> taken_;
  mutable std::mutex lock_;
};

}  // namespace ctorch
