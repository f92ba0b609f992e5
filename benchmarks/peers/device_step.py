"""A training step of another engine on one device, with the numbers of `xtuner bench step --device`.

usage: device_step.py transformers|torchtitan --shapes JSON --seq N [options]

The model, weights (bf16, drawn on the device from the same seeds), batches and AdamW are those of `xtuner bench step
--state bf16`, so that the losses agree to bf16 rounding. Shapes are the keys `vocabulary hidden layers heads kv_heads
head_dimension theta`, and `experts experts_per_token expert_size` or `dense_size`.

transformers: grouped products of experts (torch's _grouped_mm) and the fastest attention that PyTorch has,
scaled_dot_product_attention with cuDNN before FlashAttention. torchtitan 0.2.2, the last for torch 2.11: its model code,
without its trainer; with --compile what its apply_compile does. Prints one JSON line; ends with 3 when memory is out.
"""
import argparse
import contextlib
import json
import statistics
import sys
import time

import torch

from device_models import torchtitan_model, transformers_model

LR, BETAS, DECAY, ADAM_EPS, CLIP = 1e-4, (0.9, 0.95), 0.1, 1e-8, 1.0
# Dense bf16 FLOP/s of NVIDIA's data sheets, as in Throughput.bfloat16Rate.
RATES = [("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989.4e12), ("H200", 989.4e12), ("A100", 312e12),
         ("B200", 2250e12), ("L40S", 362e12)]


def names(s):
    """(name, shape) in the order in which seeds are handed out; a shape of one dim is a norm."""
    d, h = s["head_dimension"], s["hidden"]
    out = [("embed", (s["vocabulary"], h))]
    for layer in range(s["layers"]):
        p = f"{layer}."
        out += [(p + "q", (s["heads"] * d, h)), (p + "k", (s["kv_heads"] * d, h)), (p + "v", (s["kv_heads"] * d, h)),
                (p + "o", (h, s["heads"] * d)), (p + "q_norm", (d,)), (p + "k_norm", (d,))]
        if s.get("dense_size"):
            out += [(p + "gate_up", (2 * s["dense_size"], h)), (p + "down", (h, s["dense_size"]))]
        else:
            e, i = s["experts"], s["expert_size"]
            out += [(p + "router", (e, h)), (p + "gate_up", (e, 2 * i, h)), (p + "down", (e, h, i))]
        out += [(p + "norm1", (h,)), (p + "norm2", (h,))]
    return out + [("norm", (h,)), ("head", (s["vocabulary"], h))]


@torch.no_grad()
def fill(targets, shapes, device):
    """Draws every weight and copies it to where `targets[name]` says; gate and up may be two tensors."""
    for seed, (name, shape) in enumerate(names(shapes)):
        if len(shape) == 1:
            targets[name].fill_(1)
            continue
        value = torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)
        value = value.mul_(1.0 if seed == 0 else 0.02).to(torch.bfloat16)
        if isinstance(targets[name], tuple):
            for target, part in zip(targets[name], value.chunk(2, dim=-2)):
                target.copy_(part)
        else:
            targets[name].copy_(value)


def batch(vocabulary, seq, step):
    """Step `step`'s tokens, (1, seq), with word frequencies like those of text: as in common.py."""
    p = 1.0 / (torch.arange(vocabulary, dtype=torch.float64) + 3.7)
    order = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(7918))
    u = torch.rand(seq, generator=torch.Generator().manual_seed(7919 + step), dtype=torch.float64) * p.sum()
    return order[torch.searchsorted(p.cumsum(0), u).clamp_(max=vocabulary - 1)][None]


def step_flops(s, seq):
    """Model FLOPs of a step: 2 a multiply-add, backward twice forward, half of attention, no recomputation."""
    h, q = s["hidden"], s["heads"] * s["head_dimension"]
    feed = 3 * h * s["dense_size"] if s.get("dense_size") else \
        3 * h * s["expert_size"] * s["experts_per_token"] + h * s["experts"]
    active = s["layers"] * (2 * h * q + 2 * h * s["kv_heads"] * s["head_dimension"] + feed) + s["vocabulary"] * h
    return 6 * active * seq + 6 * s["layers"] * seq * seq * q


# ---- Measuring


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def peak_rate(device):
    if device == "cuda":
        for name, rate in RATES:
            if name in torch.cuda.get_device_name():
                return rate
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size ** 3 / best


def traced(device, run):
    """The idle share of the device over three steps, and its kernels: as ct_device_trace does it."""
    from torch.profiler import ProfilerActivity, profile
    prof = profile(activities=[ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU])
    prof.prepare_trace()
    run()
    synchronize(device)
    prof.start_trace()
    for _ in range(3):
        run()
    synchronize(device)
    prof.stop_trace()
    wanted = torch.autograd.DeviceType.CUDA if device == "cuda" else torch.autograd.DeviceType.CPU
    spans, sums = [], {}
    for event in prof.profiler.kineto_results.events():
        if event.device_type() != wanted or event.is_user_annotation():
            continue
        start, length = event.start_ns(), event.duration_ns()
        spans.append((start, start + length))
        calls, total = sums.get(event.name(), (0, 0))
        sums[event.name()] = (calls + 1, total + length)
    spans.sort()
    busy, end = 0, spans[0][0]
    for a, b in spans:
        if b > end:
            busy += b - max(a, end)
            end = b
    length = end - spans[0][0]
    kernels = sorted(sums.items(), key=lambda x: -x[1][1])[:15]
    return dict(idle=1 - busy / length, traced_s=length * 1e-9,
                kernels=[dict(name=n[:120], calls=c, share=t / length) for n, (c, t) in kernels])


def measure(options):
    shapes, device = json.loads(options.shapes), options.device
    if device == "cuda":
        torch.cuda.set_device(0)
    torch.set_default_dtype(torch.bfloat16)
    make = transformers_model if options.peer == "transformers" else torchtitan_model
    model, where, loss_of, version = make(shapes, options.seq, options)
    torch.set_default_dtype(torch.float32)
    fill(where, shapes, device)
    parameters = list(model.train().parameters())
    assert all(p.dtype == torch.bfloat16 for p in parameters)
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=BETAS, eps=ADAM_EPS, weight_decay=DECAY, fused=True)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    losses, seconds = [], []

    attention = contextlib.nullcontext
    if device == "cuda":
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def attention():
            return sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True)

    def step(waits=True):
        ids = batch(shapes["vocabulary"], options.seq, len(losses)).to(device)
        synchronize(device) if waits else None
        start = time.perf_counter()
        with attention():
            loss = loss_of(ids)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize(device) if waits else None
        seconds.append(time.perf_counter() - start)
        losses.append(loss.detach())
        print(f"{options.peer} step {seconds[-1]:.3f} s", file=sys.stderr)

    for _ in range(options.warm):
        step()
    seconds.clear()
    for _ in range(options.steps):
        step()
    median = statistics.median(seconds)
    result = dict(
        peer=options.peer, version=version, torch=torch.__version__, compile=options.compile, device=device,
        recompute=options.recompute, chunked=options.chunked, layers=shapes["layers"], seq=options.seq,
        params=sum(p.numel() for p in parameters) / 1e6, tok_s=options.seq / median, med=median, best=min(seconds),
        mfu=step_flops(shapes, options.seq) / median / peak_rate(device),
        device_gb=torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        loss=[round(float(x), 4) for x in losses[:10]])
    if options.idle:
        result |= traced(device, lambda: step(waits=False))
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["transformers", "torchtitan"])
    parser.add_argument("--shapes", required=True)
    parser.add_argument("--seq", type=int, required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    for flag in ("compile", "recompute", "chunked", "idle"):
        parser.add_argument(f"--{flag}", action="store_true")
    try:
        measure(parser.parse_args())
    except torch.OutOfMemoryError as error:
        print(f"out of memory: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
