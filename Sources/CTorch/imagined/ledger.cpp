// An allocator for the meta device that gives no memory and writes down who asks for how much.
#include "ledger.h"

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>

#include "../bridge.h"
#include "ctorch_imagined.h"

struct ct_ledger {
  std::shared_ptr<xtuner::imagined::Ledger> value;
};

namespace xtuner::imagined {

Ledger::Ledger(c10::DeviceType kind, int32_t purposes) : kind(kind), live_(purposes) {
  moments_.push_back({live_, live_, 0});
}

void Ledger::add(int64_t byte_count, int32_t purpose) {
  std::lock_guard lock(mutex_);
  live_.at(purpose) += byte_count;
  total_ += byte_count;
  auto &moment = moments_.back();
  if (total_ > moment.peak_total) {
    moment.peak = live_;
    moment.peak_total = total_;
  }
}

void Ledger::move(int64_t byte_count, int32_t from, int32_t to) {
  std::lock_guard lock(mutex_);
  live_.at(from) -= byte_count;
  live_.at(to) += byte_count;
}

void Ledger::begin_moment() {
  std::lock_guard lock(mutex_);
  moments_.back().live = live_;
  moments_.push_back({live_, live_, total_});
}

int64_t Ledger::moment_count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(moments_.size());
}

void Ledger::read(int64_t moment, int64_t *peak, int64_t *live) const {
  std::lock_guard lock(mutex_);
  const auto &wanted = moments_.at(moment);
  bool is_last = moment + 1 == static_cast<int64_t>(moments_.size());
  std::copy(wanted.peak.begin(), wanted.peak.end(), peak);
  std::copy_n((is_last ? live_ : wanted.live).begin(), live_.size(), live);
}

namespace {

thread_local std::shared_ptr<Ledger> used;
thread_local int32_t purpose = 0;

/// What stands for the memory of a tensor.
struct Holding {
  std::shared_ptr<Ledger> ledger;
  int64_t byte_count;
  int32_t purpose;
};

void release(void *context) {
  std::unique_ptr<Holding> holding(static_cast<Holding *>(context));
  holding->ledger->add(-holding->byte_count, holding->purpose);
}

class LedgerAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t byte_count) override {
    c10::Device meta(c10::DeviceType::Meta);
    if (used == nullptr || byte_count == 0) return {nullptr, meta};
    auto holding = std::make_unique<Holding>(Holding{used, static_cast<int64_t>(byte_count), purpose});
    used->add(holding->byte_count, purpose);
    return {nullptr, holding.release(), &release, meta};
  }

  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void *, const void *, size_t) const override {}
};

}  // namespace

const std::shared_ptr<Ledger> &current() { return used; }

Temporary::Temporary(int64_t byte_count) : ledger_(used), byte_count_(byte_count), purpose_(purpose) {
  if (ledger_) ledger_->add(byte_count_, purpose_);
}

Temporary::~Temporary() {
  if (ledger_) ledger_->add(-byte_count_, purpose_);
}

}  // namespace xtuner::imagined

using namespace xtuner::imagined;

ct_ledger *ct_ledger_create(int32_t device_kind, int32_t purposes) {
  ct_ledger *ledger = nullptr;
  guarded([&] {
    static std::once_flag once;
    std::call_once(once, [] {
      static auto *allocator = new LedgerAllocator();  // tensors may outlive everything
      c10::SetAllocator(c10::DeviceType::Meta, allocator, /*priority=*/1);
    });
    ledger = new ct_ledger{std::make_shared<Ledger>(static_cast<c10::DeviceType>(device_kind), purposes)};
  });
  return ledger;
}

void ct_ledger_free(ct_ledger *ledger) { delete ledger; }
void ct_ledger_use(ct_ledger *ledger) { used = ledger == nullptr ? nullptr : ledger->value; }
int32_t ct_ledger_purpose(int32_t value) { return std::exchange(purpose, value); }
void ct_ledger_begin_moment(ct_ledger *ledger) { ledger->value->begin_moment(); }
int64_t ct_ledger_moments(const ct_ledger *ledger) { return ledger->value->moment_count(); }
void ct_ledger_moment(const ct_ledger *ledger, int64_t moment, int64_t *peak, int64_t *live_at_end) {
  ledger->value->read(moment, peak, live_at_end);
}
void ct_ledger_take(ct_ledger *ledger, int64_t byte_count, int32_t purpose) { ledger->value->add(byte_count, purpose); }

void ct_tensor_purpose(ct_tensor *tensor, int32_t value) {
  if (!tensor->value.has_storage()) return;
  const auto &memory = tensor->value.storage().data_ptr();
  if (memory.get_deleter() != &release) return;
  auto *holding = static_cast<Holding *>(memory.get_context());
  holding->ledger->move(holding->byte_count, holding->purpose, value);
  holding->purpose = value;
}
