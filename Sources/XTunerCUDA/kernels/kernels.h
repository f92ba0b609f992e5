// The kernels of the plug-in, as the operators call them: device pointers in, work on the stream.
//
// Sizes and strides count elements. Nothing here waits for the device. What a function needs of its arguments, the
// operators check; see the CPU operators of the same names for what is computed.
#pragma once

#include "../../CTorch/operators/flat/adamw.h"
#include "launch.h"

namespace xtuner::cuda {

// ---- norm.cu
/// y = weight * x / rms(x) for each row. With a residual, `sum` = x + residual is what is normalised.
void rms_norm(Element element, const void *x, const void *residual, const void *weight, void *sum, void *y,
              float *scales, int64_t rows, int64_t width, float epsilon, cudaStream_t stream);
/// The same, and y quantised in rows as by fp8_quantize_rows. Elements are bfloat16 or float32.
void rms_norm_fp8(Element element, const void *x, const void *residual, const void *weight, void *sum, void *y,
                  float *scales, uint8_t *values, float *tile_scales, int64_t rows, int64_t width, float epsilon,
                  cudaStream_t stream);
/// The largest width that rms_norm_backward takes, by whether rows are whole vectors of 16 bytes.
int64_t widest_norm(bool has_whole_vectors, int64_t element_size);
/// Gradients of x, plus `direct` unless it is null, and of the weight. `partial` has kSumBlocks x width floats.
void rms_norm_backward(Element element, const void *grad, const void *x, const void *weight, const float *scales,
                       const void *direct, void *dx, void *dweight, float *partial, int64_t rows, int64_t width,
                       cudaStream_t stream);
/// out[c] = the sum over rows of partial[r, c], of the given type.
void sum_columns(Element element, const float *partial, void *out, int64_t rows, int64_t width, cudaStream_t stream);

// ---- rotary.cu
/// Heads of x, `token_stride` and `head_stride` apart; y is dense.
struct Heads {
  int64_t tokens, heads, half, token_stride, head_stride;
};
void rotary(Element element, const void *x, const float *cosine, const float *sine, void *y, Heads heads,
            bool interleaved, bool inverse, cudaStream_t stream);
void norm_rotary(Element element, const void *x, const void *weight, const float *cosine, const float *sine, void *y,
                 float *scales, Heads heads, float epsilon, bool interleaved, cudaStream_t stream);
/// The largest half of a head that norm_rotary_backward takes.
constexpr int64_t kLargestHalf = 256;
/// `partial` has kSumBlocks x 2 half floats.
void norm_rotary_backward(Element element, const void *grad, const void *x, const void *weight, const float *scales,
                          const float *cosine, const float *sine, void *dx, void *dweight, float *partial, Heads heads,
                          bool interleaved, cudaStream_t stream);

// ---- swiglu.cu
void swiglu(Element element, const void *gate_up, void *y, int64_t rows, int64_t width, cudaStream_t stream);
void swiglu_backward(Element element, const void *grad, const void *gate_up, void *dgate_up, int64_t rows,
                     int64_t width, cudaStream_t stream);

// ---- permute.cu
/// y[r] = x[indices[r]]; rows of `bytes` bytes.
void gather_rows(const void *x, const int64_t *indices, void *y, int64_t rows, int64_t limit, int64_t bytes,
                 cudaStream_t stream);
/// y[t] = sum over k of weights[t, k] * rows[slots[t, k]]; all weights are 1 where they are null.
void sum_slots(Element element, const void *rows, const float *weights, const int64_t *slots, void *y, int64_t tokens,
               int64_t slot_count, int64_t row_count, int64_t width, cudaStream_t stream);
void sum_slots_backward(Element element, const void *grad, const void *rows, const float *weights, const int64_t *slots,
                        void *drows, float *dweights, int64_t tokens, int64_t slot_count, int64_t row_count,
                        int64_t width, cudaStream_t stream);

// ---- router.cu
void router_scores(const float *logits, float *scores, float *sums, int64_t rows, int64_t width, cudaStream_t stream);
void router_scores_backward(const float *grad, const float *sum_grad, const float *scores, float *dx, int64_t rows,
                            int64_t width, cudaStream_t stream);
/// As many experts as the choice and the order of rows take.
constexpr int64_t kMostExperts = 1024;
void route_top_k(const float *scores, int64_t *chosen, int64_t rows, int64_t width, int64_t k, cudaStream_t stream);

// ---- expert_order.cu
/// Slots are taken in chunks of this many; `counters` has an int32 for each chunk and expert.
int64_t order_chunk(int64_t count);
void expert_order(const int64_t *experts, int64_t *token_of_row, int64_t *row_of_slot, int64_t *counts,
                  int64_t *offsets, int32_t *counters, int64_t tokens, int64_t slots, int64_t expert_count,
                  cudaStream_t stream);

// ---- cross_entropy.cu
/// Losses and log-sum-exps; with weights the logits become their gradient.
void cross_entropy(Element element, void *logits, const int64_t *targets, const float *weights, float z_loss,
                   float *losses, float *sums, int64_t rows, int64_t width, cudaStream_t stream);

// ---- flat.cu
/// `copy` may be null; else it has type `copy_element`. The gradient is float32 or bfloat16.
void adamw(float *master, Element gradient_element, const void *gradient, float *first, float *second, void *copy,
           Element copy_element, AdamWStep step, int64_t count, cudaStream_t stream);
/// Weights and moments are bfloat16.
void adamw_rounded(void *weights, Element gradient_element, const void *gradient, void *first, void *second,
                   AdamWStep step, uint32_t seed, SliceIndices indices, int64_t count, cudaStream_t stream);
/// `partial` has kSumBlocks doubles.
void squared_sum(Element element, const void *x, double *partial, double *out, int64_t count, cudaStream_t stream);
/// into[sorted[i]] += rows[order[i]] for rising `sorted`; equal ones are added in their order.
void add_sorted_rows(Element element, float *into, const void *rows, const int64_t *sorted, const int64_t *order,
                     int64_t count, int64_t width, int64_t limit, cudaStream_t stream);

// ---- grouped.cu
/// ends[e] = offsets[e] as int32.
void narrow_offsets(const int64_t *offsets, int32_t *ends, int64_t count, cudaStream_t stream);
/// Zeros where a group has no rows; each group has `bytes` bytes.
void clear_empty_groups(void *groups, const int64_t *offsets, int64_t count, int64_t bytes, cudaStream_t stream);

// ---- float8.cu, by the rule of CTorch/operators/float8/rule.h. Elements are bfloat16 or float32, values float8_e4m3fn.
/// Matrices of the same sizes, one after another.
struct Matrices {
  int64_t count, rows, width;
};
/// Blocks along y and z of a launch.
constexpr int64_t kMostBlocksY = 65535;
/// What is quantised: rows of x, or silu(gate) * up of rows [gate, up], rounded to the element.
enum class Fp8Source { rows, swiglu };
/// scales[tile * rows + row].
void fp8_quantize_rows(Element element, Fp8Source source, const void *x, uint8_t *values, float *scales, int64_t rows,
                       int64_t width, cudaStream_t stream);
/// scales[(matrix * bands + band) * tiles + tile]; at most kMostBlocksY matrices and bands of 128 rows.
void fp8_quantize_blocks(Element element, const void *x, uint8_t *values, float *scales, Matrices shape,
                         cudaStream_t stream);
/// Where the same matrix quantised in rows goes; null where that is not wanted.
struct Fp8Rows {
  uint8_t *values;
  float *scales;
};
/// values[column * padded + place] and scales[place / 128 * width + column]. `offsets` are the ends of the groups, or
/// null for one group. At most kMostBlocksY tiles of 128 rows.
void fp8_quantize_columns(Element element, Fp8Source source, const void *x, const int64_t *offsets, uint8_t *values,
                          float *scales, Fp8Rows in_rows, int64_t rows, int64_t width, int64_t padded, int64_t groups,
                          cudaStream_t stream);
/// The scale of (matrix, row, column) is scales[matrix * .matrix + row / .height * .band + column / 128 * .tile].
struct ScaleSteps {
  int64_t height, matrix, band, tile;
};
void fp8_dequantize(Element element, const uint8_t *values, const float *scales, void *out, Matrices shape,
                    ScaleSteps steps, cudaStream_t stream);

// ---- attention.cu
/// Tokens of heads of one tensor; elements of a head are neighbours.
struct HeadRows {
  void *data;
  int64_t token_stride, head_stride;
};
struct Attention {
  int64_t tokens, heads, key_heads, width, value_width, window;
  const int64_t *bounds;
  int64_t samples;
  float scale;
};
/// The largest head that plain attention takes.
constexpr int64_t kWidestHead = 576;
/// Attention in float32, for what libraries do not compute. `sinks` may be null; logsumexp: [heads, tokens].
void plain_attention(Element element, Attention shape, HeadRows query, HeadRows key, HeadRows value, HeadRows out,
                     const float *sinks, float *logsumexp, cudaStream_t stream);
/// `means` has tokens x heads floats.
void plain_attention_backward(Element element, Attention shape, HeadRows grad, HeadRows query, HeadRows key,
                              HeadRows value, HeadRows out, const float *logsumexp, HeadRows dquery, HeadRows dkey,
                              HeadRows dvalue, float *means, cudaStream_t stream);
/// Adds e^sink to the sums whose logarithms are given, [heads, tokens], and scales the dense output accordingly.
void fold_sinks(Element element, const float *sinks, float *logsumexp, void *out, int64_t tokens, int64_t heads,
                int64_t width, cudaStream_t stream);
/// A row of `partial` for every kSinkTokens tokens: their share of the sinks' gradient, [rows, heads].
constexpr int64_t kSinkTokens = 64;
void sink_gradients(Element element, HeadRows grad, HeadRows out, const float *sinks, const float *logsumexp,
                    float *partial, int64_t tokens, int64_t heads, int64_t width, cudaStream_t stream);

// ---- float8_parts.cu
/// Elements start ..< start + count of `groups` matrices of rows x width.
struct FlatPart {
  int64_t start, count, groups, rows, width;
};
/// The largest magnitude, as bits, of what the part has of each block of 128 x 128.
void fp8_part_magnitudes(Element element, const void *x, int32_t *largest, FlatPart part, cudaStream_t stream);
/// The part's elements as e4m3, by the scales of all blocks.
void fp8_quantize_part(Element element, const void *x, void *values, const float *scales, FlatPart part,
                       cudaStream_t stream);

}  // namespace xtuner::cuda
