// Process groups whose operations stand in line behind each other, as on a device, so that the engine has to look after
// them without waiting.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "test_device.h"

namespace test_device {
namespace {

std::mutex counts_lock;
std::map<std::string, int32_t> abort_counts, shutdown_counts;
std::atomic<bool> are_released = false;

class LineWork final : public c10d::Work {
 public:
  LineWork() : result_(c10::make_intrusive<c10::ivalue::Future>(c10::IntType::get())) {}

  bool isCompleted() override { return result_->completed(); }
  bool isSuccess() const override { return result_->completed() && !exception_; }
  std::exception_ptr exception() const override { return exception_; }
  void synchronize() override {}
  bool wait(std::chrono::milliseconds) override { TORCH_CHECK(false, "the host waits for an operation of a device"); }
  c10::intrusive_ptr<c10::ivalue::Future> getFutureResult() override { return result_; }

  void end(std::exception_ptr error) {
    exception_ = error;
    auto result = error ? c10d::WorkResult::COMM_ERROR : c10d::WorkResult::SUCCESS;
    result_->markCompleted(c10::IValue(static_cast<int64_t>(result)));
  }

 private:
  c10::intrusive_ptr<c10::ivalue::Future> result_;
  std::exception_ptr exception_;
};

class LineGroup final : public c10d::Backend {
 public:
  LineGroup(c10::intrusive_ptr<c10d::Store> store, int rank, int size, std::string name)
      : Backend(rank, size), store_(std::move(store)), name_(std::move(name)), thread_([this] { run(); }) {}

  ~LineGroup() override {
    {
      std::lock_guard<std::mutex> hold(lock_);
      closed_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  const std::string getBackendName() const override { return "line"; }

  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor &output, at::Tensor &input,
                                                 const c10d::AllgatherOptions &) override {
    return enqueue([this, output, input](int64_t number) {
      auto *from = static_cast<const uint8_t *>(input.const_data_ptr());
      auto *to = static_cast<uint8_t *>(output.mutable_data_ptr());
      store_->set(key(number, rank_), std::vector<uint8_t>(from, from + input.nbytes()));
      for (int place = 0; place < size_; ++place) {
        auto bytes = word_of(number, place);
        TORCH_CHECK(bytes.size() == input.nbytes(), "rank ", place, " gives ", bytes.size(), " bytes");
        std::copy(bytes.begin(), bytes.end(), to + place * input.nbytes());
      }
    });
  }

  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions &) override {
    return enqueue([this](int64_t number) {
      store_->set(key(number, rank_), std::vector<uint8_t>{1});
      for (int place = 0; place < size_; ++place) word_of(number, place);
    });
  }

  void abort() override {
    {
      std::lock_guard<std::mutex> hold(counts_lock);
      ++abort_counts[name_];
    }
    aborted_ = true;
  }

  void shutdown() override {
    std::lock_guard<std::mutex> hold(counts_lock);
    ++shutdown_counts[name_];
  }

 private:
  using Body = std::function<void(int64_t)>;

  std::string key(int64_t number, int place) const { return std::to_string(number) + "/" + std::to_string(place); }

  /// What a rank brings to an operation; waits until it is there or the group is aborted.
  std::vector<uint8_t> word_of(int64_t number, int place) {
    while (!store_->check({key(number, place)})) {
      TORCH_CHECK(!aborted_, "aborted");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return store_->get(key(number, place));
  }

  c10::intrusive_ptr<c10d::Work> enqueue(Body body) {
    if (++issued_ == 2) hold_host();
    auto work = c10::make_intrusive<LineWork>();
    {
      std::lock_guard<std::mutex> hold(lock_);
      line_.emplace_back(work, std::move(body));
    }
    changed_.notify_all();
    return work;
  }

  /// As where an operation connects ranks of which one is lost.
  void hold_host() {
    if (name_ != "held" && name_ != "stuck") return;
    while (name_ == "held" ? !aborted_ : !are_released) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    TORCH_CHECK(false, "the call was given up");
  }

  void run() {
    for (int64_t number = 1;; ++number) {
      std::unique_lock<std::mutex> hold(lock_);
      changed_.wait(hold, [this] { return closed_ || !line_.empty(); });
      if (line_.empty()) return;
      auto [work, body] = std::move(line_.front());
      line_.pop_front();
      hold.unlock();
      try {
        TORCH_CHECK(name_ != "failing" || number != 3, "a cable was pulled");
        body(number);
        work->end(nullptr);
      } catch (...) {
        work->end(std::current_exception());
      }
    }
  }

  c10::intrusive_ptr<c10d::Store> store_;
  std::string name_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::pair<c10::intrusive_ptr<LineWork>, Body>> line_;
  bool closed_ = false;
  int64_t issued_ = 0;
  std::atomic<bool> aborted_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace
}  // namespace test_device

bool test_group_create(void *store, int32_t index, int32_t size, int64_t, const char *name, void **out, char *message,
                       int64_t capacity) {
  if (std::string(name) == "refused") {
    std::snprintf(message, static_cast<size_t>(capacity), "no network of this kind");
    return false;
  }
  auto base = *static_cast<c10::intrusive_ptr<c10d::Store> *>(store);
  *out = new c10::intrusive_ptr<c10d::Backend>(
      c10::make_intrusive<test_device::LineGroup>(base, index, size, std::string(name)));
  return true;
}

int32_t test_group_shutdown_count(const char *name) {
  std::lock_guard<std::mutex> hold(test_device::counts_lock);
  return test_device::shutdown_counts[name];
}

void test_group_release(void) { test_device::are_released = true; }

int32_t test_group_abort_count(const char *name) {
  std::lock_guard<std::mutex> hold(test_device::counts_lock);
  return test_device::abort_counts[name];
}
