#include "arena.h"

#include <sys/mman.h>

namespace ctorch {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;
/// Memory is asked for in pieces of this size.
constexpr size_t kPiece = size_t(64) << 20;
constexpr size_t kLine = 64;
/// Added to each block, so that tensors of the same size do not all start at the same place of a
/// page: their elements would compete for the same lines of the cache.
constexpr size_t kStagger = 3 * kLine;
/// Smaller remainders stay with the block.
constexpr size_t kSmallestRest = size_t(16) << 10;

size_t rounded_up(size_t size, size_t step) { return (size + step - 1) / step * step; }

}  // namespace

Arena::Arena(size_t byte_count) {
  size_t whole = rounded_up(byte_count, kHugePage) + kHugePage;
  void *start = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return;
  base_ = reinterpret_cast<char *>(rounded_up(reinterpret_cast<uintptr_t>(start), kHugePage));
  capacity_ = whole - kHugePage;
#if defined(MADV_HUGEPAGE)
  madvise(base_, capacity_, MADV_HUGEPAGE);  // advice: without it pages are small
#endif
}

void *Arena::take(size_t byte_count) {
  if (byte_count > capacity_) return nullptr;
  size_t size = rounded_up(byte_count, kLine) + kStagger;
  std::lock_guard<std::mutex> guard(lock_);
  auto best = free_by_size_.lower_bound({size, 0});
  size_t offset;
  if (best != free_by_size_.end()) {
    auto [found, place] = *best;
    erase_free(place, found);
    offset = place;
    if (found - size >= kSmallestRest)
      insert_free(place + size, found - size);
    else
      size = found;
  } else {
    // What is free at the top grows.
    offset = top_;
    if (!free_by_offset_.empty()) {
      auto [place, found] = *free_by_offset_.rbegin();
      if (place + found == top_) offset = place;
    }
    if (!grow(offset + size)) return nullptr;
    if (offset < top_) erase_free(offset, top_ - offset);
    top_ = offset + size;
  }
  taken_.emplace(offset, size);
  used_ += size;
  return base_ + offset;
}

void Arena::give_back(void *data) {
  std::lock_guard<std::mutex> guard(lock_);
  size_t offset = static_cast<char *>(data) - base_;
  auto block = taken_.find(offset);
  if (block == taken_.end()) return;
  size_t size = block->second;
  taken_.erase(block);
  used_ -= size;
  auto next = free_by_offset_.lower_bound(offset);
  if (next != free_by_offset_.end() && next->first == offset + size) {
    auto [place, found] = *next;
    erase_free(place, found);
    size += found;
  }
  auto previous = free_by_offset_.lower_bound(offset);
  if (previous != free_by_offset_.begin()) {
    auto [place, found] = *--previous;
    if (place + found == offset) {
      erase_free(place, found);
      offset = place;
      size += found;
    }
  }
  insert_free(offset, size);
}

bool Arena::grow(size_t end) {
  if (end <= committed_) return true;
  if (end > capacity_) return false;
  size_t target = rounded_up(end, kPiece);
  if (target > capacity_) target = capacity_;
  if (mprotect(base_ + committed_, target - committed_, PROT_READ | PROT_WRITE) != 0) return false;
  committed_ = target;
  return true;
}

void Arena::insert_free(size_t offset, size_t size) {
  free_by_size_.emplace(size, offset);
  free_by_offset_.emplace(offset, size);
}

void Arena::erase_free(size_t offset, size_t size) {
  free_by_size_.erase({size, offset});
  free_by_offset_.erase(offset);
}

size_t Arena::used_bytes() const {
  std::lock_guard<std::mutex> guard(lock_);
  return used_;
}

size_t Arena::kept_bytes() const {
  std::lock_guard<std::mutex> guard(lock_);
  return top_;
}

}  // namespace ctorch
