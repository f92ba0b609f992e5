// The schemas of the operators, so that every backend registers kernels for the same names.
#include <torch/library.h>

TORCH_LIBRARY(xtuner, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float epsilon) -> (Tensor, Tensor)");
  m.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, Tensor scale) -> (Tensor, Tensor)");
  m.def("add_rms_norm(Tensor x, Tensor residual, Tensor weight, float epsilon) -> (Tensor, Tensor, Tensor)");
  m.def(
      "add_rms_norm_backward(Tensor grad, Tensor? sum_grad, Tensor sum, Tensor weight, Tensor scale) "
      "-> (Tensor, Tensor)");
  m.def(
      "norm_rotary(Tensor x, Tensor weight, float epsilon, Tensor cosine, Tensor sine, bool interleaved) "
      "-> (Tensor, Tensor)");
  m.def(
      "norm_rotary_backward(Tensor grad, Tensor x, Tensor weight, Tensor scale, Tensor cosine, Tensor sine, "
      "bool interleaved) -> (Tensor, Tensor)");
  m.def("rotary(Tensor x, Tensor cosine, Tensor sine, bool interleaved, bool inverse) -> Tensor");
  m.def("swiglu(Tensor gate_up) -> Tensor");
  m.def("swiglu_backward(Tensor grad, Tensor gate_up) -> Tensor");
  m.def(
      "varlen_attention(Tensor query, Tensor key, Tensor value, Tensor bounds, float scale, int window, "
      "Tensor? sinks) -> (Tensor, Tensor)");
  m.def(
      "varlen_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, "
      "Tensor logsumexp, Tensor bounds, float scale, int window, Tensor? sinks) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("product(Tensor a, Tensor b) -> Tensor");
  m.def("add_product_(Tensor(a!) into, Tensor a, Tensor b) -> ()");
  m.def("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def(
      "linear_backward(Tensor grad, Tensor x, Tensor weight, bool needs_x, bool needs_weight, bool needs_bias) "
      "-> (Tensor, Tensor, Tensor)");
  m.def("grouped_linear(Tensor x, Tensor weight, Tensor offsets) -> Tensor");
  m.def("grouped_linear_backward(Tensor grad, Tensor x, Tensor weight, Tensor offsets) -> (Tensor, Tensor)");
  m.def("permute_rows(Tensor x, Tensor token_of_row) -> Tensor");
  m.def("sum_rows(Tensor rows, Tensor row_of_slot) -> Tensor");
  m.def("unpermute_rows(Tensor rows, Tensor weights, Tensor row_of_slot) -> Tensor");
  m.def("unpermute_rows_backward(Tensor grad, Tensor rows, Tensor weights, Tensor row_of_slot) -> (Tensor, Tensor)");
  m.def(
      "adamw_(Tensor(a!) master, Tensor gradient, Tensor(b!) first, Tensor(c!) second, Tensor(d!)? copy, "
      "float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, int step, "
      "float gradient_scale) -> ()");
  m.def(
      "adamw_rounded_(Tensor(a!) weights, Tensor gradient, Tensor(b!) first, Tensor(c!) second, float learning_rate, "
      "float beta1, float beta2, float epsilon, float weight_decay, int step, float gradient_scale, int seed, "
      "int start, int first_place, int row, int gap) -> ()");
  m.def("squared_sum(Tensor x) -> Tensor");
  m.def("router_scores(Tensor logits) -> (Tensor, Tensor)");
  m.def("router_scores_backward(Tensor? grad, Tensor? sum_grad, Tensor scores) -> Tensor");
  m.def("route_top_k(Tensor scores, int k) -> Tensor");
  m.def("expert_order(Tensor experts, int expert_count) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("cross_entropy(Tensor logits, Tensor targets) -> (Tensor, Tensor)");
  m.def("cross_entropy_(Tensor(a!) logits, Tensor targets, Tensor weights, float z_loss) -> (Tensor, Tensor)");
  m.def("add_rows_(Tensor(a!) into, Tensor rows, Tensor indices) -> ()");
  // float8_e4m3fn; shapes are in ctorch.h, the rule is in fp8_rule.h. `native` products are the device's own, the others
  // those of float32 numbers.
  m.def("fp8_quantize_rows(Tensor x) -> (Tensor, Tensor)");
  m.def("fp8_quantize_blocks(Tensor x) -> (Tensor, Tensor)");
  m.def("fp8_quantize_columns(Tensor x, Tensor? offsets) -> (Tensor, Tensor)");
  m.def("fp8_quantize_both(Tensor x, Tensor? offsets) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_swiglu_rows(Tensor gate_up) -> (Tensor, Tensor)");
  m.def("fp8_swiglu_columns(Tensor gate_up, Tensor? offsets) -> (Tensor, Tensor)");
  m.def(
      "fp8_rms_norm(Tensor x, Tensor? residual, Tensor weight, float epsilon) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_dequantize(Tensor values, Tensor scales, int tile_rows, ScalarType dtype) -> Tensor");
  m.def(
      "fp8_product(Tensor x, Tensor x_scales, Tensor weight, Tensor weight_scales, Tensor? bias, bool native) "
      "-> Tensor");
  m.def(
      "fp8_grouped_product(Tensor x, Tensor x_scales, Tensor weight, Tensor weight_scales, Tensor offsets, "
      "bool native) -> Tensor");
  m.def(
      "fp8_weight_gradient(Tensor grad, Tensor grad_scales, Tensor x, Tensor x_scales, Tensor? offsets, "
      "ScalarType dtype, bool native) -> Tensor");
  m.def("fp8_part_magnitudes(Tensor x, int start, int groups, int rows, int width) -> Tensor");
  m.def("fp8_quantize_part_(Tensor(a!) values, Tensor x, Tensor scales, int start, int rows, int width) -> ()");
}
