"""The machine's limits and the roofline of one training step.

usage: limits.py [SEQ ...]      (default 2048 8192)

Prints one JSON line: GEMM rates for every shape of the model (bf16, f32
accumulation, through torch = oneDNN), f32 GEMM peak, memory bandwidth, and per
sequence length the best possible step time. PEERS_BUDGET: seconds a shape, 0.6.

Roofline used (per step, S tokens, 2 FLOP per multiply-add):
  F_lin(S)  = 6 S (L (H (Hq + 2 Hkv) D + Hq D H + 3 H I K + H E) + V H)
  F_attn(S) = 6 L S^2 Hq D            causal half; + L S^2 Hq D if backward
                                      recomputes Q K^T as flash attention does
  B_opt     = P (2 + 14) bytes        bf16: norm reads g; AdamW reads p g m v, writes p m v
  B_w       = P (2 + 2 + 2) bytes     weights read in fwd and bwd, gradient written
  t_ideal   = max((F_lin + F_attn) / P_peak, (B_opt + B_w) / BW)
  t_real    = sum over GEMM shapes of F / P_shape  +  F_attn' / P_attn  +  B_opt / BW
t_real takes for every GEMM the rate measured for that very shape, attention at
the rate of its own per-head GEMMs, and no time at all for the elementwise work.
"""
import json
import os
import sys
import time

import common as c
import torch


def rate(m, k, n, ta=False, tb=False, dtype=torch.bfloat16, count=1, budget=0.6):
    """GFLOP/s of `count` different (m,k)@(k,n) products in a row, best of many.
    ta / tb: the operand is stored transposed (as nn.Linear's weight is)."""
    a = [(torch.randn(k, m).to(dtype).t() if ta else torch.randn(m, k).to(dtype)) for _ in range(count)]
    b = [(torch.randn(n, k).to(dtype).t() if tb else torch.randn(k, n).to(dtype)) for _ in range(count)]
    o = [torch.empty(m, n, dtype=dtype) for _ in range(count)]
    for x, y, z in zip(a, b, o):
        torch.mm(x, y, out=z)
    best, end = 1e9, time.perf_counter() + budget
    while time.perf_counter() < end:
        t = time.perf_counter()
        for x, y, z in zip(a, b, o):
            torch.mm(x, y, out=z)
        best = min(best, time.perf_counter() - t)
    return 2 * m * k * n * count / best / 1e9


def varied(step):
    """GFLOP/s of E expert products whose row counts change at every call, as
    they do in training, rounded up to a multiple of `step`. oneDNN generates
    code for each new shape (its cache holds 1,024), so step 1 shows that cost."""
    g = torch.Generator().manual_seed(0)
    w = [torch.randn(2 * c.I, c.H).bfloat16() for _ in range(c.E)]
    done = 0.0
    for r in range(24):
        m = (2048 * c.K / c.E * (1 + 0.25 * torch.randn(c.E, generator=g))).clamp_(min=1).long().tolist()
        m = [-(-x // step) * step for x in m]
        x = [torch.randn(k, c.H).bfloat16() for k in m]
        o = [torch.empty(k, 2 * c.I, dtype=torch.bfloat16) for k in m]
        t = time.perf_counter()
        for a, b, d in zip(x, w, o):
            torch.mm(a, b.t(), out=d)
        t = time.perf_counter() - t
        if r >= 4:
            done += 2 * sum(m) * c.H * 2 * c.I / t / 20
    return done / 1e9


def stream(n=1 << 28):
    """GB/s with THREADS threads over f32 arrays of n/4 elements (n bytes x 4)."""
    a, b, d = (torch.ones(n) for _ in range(3))
    out = {}
    for name, f, bytes_ in (("copy", lambda: b.copy_(a), 8), ("triad", lambda: torch.add(a, b, alpha=3.0, out=d), 12),
                            ("read", lambda: a.sum(), 4), ("write", lambda: b.zero_(), 4)):
        f()
        best = 1e9
        for _ in range(7):
            t = time.perf_counter()
            f()
            best = min(best, time.perf_counter() - t)
        out[name] = round(bytes_ * n / best / 1e9, 2)
    return out


def main():
    c.wait_quiet()
    S, T = 2048, 2048 * c.K // c.E  # T: tokens per expert when balanced
    q = (c.HEADS + 2 * c.KV) * c.HD
    shapes = {  # name: (m, k, n, ta, tb, count); fwd = x W^T, dx = dy W, dw = dy^T x
        "square 2048": (2048, 2048, 2048, False, False, 1),
        "2048x512x2048": (2048, 512, 2048, False, True, 1),
        "qkv fwd": (S, c.H, q, False, True, 1), "qkv dx": (S, q, c.H, False, False, 1), "qkv dw": (q, S, c.H, True, False, 1),
        "o fwd": (S, c.H, c.HEADS * c.HD, False, True, 1), "o dx": (S, c.H, c.HEADS * c.HD, False, False, 1),
        "o dw": (c.H, S, c.HEADS * c.HD, True, False, 1),
        "router fwd": (S, c.H, c.E, False, True, 1),
        "expert up fwd": (T, c.H, 2 * c.I, False, True, c.E), "expert up dx": (T, 2 * c.I, c.H, False, False, c.E),
        "expert up dw": (2 * c.I, T, c.H, True, False, c.E),
        "expert down fwd": (T, c.I, c.H, False, True, c.E), "expert down dx": (T, c.H, c.I, False, False, c.E),
        "expert down dw": (c.H, T, c.I, True, False, c.E),
        "head fwd": (S, c.H, c.V, False, True, 1), "head dx": (S, c.V, c.H, False, False, 1), "head dw": (c.V, S, c.H, True, False, 1),
        "head fwd 256": (256, c.H, c.V, False, True, 1),
        "attn qk": (S, c.HD, S, False, True, 8), "attn pv": (S, S, c.HD, False, False, 8),
        "attn qk tile": (256, c.HD, 512, False, True, 32), "attn pv tile": (256, 512, c.HD, False, False, 32),
    }
    budget = float(os.environ.get("PEERS_BUDGET", "0.6"))
    g = {k: round(rate(*v[:3], ta=v[3], tb=v[4], count=v[5], budget=budget), 1) for k, v in shapes.items()}
    peak = max(c.gemm_peak() / 1e9, max(g.values()))
    vary = {f"rows to a multiple of {k}": round(varied(k), 1) for k in (1, 16, 32, 64)}
    f32 = rate(2048, 2048, 2048, dtype=torch.float32)
    bw = stream()
    rows = {}
    for s in [int(x) for x in sys.argv[1:]] or [2048, 8192]:
        gf = 2 * s * 1e-9  # GFLOP per (in x out) of one pass
        lin = {"qkv": c.L * c.H * q, "o": c.L * c.H * c.HEADS * c.HD,
               "expert up": c.L * c.K * c.H * 2 * c.I, "expert down": c.L * c.K * c.H * c.I, "head": c.V * c.H}
        t = sum(w * gf * (1 / g[n + " fwd"] + 1 / g[n + " dx"] + 1 / g[n + " dw"]) for n, w in lin.items())
        t += 3 * c.L * c.H * c.E * gf / g["router fwd"]
        attn = 6 * c.L * s * s * c.HEADS * c.HD * 1e-9
        pv, qk = max(g["attn pv"], g["attn pv tile"]), max(g["attn qk"], g["attn qk tile"])
        t_attn = attn * 7 / 6 / (2 / (1 / pv + 1 / qk))
        t_opt = c.n_params() * 16 / bw["triad"] / 1e9
        ideal = max(c.step_flops(s) / 1e9 / peak, c.n_params() * 22 / bw["triad"] / 1e9)
        real = t + t_attn + t_opt
        rows[s] = dict(gflop=round(c.step_flops(s) / 1e9, 1), ideal_s=round(ideal, 4), ideal_tok_s=round(s / ideal),
                       linear_s=round(t, 4), attn_s=round(t_attn, 4), opt_s=round(t_opt, 4), real_s=round(real, 4),
                       real_tok_s=round(s / real))
    print(json.dumps(dict(peer="limits", torch=torch.__version__, threads=c.THREADS, params=round(c.n_params() / 1e6, 3),
                          bf16_peak=round(peak, 1), f32_peak=round(f32, 1), stream=bw, gemm=g, expert_rows_varied=vary, roofline=rows)))


if __name__ == "__main__":
    main()
