"""What every peer's program shares: the model's shape, its weights, the batches,
the clock, the FLOP count and the JSON line. Needs torch only.

Everything here is deterministic: the same weights and the same batches go into
every peer, so that the loss of step 1 agrees between peers to bf16 rounding.
"""
import json
import os
import resource
import statistics
import sys
import time


def process_age():
    """Seconds since this process was started (kernel clock, 10 ms grain)."""
    with open("/proc/self/stat") as f:
        start = int(f.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")


import torch  # noqa: E402

# Hidden size, layers, experts, experts per token, expert size, vocabulary, heads.
H, L, E, K, I, V = 512, 8, 32, 4, 256, 32768
HEADS, KV, HD = 8, 2, 64
# DENSE=1: a Qwen3 model without experts, of similar size; I is then the intermediate size.
DENSE = os.environ.get("DENSE") == "1"
if DENSE:
    H, L, I, HEADS, KV = 768, 12, 2304, 12, 4
THETA, EPS = 10000.0, 1e-6
EMB_STD = 1.0
LR, BETAS, WD, ADAM_EPS, CLIP = 1e-4, (0.9, 0.95), 0.1, 1e-8, 1.0
THREADS = int(os.environ.get("THREADS", os.cpu_count()))
torch.set_num_threads(THREADS)


def shapes():
    """(name, shape, kind) in the order in which the seeds are handed out."""
    out = [("model.embed_tokens.weight", (V, H), "normal")]
    for l in range(L):
        p = f"model.layers.{l}."
        out += [
            (p + "self_attn.q_proj.weight", (HEADS * HD, H), "normal"),
            (p + "self_attn.k_proj.weight", (KV * HD, H), "normal"),
            (p + "self_attn.v_proj.weight", (KV * HD, H), "normal"),
            (p + "self_attn.o_proj.weight", (H, HEADS * HD), "normal"),
            (p + "self_attn.q_norm.weight", (HD,), "one"),
            (p + "self_attn.k_norm.weight", (HD,), "one"),
        ]
        out += [
            (p + "mlp.gate_up_proj", (2 * I, H), "normal"),  # gate rows first
            (p + "mlp.down_proj.weight", (H, I), "normal"),
        ] if DENSE else [
            (p + "mlp.gate.weight", (E, H), "normal"),
            (p + "mlp.experts.gate_up_proj", (E, 2 * I, H), "normal"),
            (p + "mlp.experts.down_proj", (E, H, I), "normal"),
        ]
        out += [
            (p + "input_layernorm.weight", (H,), "one"),
            (p + "post_attention_layernorm.weight", (H,), "one"),
        ]
    return out + [("model.norm.weight", (H,), "one"), ("lm_head.weight", (V, H), "normal")]


def weights(dtype=torch.bfloat16, seed=0):
    """The model's weights under Hugging Face names (experts fused: gate rows
    first, up rows second). N(0, 0.02) drawn in f32, norms 1, one seed each.

    The embedding is N(0, EMB_STD): with 0.02 (Hugging Face's init) the hidden
    states of an untrained model are nearly the same for every token from layer 2
    on, so that 13 to 21 of the 32 experts get no token, as in no real run. With
    1.0 every expert gets about T K / E."""
    out = {}
    for i, (name, shape, kind) in enumerate(shapes()):
        if kind == "one":
            t = torch.ones(shape)
        else:
            t = torch.randn(shape, generator=torch.Generator().manual_seed(seed * 100003 + i)) * (EMB_STD if i == 0 else 0.02)
        out[name] = t.to(torch.bfloat16).to(dtype)  # the same bf16 values in every dtype
    return out


def batch(seq, step=0):
    """Step `step`'s tokens, (1, seq). A new batch every step, as in a real run:
    expert loads then differ from step to step. Tokens are drawn from
    1 / (rank + 2.7), rank from 1, over a shuffled vocabulary, so that the loss
    falls as the model learns the frequencies."""
    g = torch.Generator().manual_seed(7919 + step)
    p = 1.0 / (torch.arange(V, dtype=torch.float64) + 3.7)
    order = torch.randperm(V, generator=torch.Generator().manual_seed(7918))
    u = torch.rand(seq, generator=g, dtype=torch.float64) * p.sum()
    return order[torch.searchsorted(p.cumsum(0), u).clamp_(max=V - 1)][None]


def n_params():
    n = 0
    for _, s, _ in shapes():
        k = 1
        for d in s:
            k *= d
        n += k
    return n


def step_flops(seq):
    """Model FLOPs of one training step (2/MAC, fwd + 2x bwd, no recompute);
    causal attention counted at half."""
    feed_forward = 3 * H * I if DENSE else 3 * H * I * K + H * E
    act = L * (H * (HEADS + 2 * KV) * HD + HEADS * HD * H + feed_forward) + V * H
    return 6 * act * seq + L * 6 * seq * seq * HEADS * HD


def gemm_peak(m=2048, n=2048, k=2048, dtype=torch.bfloat16, rounds=8, per=5):
    """Best of `rounds` of `per` multiplications, FLOP/s."""
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    c = torch.empty(m, n, dtype=dtype)
    torch.mm(a, b, out=c)
    best = 0.0
    for _ in range(rounds):
        t = time.perf_counter()
        for _ in range(per):
            torch.mm(a, b, out=c)
        best = max(best, 2 * m * n * k * per / (time.perf_counter() - t))
    return best


class Quiet:
    """How many cores the rest of the machine used while we ran."""

    def __init__(self):
        self.hz = os.sysconf("SC_CLK_TCK")
        self.mark()

    def _now(self):
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
        busy = (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / self.hz
        t = os.times()
        return time.perf_counter(), busy, t.user + t.system + t.children_user + t.children_system

    def mark(self):
        self.at = self._now()

    def others(self):
        a, b = self.at, self._now()
        return max(0.0, ((b[1] - a[1]) - (b[2] - a[2])) / max(b[0] - a[0], 1e-9))


def wait_quiet(limit=0.15, patience=None):
    """Waits until the rest of the machine is idle for one second, at most
    `patience` seconds, 60 or PEERS_PATIENCE unless told."""
    if patience is None:
        patience = float(os.environ.get("PEERS_PATIENCE", "60"))
    q, end = Quiet(), time.perf_counter() + patience
    while time.perf_counter() < end:
        q.mark()
        time.sleep(1.0)
        if q.others() < limit:
            return True
    return False


def bench(peer, forward, backward, optimize, seq, steps, warm, extra):
    """Runs warm + steps training steps and prints the JSON line.

    forward(ids) -> loss tensor; backward(loss); optimize() -> grad norm.
    A step during which others used more than 0.15 core is run again (up to
    4 x steps in all), and is not counted."""
    losses, norms, clean, dirty, first = [], [], [], 0, None
    for i in range(warm):
        loss = forward(batch(seq, i))
        backward(loss)
        norms.append(float(optimize()))
        losses.append(float(loss.detach()))
        if first is None:
            first = process_age()
        print(f"{peer} warm {i} loss {losses[-1]:.4f} gnorm {norms[-1]:.4f} age {process_age():.1f}", file=sys.stderr)
    wait_quiet()
    peak = gemm_peak()
    q = Quiet()
    while len(clean) < steps and len(clean) + dirty < 4 * steps:
        ids = batch(seq, len(losses))
        q.mark()
        r0 = resource.getrusage(resource.RUSAGE_SELF)
        t0 = time.perf_counter()
        loss = forward(ids)
        t1 = time.perf_counter()
        backward(loss)
        t2 = time.perf_counter()
        norm = optimize()
        t3 = time.perf_counter()
        others = q.others()
        r1 = resource.getrusage(resource.RUSAGE_SELF)
        sys_s, faults = r1.ru_stime - r0.ru_stime, r1.ru_minflt - r0.ru_minflt
        losses.append(float(loss.detach()))
        norms.append(float(norm))
        ok = others < 0.15
        if ok:
            clean.append((t3 - t0, t1 - t0, t2 - t1, t3 - t2, sys_s))
        else:
            dirty += 1
        print(f"{peer} step {t3-t0:.3f}s fwd {t1-t0:.3f} bwd {t2-t1:.3f} opt {t3-t2:.3f} "
              f"sys {sys_s:.2f} faults {faults} loss {losses[-1]:.4f} "
              f"gnorm {norms[-1]:.3f} others {others:.2f}{'' if ok else ' DIRTY'}", file=sys.stderr)
    wait_quiet(patience=30)
    peak = max(peak, gemm_peak())
    use = clean or [(t3 - t0, t1 - t0, t2 - t1, t3 - t2, sys_s)]
    med = [statistics.median(x[j] for x in use) for j in range(5)]
    fl = step_flops(seq)
    line = dict(peer=peer, **extra, seq=seq, emb_std=EMB_STD, data="zipf", params=n_params() / 1e6, tok_s=seq / med[0], med=med[0],
                fwd=med[1], bwd=med[2], opt=med[3], sys=med[4], best=min(x[0] for x in use), gflops=fl / med[0] / 1e9,
                peak=peak / 1e9, mfu=fl / med[0] / peak,
                rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                first_step_s=first, clean=len(clean), dirty=dirty, torch=torch.__version__, threads=THREADS,
                alloc=os.environ.get("PEERS_ALLOC", "default"),
                loss=[round(x, 4) for x in losses[:10]], gnorm=[round(x, 4) for x in norms[:3]])
    line = {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
    print(json.dumps(line))
    return line


def adamw(model):
    """(optimizer, optimize()): clip by global norm, fused AdamW, zero grads."""
    ps = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(ps, lr=LR, betas=BETAS, eps=ADAM_EPS, weight_decay=WD, fused=True)

    def optimize():
        norm = torch.nn.utils.clip_grad_norm_(ps, CLIP, foreach=True)
        opt.step()
        opt.zero_grad(set_to_none=True)
        return norm

    return opt, optimize
