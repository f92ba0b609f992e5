// CPU kernels of varlen attention: those of cpu_bf16.cpp where the processor has the instruction, else
// libtorch's flash attention for long samples that it fits, else our own.
#include "cpu.h"

#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <limits>
#include <vector>

#include "../element_types.h"
#include "../parallel.h"
#include "operators.h"

namespace xtuner::cpu {
/// One sample; padded sizes are whole vectors.
struct AttentionShape {
  int64_t length, padded_length, width, padded_width, value_width, padded_value_width, window;
  double scale;
};
}  // namespace xtuner::cpu

#define XTUNER_KERNELS "attention/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// From this many tokens on libtorch's kernel is as fast on one thread, and uses more threads.
constexpr int64_t kLong = 1024;

/// Whether libtorch's kernel runs with elements of `type`.
///
/// It packs 16-bit operands wherever the processor could multiply them packed, be the kernels that
/// ATEN_CPU_CAPABILITY has chosen without those instructions: then it stops in `pack_vnni2`.
bool flash_runs(at::ScalarType type) {
  return instruction_set() == InstructionSet::avx512 || !at::native::cpublas::could_pack(type);
}

/// Tokens `begin ..< end` of [T, H, d] as the [1, H, n, d] that libtorch's attention takes; a view.
Tensor sample(const Tensor &x, int64_t begin, int64_t end) {
  return x.slice(0, begin, end).transpose(0, 1).unsqueeze(0);
}

template <typename Element>
AttentionShape shape_of(int64_t length, const Tensor &query, const Tensor &value, double scale, int64_t window) {
  auto padded = [](int64_t size) {
    constexpr int64_t count = std::is_same_v<Element, double> ? 8 : 16;
    return (size + count - 1) / count * count;
  };
  int64_t d = query.size(2), dv = value.size(2);
  return {length, padded(length), d, padded(d), dv, padded(dv), window, scale};
}

/// Calls `body(sample, key head)` for all that libtorch's kernel does not compute, in parallel.
template <typename Body>
void each_short_sample(const Samples &samples, bool takes_flash, int64_t key_heads, Body &&body) {
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < samples.count; ++i)
    if (samples.length(i) > 0 && !(takes_flash && samples.length(i) >= kLong)) chosen.push_back(i);
  int64_t count = static_cast<int64_t>(chosen.size()) * key_heads;
  parallel_items(count, at::get_num_threads(), [&](int64_t item) { body(chosen[item / key_heads], item % key_heads); });
}

std::tuple<Tensor, Tensor> varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                            const Tensor &bounds, double scale, int64_t window,
                                            const std::optional<Tensor> &sinks) {
  check_attention_heads(query, key, value, sinks);
  int64_t tokens = query.size(0), heads = query.size(1), groups = key.size(1), repeat = heads / groups;
  auto samples = checked_samples(bounds, tokens);
  if (bf16_attention_fits(query, scale)) return bf16_attention(query, key, value, samples, scale, window, sinks);
  bool takes_flash = flash_fits(query, value, window, sinks) && flash_runs(query.scalar_type());
  auto out = at::empty({tokens, heads, value.size(2)}, query.options());
  auto wide = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto logsumexp = at::empty({tokens, heads}, query.options().dtype(wide));
  for (int64_t i = 0; i < samples.count; ++i) {
    if (!takes_flash || samples.length(i) < kLong) continue;
    int64_t b = samples.edges[i], e = samples.edges[i + 1];
    auto [o, l] = at::_scaled_dot_product_flash_attention_for_cpu(sample(query, b, e), sample(key, b, e),
                                                                  sample(value, b, e), 0.0, true, {}, scale);
    sample(out, b, e).copy_(o);
    logsumexp.slice(0, b, e).copy_(l[0].t());
  }
  auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
  auto extra = sinks ? sinks->to(at::kFloat).contiguous() : Tensor();
  const float *sink = sinks ? extra.const_data_ptr<float>() : nullptr;
  XTUNER_DISPATCH(query, "varlen_attention", [&] {
    using number = at::opmath_type<scalar_t>;
    auto run = XTUNER_KERNEL(attention_forward<scalar_t, number>);
    auto widen = XTUNER_KERNEL(widen_rows<scalar_t, number>);
    auto transpose = XTUNER_KERNEL(widen_rows_transposed<scalar_t, number>);
    each_short_sample(samples, takes_flash, groups, [&](int64_t i, int64_t g) {
      int64_t b = samples.edges[i];
      auto s = shape_of<scalar_t>(samples.length(i), q, v, scale, window);
      std::vector<number> memory(s.width * s.padded_length + s.length * s.padded_value_width +
                                 4 * (s.padded_width + s.padded_length));
      number *keysT = memory.data(), *values = keysT + s.width * s.padded_length;
      number *scratch = values + s.length * s.padded_value_width;
      transpose(head<scalar_t>(k, b, g), s.length, s.width, keysT, s.padded_length);
      auto value_rows = head<scalar_t>(v, b, g);
      widen(value_rows.data, value_rows.stride, s.length, s.value_width, values, s.padded_value_width);
      for (int64_t h = g * repeat; h < (g + 1) * repeat; ++h)
        run(s, head<scalar_t>(q, b, h), head<scalar_t>(out, b, h),
            {logsumexp.mutable_data_ptr<number>() + b * heads + h, heads}, sink ? sink + h : nullptr, keysT, values,
            scratch);
    });
  });
  return {out, logsumexp};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> varlen_attention_backward(const Tensor &grad, const Tensor &query,
                                                                     const Tensor &key, const Tensor &value,
                                                                     const Tensor &out, const Tensor &logsumexp,
                                                                     const Tensor &bounds, double scale, int64_t window,
                                                                     const std::optional<Tensor> &sinks) {
  int64_t heads = query.size(1), groups = key.size(1), repeat = heads / groups;
  auto samples = checked_samples(bounds, query.size(0));
  if (bf16_attention_fits(query, scale))
    return bf16_attention_backward(grad, query, key, value, out, logsumexp, samples, scale, window, sinks);
  bool takes_flash = flash_fits(query, value, window, sinks) && flash_runs(query.scalar_type());
  auto dq = at::empty(query.sizes(), query.options()), dk = at::empty(key.sizes(), key.options()),
       dv = at::empty(value.sizes(), value.options());
  for (int64_t i = 0; i < samples.count; ++i) {
    if (!takes_flash || samples.length(i) < kLong) continue;
    int64_t b = samples.edges[i], e = samples.edges[i + 1];
    auto lse = logsumexp.slice(0, b, e).t().unsqueeze(0);
    auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        sample(grad, b, e), sample(query, b, e), sample(key, b, e), sample(value, b, e), sample(out, b, e), lse, 0.0,
        true, {}, scale);
    sample(dq, b, e).copy_(gq);
    sample(dk, b, e).copy_(gk);
    sample(dv, b, e).copy_(gv);
  }
  auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
  auto extra = sinks ? sinks->to(at::kFloat).contiguous() : Tensor();
  const float *sink = sinks ? extra.const_data_ptr<float>() : nullptr;
  // A row a sample, summed in order at the end: the result does not depend on threads.
  auto dsinks = at::zeros({sinks ? samples.count : 0, heads}, logsumexp.options());
  XTUNER_DISPATCH(query, "varlen_attention_backward", [&] {
    using number = at::opmath_type<scalar_t>;
    auto run = XTUNER_KERNEL(attention_backward<scalar_t, number>);
    auto widen = XTUNER_KERNEL(widen_rows<scalar_t, number>);
    auto transpose = XTUNER_KERNEL(widen_rows_transposed<scalar_t, number>);
    auto narrow = XTUNER_KERNEL(narrow_rows<scalar_t, number>);
    auto dsink = dsinks.mutable_data_ptr<number>();
    each_short_sample(samples, takes_flash, groups, [&](int64_t i, int64_t g) {
      int64_t b = samples.edges[i];
      auto s = shape_of<scalar_t>(samples.length(i), q, v, scale, window);
      int64_t key_size = s.length * s.padded_width, value_size = s.length * s.padded_value_width;
      std::vector<number> memory(2 * key_size + value_size + (s.width + s.value_width + 8) * s.padded_length +
                                 4 * (s.padded_width + s.padded_value_width));
      number *dkeys = memory.data(), *dvalues = dkeys + key_size;  // zeros
      number *keys = dvalues + value_size, *keysT = keys + key_size;
      number *valuesT = keysT + s.width * s.padded_length, *scratch = valuesT + s.value_width * s.padded_length;
      auto key_rows = head<scalar_t>(k, b, g);
      widen(key_rows.data, key_rows.stride, s.length, s.width, keys, s.padded_width);
      transpose(key_rows, s.length, s.width, keysT, s.padded_length);
      transpose(head<scalar_t>(v, b, g), s.length, s.value_width, valuesT, s.padded_length);
      for (int64_t h = g * repeat; h < (g + 1) * repeat; ++h) {
        number slope = run(s, head<scalar_t>(grad, b, h), head<scalar_t>(q, b, h), head<scalar_t>(out, b, h),
                           {logsumexp.mutable_data_ptr<number>() + b * heads + h, heads}, sink ? sink + h : nullptr,
                           keys, keysT, valuesT, head<scalar_t>(dq, b, h), dkeys, dvalues, scratch);
        if (sink) dsink[i * heads + h] = slope;
      }
      auto dkey = head<scalar_t>(dk, b, g), dvalue = head<scalar_t>(dv, b, g);
      narrow(dkeys, s.padded_width, s.length, s.width, dkey.data, dkey.stride);
      narrow(dvalues, s.padded_value_width, s.length, s.value_width, dvalue.data, dvalue.stride);
    });
  });
  return {dq, dk, dv, sinks ? dsinks.sum(0).to(sinks->scalar_type()) : Tensor()};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("varlen_attention", varlen_attention);
  m.impl("varlen_attention_backward", varlen_attention_backward);
}
