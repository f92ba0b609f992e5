// FlashAttention-2 or cuDNN's attention for packs of one sample: whichever is faster, as measured at the first use.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../arguments.h"

namespace xtuner::cuda_operators {

/// The tensors of one pass: forward output and logarithms of sums [heads, tokens]; backward three gradients.
using Results = std::vector<Tensor>;
/// A pass over the first `tokens` of the pack.
using Pass = std::function<Results(int64_t tokens)>;

/// Whether cuDNN's attention of libtorch computes the same as FlashAttention: one sample with all tokens, no window that
/// hides any of it, and no wish for the same bits in every run, since its gradients are added atomically.
///
/// libtorch gives cuDNN no offsets of samples that could be used: for a ragged pack it builds cuDNN's plan anew in each
/// call. For one sample it keeps the plan, for each length one, so that only a process's first lengths have them.
bool cudnn_fits(const Tensor &query, const Tensor &value, int64_t longest, int64_t window);

/// Output and logarithms of sums, as FlashAttention gives them. Query, key, value: [tokens, heads, width].
Results cudnn_forward(const Tensor &query, const Tensor &key, const Tensor &value, double scale);
/// Gradients of query, key and value from what forward gave, sinks folded in or not. `sums`: [heads, tokens].
Results cudnn_backward(const Tensor &grad, const Tensor &query, const Tensor &key, const Tensor &value,
                       const Tensor &out, const Tensor &sums, double scale);

/// Runs the faster of both where `cudnn_fits`.
///
/// At the first use of a class of shapes both run on the first tokens, at most 16,384, and are timed, for which the
/// device is waited for; cuDNN is taken where it is faster by a twentieth and gives what FlashAttention gives.
Results run_faster(const char *what, const Tensor &query, const Tensor &key, const Tensor &value, const Pass &flash,
                   const Pass &cudnn);

/// Takes "flash" or "cudnn" wherever both fit, or the faster again ("measured"). False for another name.
bool pin_attention(const std::string &name);
/// A line for each class of shapes that was measured.
std::vector<std::string> attention_choices();

}  // namespace xtuner::cuda_operators
