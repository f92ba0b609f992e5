#include "streams.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "memory.h"
#include "test_device.h"

namespace test_device {
namespace {

/// As many as CUDA has in its pool, the default one included; new streams take turns.
constexpr int streams_per_device = 32;
constexpr int stream_count = streams_per_device * device_count;

/// For each stream how many of its operations are known to be over.
using Clock = std::array<int64_t, stream_count>;

void join(Clock &clock, const Clock &other) {
  for (int i = 0; i < stream_count; ++i) clock[i] = std::max(clock[i], other[i]);
}

struct Use {
  int64_t time = 0;
  std::string name;
};

struct Block {
  size_t byte_count;
  int home;
  bool is_pinned;
  int writer = -1;
  Use write;
  std::map<int, Use> reads;
  std::set<int> recorded;
  std::set<int> late;
};

struct Event {
  int key;
  Clock clock;
  int64_t position;
};

struct Stream {
  Clock clock{};
  std::deque<std::function<void()>> late;
  int64_t late_count = 0;
};

struct State {
  // Late work frees and takes memory.
  std::recursive_mutex lock;
  std::array<Stream, stream_count> streams;
  Clock host{};
  std::map<uintptr_t, Block> blocks;
  std::vector<std::string> hazards;
  std::array<int, device_count> last_stream{};
  int64_t wait_count = 0;
  int64_t skipped_wait = -1;
};

State &state() {
  // Tensors may outlive everything: never freed.
  static auto *state = new State();
  return *state;
}

thread_local std::array<int8_t, device_count> current_ids{};

int key(c10::Stream stream) { return stream.device_index() * streams_per_device + static_cast<int>(stream.id()); }

std::string name(int key) {
  auto id = key % streams_per_device;
  return id == 0 ? "the default stream" : "stream " + std::to_string(id);
}

/// Does late work of a stream up to a position in its order.
void catch_up(int key, int64_t position) {
  auto &stream = state().streams[key];
  while (!stream.late.empty() && stream.late_count - static_cast<int64_t>(stream.late.size()) < position) {
    auto work = std::move(stream.late.front());
    stream.late.pop_front();
    work();
  }
}

void catch_up(int key) { catch_up(key, state().streams[key].late_count); }

Block *block_at(const void *address) {
  auto place = reinterpret_cast<uintptr_t>(address);
  auto next = state().blocks.upper_bound(place);
  if (next == state().blocks.begin()) return nullptr;
  auto &[start, block] = *std::prev(next);
  return place < start + block.byte_count ? &block : nullptr;
}

}  // namespace

c10::Stream current_stream(c10::DeviceIndex device) noexcept {
  return c10::Stream(c10::Stream::UNSAFE, {c10::kPrivateUse1, device}, current_ids[device]);
}

c10::Stream exchange_stream(c10::Stream stream) {
  auto previous = current_stream(stream.device_index());
  current_ids.at(stream.device_index()) = static_cast<int8_t>(stream.id());
  return previous;
}

c10::Stream new_stream(c10::DeviceIndex device) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto &last = state().last_stream.at(device);
  last = last % (streams_per_device - 1) + 1;
  return c10::Stream(c10::Stream::UNSAFE, {c10::kPrivateUse1, device}, last);
}

Operation::Operation(std::string name, c10::Stream stream) : name_(std::move(name)), key_(key(stream)) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto &clock = state().streams[key_].clock;
  join(clock, state().host);
  time_ = ++clock[key_];
}

void Operation::uses(const at::Tensor &tensor, bool writes) {
  if (!tensor.defined() || tensor.numel() == 0) return;
  const void *address = tensor.is_privateuseone() ? host_address(tensor) : tensor.unsafeGetTensorImpl()->data();
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto *block = block_at(address);
  if (block == nullptr) return;
  used_.push_back(address);
  const auto &clock = state().streams[key_].clock;
  auto compare = [&](int other, const Use &use, const char *verb) {
    if (other < 0 || other == key_ || use.time <= clock[other]) return;
    state().hazards.push_back(name_ + " of " + name(key_) + (writes ? " writes" : " reads") + " what " + use.name +
                              " of " + name(other) + verb + ", and nothing orders them");
  };
  compare(block->writer, block->write, " writes");
  if (!writes) {
    block->reads[key_] = {time_, name_};
    return;
  }
  for (const auto &[other, use] : block->reads) compare(other, use, " reads");
  block->reads.clear();
  block->writer = key_;
  block->write = {time_, name_};
}

void Operation::run(const std::function<void()> &work) {
  if (key_ % streams_per_device != 0) {
    std::lock_guard<std::recursive_mutex> turn(state().lock);
    catch_up(key_);
  }
  work();
}

void Operation::run_late(std::function<void()> work) {
  if (key_ % streams_per_device == 0) return work();
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto &stream = state().streams[key_];
  stream.late.push_back(std::move(work));
  ++stream.late_count;
  for (const auto *address : used_) {
    if (auto *block = block_at(address)) block->late.insert(key_);
  }
}

void Operation::wait() {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  join(state().host, state().streams[key_].clock);
}

void add_block(const void *memory, size_t byte_count, c10::DeviceIndex device, bool is_pinned) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  Block block{byte_count, key(current_stream(device)), is_pinned, -1, {}, {}, {}, {}};
  if (!is_pinned) {
    // Whatever had the memory before is over in the order of its own stream, and for no other.
    block.writer = block.home;
    block.write = {++state().streams[block.home].clock[block.home], "the last owner"};
  }
  state().blocks.insert_or_assign(reinterpret_cast<uintptr_t>(memory), std::move(block));
}

void remove_block(const void *memory) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto found = state().blocks.find(reinterpret_cast<uintptr_t>(memory));
  if (found == state().blocks.end()) return;
  const auto &block = found->second;
  auto known = state().streams[block.home].clock;
  join(known, state().host);
  auto compare = [&](int other, const Use &use) {
    if (block.is_pinned || other < 0 || other == block.home || use.time <= known[other]) return;
    if (block.recorded.count(other) == 0)
      state().hazards.push_back("memory of " + name(block.home) + " is freed that " + use.name + " of " + name(other) +
                                " uses, and nothing orders them");
  };
  compare(block.writer, block.write);
  for (const auto &[other, use] : block.reads) compare(other, use);
  for (int other : std::set<int>(block.late)) catch_up(other);
  state().blocks.erase(reinterpret_cast<uintptr_t>(memory));
}

bool is_pinned(const void *memory) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  const auto *block = block_at(memory);
  return block != nullptr && block->is_pinned;
}

void record_stream(const void *memory, c10::Stream stream) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  if (auto *block = block_at(memory)) block->recorded.insert(key(stream));
}

void record_event(void **event, c10::Stream stream) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  auto place = key(stream);
  auto &own = state().streams[place];
  if (*event == nullptr) *event = new Event();
  *static_cast<Event *>(*event) = {place, own.clock, own.late_count};
}

void block_stream(void *event, c10::Stream stream) {
  if (event == nullptr) return;
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  if (state().wait_count++ == state().skipped_wait) return;
  const auto &known = *static_cast<Event *>(event);
  join(state().streams[key(stream)].clock, known.clock);
  catch_up(known.key, known.position);
}

void synchronize_event(void *event) {
  host_waits("synchronizeEvent");
  if (event == nullptr) return;
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  const auto &known = *static_cast<Event *>(event);
  join(state().host, known.clock);
  catch_up(known.key, known.position);
}

void synchronize_stream(c10::Stream stream) {
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  catch_up(key(stream));
  join(state().host, state().streams[key(stream)].clock);
}

void destroy_event(void *event) noexcept { delete static_cast<Event *>(event); }

}  // namespace test_device

const char *test_device_take_hazards(void) {
  using test_device::state;
  static std::string text;
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  text.clear();
  for (size_t i = 0; i < std::min<size_t>(state().hazards.size(), 5); ++i) text += state().hazards[i] + "\n";
  state().hazards.clear();
  return text.c_str();
}

void test_device_skip_wait(int64_t index) {
  using test_device::state;
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  state().wait_count = 0;
  state().skipped_wait = index;
}

int64_t test_device_wait_count(void) {
  using test_device::state;
  std::lock_guard<std::recursive_mutex> turn(state().lock);
  return state().wait_count;
}
