"""Hugging Face transformers, Qwen3MoeForCausalLM, with DENSE=1 Qwen3ForCausalLM.

usage: transformers_moe.py eager|grouped_mm|batched_mm  eager|compile|compile_layers  SEQ  STEPS  [bf16|mixed]

compile traces the whole model; there transformers builds a dense causal mask, so
SDPA loses is_causal and does twice the work. compile_layers compiles each decoder
layer, the mask stays None outside, and SDPA keeps is_causal.
bf16:  bf16 weights, gradients and AdamW state.
mixed: f32 weights, gradients and AdamW state, bf16 autocast around the forward.
"""
import sys

import common as c
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM


def build(impl, dtype):
    shared = dict(
        vocab_size=c.V, hidden_size=c.H, num_hidden_layers=c.L, num_attention_heads=c.HEADS, num_key_value_heads=c.KV,
        head_dim=c.HD, tie_word_embeddings=False, rms_norm_eps=c.EPS, max_position_embeddings=32768, use_cache=False)
    if c.DENSE:
        cfg = Qwen3Config(intermediate_size=c.I, **shared)
    else:
        cfg = Qwen3MoeConfig(
            intermediate_size=4 * c.H, num_experts=c.E, num_experts_per_tok=c.K, moe_intermediate_size=c.I,
            norm_topk_prob=True, output_router_logits=False, **shared)
    cfg._attn_implementation = "sdpa"
    if not c.DENSE:
        cfg._experts_implementation = impl
    torch.set_default_dtype(dtype)
    m = (Qwen3ForCausalLM if c.DENSE else Qwen3MoeForCausalLM)(cfg)
    torch.set_default_dtype(torch.float32)
    weights = c.weights(dtype)
    for name in [n for n in weights if n.endswith("mlp.gate_up_proj")]:
        gate, up = weights.pop(name).chunk(2)
        weights[name.replace("gate_up_proj", "gate_proj.weight")] = gate
        weights[name.replace("gate_up_proj", "up_proj.weight")] = up
    missing, unexpected = m.load_state_dict(weights, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    assert sum(p.numel() for p in m.parameters()) == c.n_params()
    return m.train()


def main():
    impl, comp, seq, steps = sys.argv[1], sys.argv[2] != "eager" and sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    prec = sys.argv[5] if len(sys.argv) > 5 else "bf16"
    m = build(impl, torch.bfloat16 if prec == "bf16" else torch.float32)
    _, optimize = c.adamw(m)
    f = torch.compile(m) if sys.argv[2] == "compile" else m
    if sys.argv[2] == "compile_layers":
        for layer in m.model.layers:
            layer.compile()

    def forward(ids):
        with torch.autocast("cpu", torch.bfloat16, enabled=prec == "mixed"):
            return f(input_ids=ids, labels=ids).loss

    c.bench("transformers", forward, lambda l: l.backward(), optimize, seq, steps, warm=3,
            extra=dict(impl=impl, compile=comp, dtype=prec))


if __name__ == "__main__":
    main()
