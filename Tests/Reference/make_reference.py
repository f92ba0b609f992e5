#!/usr/bin/env python3
"""Records the numbers that the Swift tests compare with, from PyTorch and transformers.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python make_reference.py [--out ../Fixtures/reference] [--only qwen3_moe,ops]

One folder for each tiny random model (qwen3_tied, qwen3_untied, qwen3_moe):

    config.json                 as transformers 5 writes it
    config_hub.json             the same model in the spelling of older hub repositories
    model.safetensors           float32 weights, hub names (one tensor an expert and matrix)
    expected.safetensors        inputs, logits, loss, residual stream, routing; packed rows
    grads.safetensors           gradient of `loss` for every weight
    packed_grads.safetensors    gradient of `packed.loss` for every weight
    training_curve.safetensors  30 optimizer steps (qwen3_tied and qwen3_moe)
and ops/ops.safetensors         single operations with their gradients.

Conventions. Labels are unshifted: label[t] belongs to token t and is predicted at t - 1; -100
carries no loss; a loss is the sum of token losses over the number of labels that carry one.
A packed row holds samples one after another. Each sample is run by itself here, which is what
"no attention across samples, positions restart" means, so no mask of ours can be wrong.

Models run in float32 on one thread with the eager kernels. Operations run in float64 on inputs
that were rounded to float32, and are rounded to float32 at the end.
"""
import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.utils import logging

VOCABULARY = 160
EAGER = dict(attn_implementation="eager", experts_implementation="eager")
SHARED = dict(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=512,
    rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    bos_token_id=1, eos_token_id=2)


# ------------------------------------------------------------------------------------- helpers
def save(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, str(path))
    path.chmod(0o644)


def hub_names(model, values):
    """{parameter name: tensor} under hub names: transformers 5 fuses the experts of a layer."""
    out = {}
    for name, value in values.items():
        if name.endswith("experts.gate_up_proj"):
            stem = name[: -len("gate_up_proj")]
            for e, both in enumerate(value):
                gate, up = both.chunk(2, dim=0)
                out[f"{stem}{e}.gate_proj.weight"], out[f"{stem}{e}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            for e, down in enumerate(value):
                out[f"{name[: -len('down_proj')]}{e}.down_proj.weight"] = down
        else:
            out[name] = value
    return {k: out[k] for k in sorted(out)}


def gradients(model):
    """Gradients under hub names; an expert that no token chose has a gradient of zero."""
    return hub_names(model, {n: torch.zeros_like(p) if p.grad is None else p.grad
                             for n, p in model.named_parameters()})


def gradient_norm(model):
    grads = [p.grad.double() for p in model.parameters() if p.grad is not None]
    return torch.sqrt(sum((g ** 2).sum() for g in grads)).float().reshape(1)


def randomize(model, seed=20240229):
    """Weights that hide nothing: norms away from one, matrices large enough to route unevenly."""
    g = torch.Generator().manual_seed(seed)
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if name.endswith("norm.weight"):
                p.copy_(1.0 + 0.2 * noise)
            elif "embed_tokens" in name:
                p.copy_((0.15 if tied else 0.8) * noise)
            elif name.endswith("mlp.gate.weight"):
                p.copy_(0.6 * noise)
            else:
                p.copy_(1.2 / math.sqrt(p.shape[-1]) * noise)
    if tied:
        model.tie_weights()
    return model.eval()


def random_rows(rows, length, seed):
    """Random ids with labels: no loss on the first quarter and on a random 30 % of the rest."""
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=g)
    labels = ids.clone()
    labels[torch.rand((rows, length), generator=g) < 0.3] = -100
    labels[:, : length // 4] = -100
    return ids, labels


def loss_sum(logits, labels):
    """Sum of token losses and number of tokens that carry one; logits [B,S,V], labels [B,S]."""
    shifted, targets = logits[:, :-1].float(), labels[:, 1:]
    total = F.cross_entropy(shifted.reshape(-1, shifted.shape[-1]), targets.reshape(-1),
                            ignore_index=-100, reduction="sum")
    return total, int((targets != -100).sum())


def hub_config(config):
    """The same configuration with the keys that hub repositories used before version 5."""
    old = dict(config)
    rope = dict(old.pop("rope_parameters"))
    assert rope.pop("rope_type") == "default"
    old["rope_theta"], old["rope_scaling"] = rope.pop("rope_theta"), None
    old["torch_dtype"] = old.pop("dtype")
    if "num_local_experts" in old:
        old["num_experts"] = old.pop("num_local_experts")
    return old


def watch(model, out):
    """Hooks that record the residual stream after each layer and the routing of each layer."""
    def residual(i):
        def hook(_module, _inputs, output):
            out[f"resid.{i}"] = (output[0] if isinstance(output, tuple) else output).detach()
        return hook

    def routing(i):
        def hook(_module, _inputs, output):
            logits, weights, ids = output
            order = ids.argsort(dim=-1)
            out[f"router.{i}.logits"] = logits.detach()
            out[f"router.{i}.topk_ids_sorted"] = ids.gather(-1, order)
            out[f"router.{i}.topk_weights_sorted"] = weights.gather(-1, order).detach()
        return hook

    handles = []
    for i, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(residual(i)))
        if hasattr(layer.mlp, "gate"):
            handles.append(layer.mlp.gate.register_forward_hook(routing(i)))
    return handles


# -------------------------------------------------------------------------------------- models
def qwen3(tied):
    return Qwen3ForCausalLM._from_config(Qwen3Config(**SHARED, tie_word_embeddings=tied), **EAGER)


def qwen3_moe():
    config = Qwen3MoeConfig(**SHARED, moe_intermediate_size=32, num_experts=8,
                            num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=1,
                            mlp_only_layers=[], router_aux_loss_coef=0.001)
    return Qwen3MoeForCausalLM._from_config(config, **EAGER)


def record_model(folder, model, seed):
    randomize(model)
    ids, labels = random_rows(2, 24, seed)
    expected = {"input_ids": ids, "labels": labels}
    handles = watch(model, expected)
    output = model(input_ids=ids, labels=labels, use_cache=False)
    for handle in handles:
        handle.remove()
    output.loss.backward()
    expected |= {"logits": output.logits, "loss": output.loss.reshape(1),
                 "grad_norm": gradient_norm(model)}
    save(folder / "grads.safetensors", gradients(model))

    model.zero_grad()
    lengths, total, count, parts = (11, 17), 0.0, 0, []
    for i, length in enumerate(lengths):
        ids, labels = random_rows(1, length, 7 + i)
        logits = model(input_ids=ids, use_cache=False).logits
        part, labelled = loss_sum(logits, labels)
        total, count = total + part, count + labelled
        parts.append((ids[0], labels[0], torch.arange(length), logits[0]))
    (total / count).backward()
    for key, values in zip(("input_ids", "labels", "position_ids", "logits"), zip(*parts)):
        expected[f"packed.{key}"] = torch.cat(values)
    expected |= {"packed.cu_seqlens": torch.tensor([0, 11, 28], dtype=torch.int32),
                 "packed.loss": (total / count).reshape(1),
                 "packed.grad_norm": gradient_norm(model)}
    save(folder / "packed_grads.safetensors", gradients(model))
    save(folder / "expected.safetensors", expected)
    model.zero_grad()
    save_model(folder, model)
    return {k: float(expected[k].detach()) for k in
            ("loss", "grad_norm", "packed.loss", "packed.grad_norm")}


def save_model(folder, model):
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        config = json.loads((Path(scratch) / "config.json").read_text())
        weights = load_file(Path(scratch) / "model.safetensors")
    ours = hub_names(model, dict(model.named_parameters()))
    assert sorted(ours) == sorted(weights) and all(torch.equal(ours[k], weights[k]) for k in ours)
    save(folder / "model.safetensors", weights)
    for name, content in (("config", config), ("config_hub", hub_config(config))):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


# ------------------------------------------------------------------------------ training curve
STEPS, PACKS, PACK_LENGTH, WARM_UP = 30, 2, 47, 5
PEAK, FLOOR, BETAS, EPSILON, DECAY, CLIP = 1e-3, 0.1, (0.9, 0.95), 1e-8, 0.1, 1.0


def learning_rate(step):
    """Step counts from 1: linear up to PEAK at WARM_UP, then a cosine to FLOOR * PEAK at STEPS."""
    if step <= WARM_UP:
        return PEAK * step / WARM_UP
    progress = (step - WARM_UP) / (STEPS - WARM_UP)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


def curve_batches(seed):
    """Packs of a noisy successor language, so that the loss can fall.

    tokens and labels [STEPS, PACKS, PACK_LENGTH] are filled up with 0 and -100;
    lengths [STEPS, PACKS, 5] are the samples of a pack, filled up with 0.
    """
    g = torch.Generator().manual_seed(seed)
    words = 23  # of the 160 ids, so that 30 steps show the loss falling
    follower = torch.randperm(words, generator=g)
    tokens = torch.zeros(STEPS, PACKS, PACK_LENGTH, dtype=torch.int64)
    labels = torch.full_like(tokens, -100)
    lengths = torch.zeros(STEPS, PACKS, 5, dtype=torch.int64)
    for s in range(STEPS):
        for p in range(PACKS):
            start = 0
            for i in range(5):
                length = min(int(torch.randint(1, 20, (1,), generator=g)), PACK_LENGTH - start)
                if length == 0:
                    break
                ids = torch.randint(0, words, (length,), generator=g)
                keep = torch.rand(length, generator=g) < 0.8
                for t in range(1, length):
                    if keep[t]:
                        ids[t] = follower[ids[t - 1]]
                row = ids.clone()
                row[torch.rand(length, generator=g) < 0.2] = -100
                row[0] = -100
                tokens[s, p, start : start + length] = ids
                labels[s, p, start : start + length] = row
                lengths[s, p, i] = length
                start += length
    return tokens, labels, lengths


def record_curve(folder, model, seed):
    """AdamW on the packs: each step's divisor is its number of labels over both packs.

    Weights with two dimensions or more decay (matrices, experts, embedding), norms do not.
    `loss` and `grad_norm` are those before the step's update, the norm before clipping; the
    gradient is scaled by min(1, CLIP / (norm + 1e-6)).
    `final.norm` and `final.sum` are of every weight after the last update, sorted by hub name.
    """
    tokens, labels, lengths = curve_batches(seed)
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for _, p in named if p.dim() >= 2], "weight_decay": DECAY},
         {"params": [p for _, p in named if p.dim() < 2], "weight_decay": 0.0}],
        lr=PEAK, betas=BETAS, eps=EPSILON, foreach=False, fused=False)
    losses, norms, rates, counts = [], [], [], []
    for s in range(STEPS):
        total, count = 0.0, 0
        for p in range(PACKS):
            start = 0
            for length in lengths[s, p].tolist():
                if length == 0:
                    break
                stop = start + length
                logits = model(input_ids=tokens[s, p, None, start:stop], use_cache=False).logits
                part, labelled = loss_sum(logits, labels[s, p, None, start:stop])
                total, count, start = total + part, count + labelled, stop
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(s + 1)
        optimizer.step()
        losses.append(loss.detach()), norms.append(norm.detach())
        rates.append(learning_rate(s + 1)), counts.append(count)
    final = hub_names(model, {n: p.detach() for n, p in named})
    save(folder / "training_curve.safetensors", {
        "tokens": tokens, "labels": labels, "lengths": lengths,
        "loss": torch.stack(losses), "grad_norm": torch.stack(norms),
        "learning_rate": torch.tensor(rates, dtype=torch.float64),
        "loss_tokens": torch.tensor(counts),
        "final.norm": torch.stack([v.double().norm() for v in final.values()]),
        "final.sum": torch.stack([v.double().sum() for v in final.values()]),
        "final.model.norm.weight": final["model.norm.weight"],
    })
    return {"curve": [round(float(x), 5) for x in losses[:: STEPS // 6] + losses[-1:]]}


# ---------------------------------------------------------------------------------- operations
class Recorder:
    """Inputs are float32 values held in float64; what is kept is rounded to float32 again."""

    def __init__(self, seed):
        self.generator, self.tensors = torch.Generator().manual_seed(seed), {}

    def random(self, *shape, scale=1.0):
        return (scale * torch.randn(shape, generator=self.generator)).double()

    def keep(self, prefix, **tensors):
        for name, t in tensors.items():
            t = torch.as_tensor(t).detach()
            if t.is_floating_point():
                t = t.float()
            self.tensors[f"{prefix}.{name}"] = t.reshape(1) if t.dim() == 0 else t

    def differentiate(self, prefix, function, output_grad=None, **inputs):
        """Keeps `NAME`, `y`, `dy` and `dNAME` for every input; dy is 1 for a scalar y."""
        leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        y = function(**leaves)
        dy = torch.ones_like(y) if y.dim() == 0 else self.random(*y.shape)
        grads = torch.autograd.grad(y, list(leaves.values()), dy)
        self.keep(prefix, y=y, dy=dy, **inputs,
                  **{f"d{k}": g for k, g in zip(leaves, grads)})


def rms_norm(x, w, epsilon=1e-6):
    return w * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon)


def rotate(x, cos, sin):
    """x [T,H,d], cos and sin [T,d/2]; pairs are (i, i + d/2)."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos[:, None].double(), sin[:, None].double()
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attention(q, k, v, offsets):
    """q [T,Hq,d], k and v [T,Hkv,d]; causal inside each sample offsets[i] ..< offsets[i+1]."""
    group, out = q.shape[1] // k.shape[1], []
    for start, stop in zip(offsets, offsets[1:]):
        qs = q[start:stop].transpose(0, 1)
        ks, vs = (x[start:stop].transpose(0, 1).repeat_interleave(group, 0) for x in (k, v))
        n = stop - start
        scores = (qs @ ks.transpose(1, 2)) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
        out.append((scores.softmax(-1) @ vs).transpose(0, 1))
    return torch.cat(out)


def experts(x, weights, gate_up, down, ids):
    """x [T,H], weights and ids [T,K], gate_up [E,2I,H] (gate rows first), down [E,H,I]."""
    y = torch.zeros_like(x)
    for e in range(gate_up.shape[0]):
        tokens, slot = torch.where(ids == e)
        gate, up = (x[tokens] @ gate_up[e].T).chunk(2, dim=-1)
        rows = (F.silu(gate) * up) @ down[e].T
        y = y.index_add(0, tokens, rows * weights[tokens, slot, None])
    return y


def record_ops(folder):
    r = Recorder(seed=31)
    r.differentiate("rms_norm", rms_norm, x=r.random(5, 7, 13), w=1 + 0.3 * r.random(13))
    r.differentiate("rms_norm_tiny", rms_norm, x=r.random(3, 5, scale=1e-4), w=r.random(5))
    r.differentiate("swiglu", lambda gate, up: F.silu(gate) * up,
                    gate=r.random(7, 11, scale=3.0), up=r.random(7, 11))

    # Angles in float32, as the model library computes them; what follows is float64.
    positions = torch.tensor([0, 1, 2, 3, 4, 0, 1, 0, 97, 1009, 4099])
    inverse = 1.0 / (1000000.0 ** (torch.arange(0, 14, 2).float() / 14))
    angles = positions.float()[:, None] * inverse
    cos, sin = angles.double().cos().float(), angles.double().sin().float()
    r.keep("rope", positions=positions, inverse_frequencies=inverse, cos=cos, sin=sin)
    r.differentiate("rope", lambda x: rotate(x, cos, sin), x=r.random(11, 3, 14))

    offsets = [0, 5, 6, 23]
    r.keep("attention", offsets=torch.tensor(offsets, dtype=torch.int32))
    r.differentiate("attention", lambda q, k, v: attention(q, k, v, offsets),
                    q=r.random(23, 6, 14), k=r.random(23, 2, 14), v=r.random(23, 2, 14))

    # Router: 13 tokens, 7 experts, 3 a token.
    logits = r.random(13, 7, scale=1.5)
    ids = logits.topk(3).indices.sort(-1).values
    r.keep("router", ids=ids, counts=torch.bincount(ids.flatten(), minlength=7))
    r.differentiate("router.normalized", lambda logits: (
        lambda w: w / w.sum(-1, keepdim=True))(logits.softmax(-1).gather(1, ids)), logits=logits)
    r.differentiate("router.plain", lambda logits: logits.softmax(-1).gather(1, ids),
                    logits=logits)
    # Balance loss E / (N K) * sum_e count_e * mean probability_e, and mean(logsumexp^2).
    counts = torch.bincount(ids.flatten(), minlength=7).double()
    r.differentiate("balance_loss", lambda logits: 7 / (13 * 3) * (
        counts * logits.softmax(-1).mean(0)).sum(), logits=logits)
    r.differentiate("z_loss", lambda logits: logits.logsumexp(-1).pow(2).mean(), logits=logits)

    # Experts: expert 3 of 7 gets no token, expert 5 gets every token.
    choices = torch.stack([torch.tensor([5, (0, 1, 2, 4, 6)[t % 5]]) for t in range(13)])
    r.keep("experts", ids=choices)
    r.differentiate("experts", lambda x, weights, gate_up, down: experts(
        x, weights, gate_up, down, choices), x=r.random(13, 11),
        weights=r.random(13, 2).softmax(-1), gate_up=r.random(7, 2 * 5, 11),
        down=r.random(7, 11, 5))

    # Head and loss: 17 tokens in samples of 5, 1 and 11; targets are already shifted, -100 at
    # the end of each sample.
    labels = torch.randint(0, 19, (17,), generator=r.generator)
    labels[torch.tensor([0, 4, 5, 9, 16])] = -100
    sample = torch.tensor([0] * 5 + [1] + [2] * 11)
    kept = (labels != -100).double()
    per_sample = torch.zeros(3).double().index_add(0, sample, kept)[sample].clamp(min=1)
    for reduction, weight in (("token", kept), ("sample", kept / per_sample),
                              ("square", kept / per_sample.sqrt())):
        def loss(hidden, head, weight=weight):
            nll = F.cross_entropy(hidden @ head.T, labels.clamp(min=0), reduction="none")
            return (nll * weight).sum() / weight.sum()
        r.keep(f"head_loss.{reduction}", targets=labels, sample=sample, weights=weight)
        if reduction == "token":
            hidden, head = r.random(17, 11), r.random(19, 11)
        r.differentiate(f"head_loss.{reduction}", loss, hidden=hidden, head=head)
    r.differentiate("head_z_loss", lambda hidden, head: (
        (hidden @ head.T).logsumexp(-1).pow(2) * kept).sum() / kept.sum(), hidden=hidden, head=head)

    # Clipping by the norm over all tensors: factor min(1, limit / (norm + 1e-6)).
    a, b = r.random(5, 3), r.random(7)
    norm = torch.cat((a.flatten(), b)).norm()
    r.keep("clip", a=a, b=b, limit=torch.tensor(1.3), norm=norm,
           clipped_a=a * min(1.0, 1.3 / (norm + 1e-6)), clipped_b=b * min(1.0, 1.3 / (norm + 1e-6)))

    # AdamW, decoupled decay: p -= lr decay p; p -= lr m' / (sqrt(v') + eps).
    p, m, v = r.random(7, 5), torch.zeros(7, 5).double(), torch.zeros(7, 5).double()
    rates, scales = [1e-3, 2e-3, 1.5e-3, 0.0, 1e-4], [1.0, 1e-3, 0.0, 10.0, 1.0]
    r.keep("adamw", p0=p, learning_rate=torch.tensor(rates, dtype=torch.float64))
    beta1, beta2, eps, decay = 0.9, 0.95, 1e-8, 0.1
    for t, (rate, scale) in enumerate(zip(rates, scales), start=1):
        g = r.random(7, 5, scale=scale)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        p = p * (1 - rate * decay)
        p = p - rate * (m / (1 - beta1 ** t)) / ((v / (1 - beta2 ** t)).sqrt() + eps)
        r.keep("adamw", **{f"grad{t}": g, f"p{t}": p, f"m{t}": m, f"v{t}": v})
    save(folder / "ops.safetensors", r.tensors)
    return {"tensors": len(r.tensors)}


# ---------------------------------------------------------------------------------------- main
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here.parent / "Fixtures" / "reference")
    parser.add_argument("--only", default="qwen3_tied,qwen3_untied,qwen3_moe,ops")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    makers = {
        "qwen3_tied": lambda f: with_curve(f, qwen3(tied=True), 1),
        "qwen3_untied": lambda f: record_model(f, qwen3(tied=False), 1),
        "qwen3_moe": lambda f: with_curve(f, qwen3_moe(), 2),
        "ops": record_ops,
    }
    for name in arguments.only.split(","):
        if name not in makers:
            sys.exit(f"--only: {name} is not one of {', '.join(makers)}")
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        numbers = makers[name](folder)
        size = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {size / 1e6:.2f} MB {json.dumps(numbers)}")


def with_curve(folder, model, seed):
    return record_model(folder, model, seed) | record_curve(folder, model, seed + 40)


if __name__ == "__main__":
    main()
