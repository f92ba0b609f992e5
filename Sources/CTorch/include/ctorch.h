// CTorch: the only C surface between Swift and libtorch. No C++ type crosses this header.
//
// Every function returns a status; on anything but CTStatusOK the message is in ct_last_error() of
// the same thread and no output is written. Outputs are +1: the caller frees them.
#ifndef CTORCH_H
#define CTORCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

typedef struct ct_tensor ct_tensor;            // owns one reference to a TensorImpl
typedef struct ct_tensor_list ct_tensor_list;  // owns a list of tensors
typedef struct ct_generator ct_generator;      // owns one random number generator

typedef enum __attribute__((enum_extensibility(closed))) CTStatus : int32_t {
  CTStatusOK = 0,
  CTStatusInvalidArgument = 1,
  CTStatusOutOfMemory = 2,
  CTStatusDistributed = 3,
  CTStatusInternal = 4,
} CTStatus __attribute__((warn_unused_result));

/// A number passed to an operator: exactly one member is meaningful, `is_integer` says which.
typedef struct CTScalar {
  bool is_integer;
  int64_t integer;
  double real;
} CTScalar;

/// A device: c10::DeviceType as a number and an index, -1 for the current one.
typedef struct CTDevice {
  int8_t type;
  int8_t index;
} CTDevice;

/// Message of the last failure on this thread; valid until the next ctorch call on it.
const char *ct_last_error(void);

// ---- Tensors

void ct_tensor_free(ct_tensor *tensor);
/// Number of live ct_tensor and ct_tensor_list handles in the process.
int64_t ct_live_handle_count(void);
/// A new handle on the same tensor.
CTStatus ct_tensor_retain(ct_tensor *tensor, ct_tensor *_Nullable *_Nonnull out);

int32_t ct_tensor_dim(const ct_tensor *tensor);
/// Writes `ct_tensor_dim` sizes.
void ct_tensor_sizes(const ct_tensor *tensor, int64_t *out);
void ct_tensor_strides(const ct_tensor *tensor, int64_t *out);
int64_t ct_tensor_element_count(const ct_tensor *tensor);
/// c10::ScalarType as a number.
int32_t ct_tensor_dtype(const ct_tensor *tensor);
int64_t ct_dtype_size(int32_t dtype);
CTDevice ct_tensor_device(const ct_tensor *tensor);
bool ct_tensor_is_contiguous(const ct_tensor *tensor);
bool ct_tensor_requires_grad(const ct_tensor *tensor);
bool ct_tensor_has_grad_fn(const ct_tensor *tensor);
/// Whether both share one storage.
bool ct_tensor_shares_storage(const ct_tensor *a, const ct_tensor *b);
/// Whether both are on one device and start at the same address.
bool ct_tensor_has_same_memory(const ct_tensor *a, const ct_tensor *b);

/// The address of the first element of a CPU tensor. It must be contiguous.
CTStatus ct_tensor_data(ct_tensor *tensor, void *_Nullable *_Nonnull out);
/// Copies `byte_count` bytes from host memory into a new contiguous tensor; does not wait for the device.
CTStatus ct_tensor_from_bytes(const void *_Nullable bytes, size_t byte_count, const int64_t *sizes, size_t sizes_count,
                              int32_t dtype, CTDevice device, ct_tensor *_Nullable *_Nonnull out);
/// A tensor over memory that it does not own. `release(context)` runs when the last view is gone.
CTStatus ct_tensor_from_memory(void *_Nullable memory, const int64_t *sizes, size_t sizes_count, int32_t dtype,
                               void (*release)(void *_Nullable), void *_Nullable context,
                               ct_tensor *_Nullable *_Nonnull out);
/// Copies a tensor of any device and stride to host memory of exactly `byte_count` bytes. Waits.
CTStatus ct_tensor_copy_to_host(ct_tensor *tensor, void *_Nullable bytes, size_t byte_count);
/// The one element as a double. Waits for the device.
CTStatus ct_tensor_item(ct_tensor *tensor, double *out);
CTStatus ct_tensor_item_integer(ct_tensor *tensor, int64_t *out);

size_t ct_tensor_list_count(const ct_tensor_list *list);
/// Moves element `index` out of the list; a missing (undefined) element gives NULL.
CTStatus ct_tensor_list_take(ct_tensor_list *list, size_t index, ct_tensor *_Nullable *_Nonnull out);
void ct_tensor_list_free(ct_tensor_list *list);

// ---- Autograd

CTStatus ct_tensor_set_requires_grad(ct_tensor *tensor, bool value);
/// Gradients of `outputs` (weighted by `grad_outputs`) with respect to `inputs`. An input that does
/// not take part has a missing element when `allow_unused`, else it is an error.
CTStatus ct_autograd_grad(ct_tensor *_Nonnull const *_Nonnull outputs, size_t output_count,
                          ct_tensor *_Nonnull const *_Nonnull inputs, size_t input_count,
                          ct_tensor *_Nullable const *_Nonnull grad_outputs, bool retain_graph, bool allow_unused,
                          ct_tensor_list *_Nullable *_Nonnull out);
/// A tensor without elements at the place that `tensor` has in its graph.
CTStatus ct_tensor_graph_end(ct_tensor *tensor, ct_tensor *_Nullable *_Nonnull out);
/// Sets gradient recording on this thread and returns the previous value.
bool ct_grad_mode_set(bool enabled);
bool ct_grad_mode_get(void);

// ---- Random numbers

CTStatus ct_generator_create(CTDevice device, uint64_t seed, ct_generator *_Nullable *_Nonnull out);
void ct_generator_free(ct_generator *generator);
/// Fills each tensor with normal numbers of a generator of its own, on all threads.
CTStatus ct_fill_normal(ct_tensor *const _Nonnull *_Nonnull tensors, const uint64_t *seeds, int64_t count, double mean,
                        double deviation);
/// The state as a uint8 tensor, and back.
CTStatus ct_generator_get_state(ct_generator *generator, ct_tensor *_Nullable *_Nonnull out);
CTStatus ct_generator_set_state(ct_generator *generator, ct_tensor *state);

// ---- Process

/// Makes large tensors come from an arena whose pages stay with the process, and the C allocator keep
/// its own: a training step frees and takes the same blocks again, and page faults would cost more
/// than its arithmetic. To be called before the first large allocation.
CTStatus ct_keep_freed_memory(void);
/// Bytes of the arena that tensors have, and that it keeps.
int64_t ct_arena_used_bytes(void);
int64_t ct_arena_kept_bytes(void);
CTStatus ct_set_thread_count(int32_t count);
int32_t ct_thread_count(void);
void ct_set_deterministic(bool enabled);
/// Name and version of libtorch and its CPU capability, such as "2.11.0" and "AVX512".
const char *ct_torch_version(void);
const char *ct_cpu_capability(void);
bool ct_has_bf16_hardware(void);

// ---- Profiles: which operators this thread calls, see profile.cpp. Nothing is paid while none is on.

typedef struct ct_profile ct_profile;
/// One operator, or one with its input shapes: `seconds` without and `total_seconds` with the operators it
/// calls; flops 0 where unknown; bytes of inputs and outputs, each once.
typedef struct CTOperation {
  const char *name;
  const char *shapes;
  int64_t calls;
  double seconds;
  double total_seconds;
  double flops;
  double bytes;
} CTOperation;
/// Tensor memory taken on the thread: blocks, their bytes, and the most beyond what was held at the start.
typedef struct CTProfileMemory {
  int64_t allocations;
  int64_t bytes;
  int64_t peak_bytes;
} CTProfileMemory;
/// Starts the only profile of this thread; to be stopped on the same thread.
CTStatus ct_profile_start(bool by_shape, ct_profile *_Nullable *_Nonnull out);
CTStatus ct_profile_stop(ct_profile *profile);
size_t ct_profile_operation_count(const ct_profile *profile);
/// The texts live as long as the profile.
CTOperation ct_profile_operation(const ct_profile *profile, size_t index);
CTProfileMemory ct_profile_memory(const ct_profile *profile);
void ct_profile_free(ct_profile *profile);

// ---- Operators of our own, `xtuner::`. Every CPU kernel has a composite reference.

/// y = weight * x / sqrt(mean(x^2) + epsilon) over the last dimension. x: [..., D], weight: [D].
CTStatus ct_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon, bool reference,
                     ct_tensor *_Nullable *_Nonnull out);
/// x + residual, and its norm as of ct_rms_norm. x, residual: [..., D], weight: [D].
CTStatus ct_add_rms_norm(ct_tensor *x, ct_tensor *residual, ct_tensor *weight, double epsilon, bool reference,
                         ct_tensor *_Nullable *_Nonnull out_sum, ct_tensor *_Nullable *_Nonnull out);
/// ct_rotary of ct_rms_norm, equal to the two to the last bit. x: [T, H, d] with dense heads, weight: [d].
CTStatus ct_norm_rotary(ct_tensor *x, ct_tensor *weight, double epsilon, ct_tensor *cosine, ct_tensor *sine,
                        bool interleaved, bool reference, ct_tensor *_Nullable *_Nonnull out);
/// Half-split rotation. x: [T, H, d], cos and sin: [T, d/2] f32; dims beyond 2*d/2 of x do not exist.
CTStatus ct_rotary(ct_tensor *x, ct_tensor *cosine, ct_tensor *sine, bool interleaved, bool reference,
                   ct_tensor *_Nullable *_Nonnull out);
/// silu(gate) * up. gate_up: [T, 2 I], gate first -> [T, I].
CTStatus ct_swiglu(ct_tensor *gate_up, bool reference, ct_tensor *_Nullable *_Nonnull out);
/// Attention inside samples. query: [T, H, d], key: [T, G, d], value: [T, G, dv]; bounds: [N + 1]
/// int64 on the host; causal. window 0 = unlimited, else key j is visible iff 0 <= i - j < window.
/// sinks: [H] f32 or NULL. -> [T, H, dv].
CTStatus ct_varlen_attention(ct_tensor *query, ct_tensor *key, ct_tensor *value, ct_tensor *bounds, double scale,
                             int64_t window, ct_tensor *_Nullable sinks, bool reference,
                             ct_tensor *_Nullable *_Nonnull out);
/// x weight^T + bias. x: [..., K], weight: [N, K], bias: [N] or NULL -> [..., N].
CTStatus ct_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *_Nullable bias, bool reference,
                   ct_tensor *_Nullable *_Nonnull out);
/// Rows of group e times weight[e] transposed. x: [R, K], weight: [E, N, K], offsets: [E] int64 on the
/// device of x, the end of each group -> [R, N].
CTStatus ct_grouped_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *offsets, bool reference,
                           ct_tensor *_Nullable *_Nonnull out);
/// Rows of x in the order of `token_of_row`. x: [T, D], token_of_row: [T K] int64 -> [T K, D]. The
/// gradient sums the K rows of a token; row_of_slot: [T, K] int64 is the inverse.
CTStatus ct_permute_rows(ct_tensor *x, ct_tensor *token_of_row, ct_tensor *row_of_slot, bool reference,
                         ct_tensor *_Nullable *_Nonnull out);
/// y[t] = sum_k weights[t, k] * rows[row_of_slot[t, k]]. rows: [T K, D], weights: [T, K] f32 -> [T, D].
CTStatus ct_unpermute_rows(ct_tensor *rows, ct_tensor *weights, ct_tensor *row_of_slot, bool reference,
                           ct_tensor *_Nullable *_Nonnull out);
/// Softmax and log-sum-exp of each row. logits: [T, E] f32 or f64 -> [T, E], [T].
CTStatus ct_router_scores(ct_tensor *logits, bool reference, ct_tensor *_Nullable *_Nonnull out_scores,
                          ct_tensor *_Nullable *_Nonnull out_log_sum_exp);

// ---- Operators without gradients.

/// a: [m, k], b: [k, n] -> [m, n].
CTStatus ct_product(ct_tensor *a, ct_tensor *b, ct_tensor *_Nullable *_Nonnull out);
/// into [m, n] += a b; `into` has the dtype of both or is float32, and then so is the sum.
CTStatus ct_add_product(ct_tensor *into, ct_tensor *a, ct_tensor *b);

/// One step of AdamW in place on contiguous float32 tensors of one size, as torch.optim.AdamW: the gradient, f32 or
/// bf16, times `gradient_scale`, decoupled decay, bias correction of `step` (from 1). `copy`, bf16 or f16, gets the
/// new weights.
CTStatus ct_adamw(ct_tensor *master, ct_tensor *gradient, ct_tensor *first, ct_tensor *second,
                  ct_tensor *_Nullable copy, double learning_rate, double beta1, double beta2, double epsilon,
                  double weight_decay, int64_t step, double gradient_scale);
/// The same with bf16 weights and moments. Weights and second moments are rounded stochastically, by random bits that
/// are a function of the low 32 bits of `seed` and of `start` plus an element's index.
CTStatus ct_adamw_rounded(ct_tensor *weights, ct_tensor *gradient, ct_tensor *first, ct_tensor *second,
                          double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                          int64_t step, double gradient_scale, int64_t seed, int64_t start);
/// The sum of squares of a contiguous tensor as a float64 scalar; the same for every number of threads.
CTStatus ct_squared_sum(ct_tensor *x, ct_tensor *_Nullable *_Nonnull out);
/// into[indices[r]] += rows[r], in the order of r. into: [V, D] f32, rows: [R, D], indices: [R] int64.
CTStatus ct_add_rows(ct_tensor *into, ct_tensor *rows, ct_tensor *indices);
/// The columns of the k largest scores of each row, largest first, of equal ones the first. scores: [T, E] f32 or
/// f64 -> [T, k] int64.
CTStatus ct_route_top_k(ct_tensor *scores, int64_t k, bool reference, ct_tensor *_Nullable *_Nonnull out);
/// Orders that follow from a choice, experts: [T, K] int64. Rows are sorted by expert, then by token. -> the token of
/// each row [T K], the row of each slot [T, K], the rows of each expert [E], the end of each expert's rows [E].
CTStatus ct_expert_order(ct_tensor *experts, int64_t expert_count, bool reference,
                         ct_tensor *_Nullable *_Nonnull out_token_of_row,
                         ct_tensor *_Nullable *_Nonnull out_row_of_slot, ct_tensor *_Nullable *_Nonnull out_counts,
                         ct_tensor *_Nullable *_Nonnull out_offsets);
/// The log-sum-exp of each row and the loss, log-sum-exp - logits[target]. logits: [C, V], targets: [C] int64,
/// weights: [C] f32 or NULL -> [C], [C] f32 (f64 for f64). With weights, the logits become the gradient
/// w * (softmax - onehot) + w * 2 * z_loss * log-sum-exp * softmax.
CTStatus ct_cross_entropy(ct_tensor *logits, ct_tensor *targets, ct_tensor *_Nullable weights, double z_loss,
                          bool reference, ct_tensor *_Nullable *_Nonnull out_losses,
                          ct_tensor *_Nullable *_Nonnull out_log_sum_exp);

// ---- float8_e4m3fn: values and float32 scales, by the rule in operators/float8/rule.h. Inputs are bf16 or f32.

/// Tiles of 128 elements of a row. x: [R, K] -> values [R, K], scales [R, ceil(K / 128)] with strides (1, R).
CTStatus ct_fp8_quantize_rows(ct_tensor *x, bool reference, ct_tensor *_Nullable *_Nonnull out_values,
                              ct_tensor *_Nullable *_Nonnull out_scales);
/// Blocks of 128 x 128. x: [N, K] or [E, N, K] -> values of that shape, scales [(E,) ceil(N / 128), ceil(K / 128)].
CTStatus ct_fp8_quantize_blocks(ct_tensor *x, bool reference, ct_tensor *_Nullable *_Nonnull out_values,
                                ct_tensor *_Nullable *_Nonnull out_scales);
/// Tiles of 128 elements of a column, transposed: the operands of a weight's gradient. Each group of rows starts a
/// tile, with zeros beyond its end. x: [R, K], offsets: [E] int64, the end of each group, or NULL for one group ->
/// values [K, P], scales [K, P / 128] with strides (1, K); P = (R + 127 E) / 128 * 128, with zeros of scale 1 after
/// the last group.
CTStatus ct_fp8_quantize_columns(ct_tensor *x, ct_tensor *_Nullable offsets, bool reference,
                                 ct_tensor *_Nullable *_Nonnull out_values, ct_tensor *_Nullable *_Nonnull out_scales);
/// The two, of which the second one is made of the same reading of x.
CTStatus ct_fp8_quantize_both(ct_tensor *x, ct_tensor *_Nullable offsets, bool reference,
                              ct_tensor *_Nullable *_Nonnull out_rows, ct_tensor *_Nullable *_Nonnull out_row_scales,
                              ct_tensor *_Nullable *_Nonnull out_columns,
                              ct_tensor *_Nullable *_Nonnull out_column_scales);
/// Rows and columns of silu(gate) * up, rounded to the elements' type. gate_up: [R, 2 K].
CTStatus ct_fp8_swiglu_rows(ct_tensor *gate_up, bool reference, ct_tensor *_Nullable *_Nonnull out_values,
                            ct_tensor *_Nullable *_Nonnull out_scales);
CTStatus ct_fp8_swiglu_columns(ct_tensor *gate_up, ct_tensor *_Nullable offsets, bool reference,
                               ct_tensor *_Nullable *_Nonnull out_values, ct_tensor *_Nullable *_Nonnull out_scales);
/// ct_rms_norm, or with a residual ct_add_rms_norm, whose result is quantised in rows too. x: [R, K]; the sum is x where
/// there is no residual.
CTStatus ct_fp8_rms_norm(ct_tensor *x, ct_tensor *_Nullable residual, ct_tensor *weight, double epsilon, bool reference,
                         ct_tensor *_Nullable *_Nonnull out_sum, ct_tensor *_Nullable *_Nonnull out,
                         ct_tensor *_Nullable *_Nonnull out_values, ct_tensor *_Nullable *_Nonnull out_scales);
/// values times their scales. tile_rows: 1 for rows and columns, 128 for blocks; dtype: bf16 or f32.
CTStatus ct_fp8_dequantize(ct_tensor *values, ct_tensor *scales, int64_t tile_rows, int32_t dtype, bool reference,
                           ct_tensor *_Nullable *_Nonnull out);
/// x weight^T + bias in float32, rounded to bf16. Native products are the device's own, which only some have; others
/// multiply float32 numbers. x: [R, K] in rows, weight: [N, K] in blocks, or the transposed view
/// of values and scales of [K, N]; bias: [N] -> [R, N] bf16. With offsets, [E] int64, weight is [E, N, K].
CTStatus ct_fp8_product(ct_tensor *x, ct_tensor *x_scales, ct_tensor *weight, ct_tensor *weight_scales,
                        ct_tensor *_Nullable bias, ct_tensor *_Nullable offsets, bool native, bool reference,
                        ct_tensor *_Nullable *_Nonnull out);
/// grad x^T in float32. grad: [N, P], x: [K, P] in columns of the same groups -> [N, K], or [E, N, K] with offsets.
CTStatus ct_fp8_weight_gradient(ct_tensor *grad, ct_tensor *grad_scales, ct_tensor *x, ct_tensor *x_scales,
                                ct_tensor *_Nullable offsets, int32_t dtype, bool native, bool reference,
                                ct_tensor *_Nullable *_Nonnull out);
/// As ct_linear and ct_grouped_linear on bf16, with all products, those of gradients too, of quantised operands. With
/// values and scales, the weight in blocks, elements of the weight are not read; it may be without memory. x_values and
/// x_scales are x in rows, where that has been made already.
CTStatus ct_fp8_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *_Nullable bias, ct_tensor *_Nullable values,
                       ct_tensor *_Nullable scales, ct_tensor *_Nullable x_values, ct_tensor *_Nullable x_scales,
                       bool native, ct_tensor *_Nullable *_Nonnull out);
/// The same of silu(gate) * up, which is neither written nor kept. gate_up: [R, 2 K]; with offsets a product of groups.
CTStatus ct_fp8_swiglu_linear(ct_tensor *gate_up, ct_tensor *weight, ct_tensor *_Nullable bias,
                              ct_tensor *_Nullable offsets, ct_tensor *_Nullable values, ct_tensor *_Nullable scales,
                              bool native, ct_tensor *_Nullable *_Nonnull out);
CTStatus ct_fp8_grouped_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *offsets, ct_tensor *_Nullable values,
                               ct_tensor *_Nullable scales, bool native, ct_tensor *_Nullable *_Nonnull out);
/// Of elements start ..< start + n, x: [n], of matrices [groups, rows, width]: the largest magnitude in each block of
/// 128 x 128, as float32 bits -> [groups, ceil(rows / 128), ceil(width / 128)] int32, 0 for blocks that x has nothing of.
CTStatus ct_fp8_part_magnitudes(ct_tensor *x, int64_t start, int64_t groups, int64_t rows, int64_t width,
                                bool reference, ct_tensor *_Nullable *_Nonnull out);
/// The scales of blocks with these magnitudes, float32 of the same shape.
CTStatus ct_fp8_scales(ct_tensor *magnitudes, ct_tensor *_Nullable *_Nonnull out);
/// values: [n] e4m3 gets the quantised x: [n], by the scales of all blocks of the matrices.
CTStatus ct_fp8_quantize_part(ct_tensor *values, ct_tensor *x, ct_tensor *scales, int64_t start, int64_t rows,
                              int64_t width, bool reference);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
