"""Hugging Face transformers, Qwen3MoeForCausalLM.

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
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM


def build(impl, dtype):
    cfg = Qwen3MoeConfig(
        vocab_size=c.V, hidden_size=c.H, intermediate_size=4 * c.H, num_hidden_layers=c.L,
        num_attention_heads=c.HEADS, num_key_value_heads=c.KV, head_dim=c.HD, num_experts=c.E,
        num_experts_per_tok=c.K, moe_intermediate_size=c.I, norm_topk_prob=True, tie_word_embeddings=False,
        rms_norm_eps=c.EPS, max_position_embeddings=32768, output_router_logits=False, use_cache=False)
    cfg._attn_implementation = "sdpa"
    cfg._experts_implementation = impl
    torch.set_default_dtype(dtype)
    m = Qwen3MoeForCausalLM(cfg)
    torch.set_default_dtype(torch.float32)
    missing, unexpected = m.load_state_dict(c.weights(dtype), strict=False)
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
