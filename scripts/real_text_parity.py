#!/usr/bin/env python3
"""Trains a small Qwen3-MoE on real text with this engine and with transformers, and compares.

    scripts/real_text_parity.py prepare --tokenizer tokenizer.json[.gz] --out DIR
    scripts/real_text_parity.py train DIR [--xtuner .build/release/xtuner]
    scripts/real_text_parity.py compare DIR [--threads 2]
    scripts/real_text_parity.py all --tokenizer tokenizer.json[.gz] --out DIR

prepare writes DIR/model (random float32 weights, config.json, tokenizer.json), DIR/text.jsonl (one
installed documentation file a line) and DIR/config.yaml. train runs `xtuner data dump`, which
writes the packs of every step to DIR/batches.safetensors, and `xtuner train` with its run in
DIR/run.
compare repeats the run in plain PyTorch: the transformers model, the same initial weights and
packs, torch.optim.AdamW, the same clipping and schedule. It prints the losses at every tenth step
and the largest differences in loss, gradient norm and learning rate, and exits with 1 if the losses
of a tenth step differ by more than 1 %.

batches.safetensors holds tokens and labels [steps, packs, S] (filled up with 0 and -100) and
lengths [steps, packs, N], the lengths of the samples of a pack (filled up with 0).
Python packages: Tests/Reference/requirements.txt.
"""
import argparse
import ctypes
import gzip
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "Reference"))
sys.dont_write_bytecode = True
from make_reference import loss_sum

STEPS, PACKS, LENGTH = 200, 2, 256
PEAK, FLOOR, WARM_UP, BETAS, EPSILON, DECAY, CLIP = 1e-3, 0.1, 20, (0.9, 0.95), 1e-8, 0.1, 1.0
TOLERANCE = 0.01
TEXT_FOLDERS = [Path("/usr/share/common-licenses"), Path("/usr/share/doc")]

CONFIG = """\
# Written by scripts/real_text_parity.py: {steps} steps on installed documentation text.
run:
  directory: {out}/run
model:
  path: {out}/model
  dtype: f32
data:
  train:
    - path: {out}/text.jsonl
      format: text
  sequence_length: {length}
  packing: split
  overlong: split
  end_of_document: "<|endoftext|>"
  cache_directory: {out}/cache
  shuffle: false
training:
  steps: {steps}
  packs_per_step: {packs}
  micro_batch_packs: 1
  max_gradient_norm: {clip}
loss:
  balance_loss: 0.0
optimizer:
  learning_rate: {peak}
  weight_decay: {decay}
  betas: [{beta1}, {beta2}]
  epsilon: {epsilon}
schedule:
  name: cosine
  warmup_steps: {warm_up}
  minimum_learning_rate_ratio: {floor}
checkpoint:
  every_steps: null
  at_end: false
export:
  at_end: false
"""


# ------------------------------------------------------------------------------------- prepare
def read(path):
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


def documents(folders, characters_each=20_000):
    """Distinct UTF-8 text files under the folders, in path order, long ones cut."""
    wanted, seen = (".txt", ".md", ".rst", "copyright", "readme", "news", "faq", "todo"), set()
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            name = path.name.lower().removesuffix(".gz")
            licence = path.parent.name == "common-licenses"
            if not path.is_file() or not (licence or name.endswith(wanted)):
                continue
            try:
                text = read(path).decode("utf-8")[:characters_each]
            except (OSError, UnicodeDecodeError, EOFError):
                continue
            digest = hashlib.sha256(text.encode()).digest()
            if len(text) > 500 and "\0" not in text and digest not in seen:
                seen.add(digest)
                yield text


def prepare(arguments):
    out, model_folder = arguments.out, arguments.out / "model"
    tokenizer = json.loads(read(arguments.tokenizer))
    largest = max([*tokenizer["model"]["vocab"].values(),
                   *(token["id"] for token in tokenizer.get("added_tokens", []))])
    vocabulary = -(-(largest + 1) // 128) * 128
    torch.manual_seed(arguments.seed)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=192, moe_intermediate_size=64,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        num_experts=8, num_experts_per_tok=2, norm_topk_prob=True, max_position_embeddings=LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, dtype="float32"))
    model.save_pretrained(model_folder)
    (model_folder / "tokenizer.json").write_bytes(read(arguments.tokenizer))
    # Latin text has well over two characters a token, so this many fill every pack.
    needed, written = STEPS * PACKS * LENGTH * 6, 0
    with (out / "text.jsonl").open("w", encoding="utf-8") as file:
        for text in documents(arguments.text):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text)
            if written >= needed:
                break
    if written < needed:
        sys.exit(f"{', '.join(map(str, arguments.text))}: {written} characters of text, "
                 f"{needed} are needed; name more folders with --text")
    (out / "config.yaml").write_text(config_text(out))
    count = sum(p.numel() for p in model.parameters())
    print(f"{out}: {count / 1e6:.1f} M parameters, vocabulary {vocabulary}, {written} characters")


def config_text(out):
    return CONFIG.format(out=out.resolve(), steps=STEPS, packs=PACKS, length=LENGTH, peak=PEAK,
                         floor=FLOOR, warm_up=WARM_UP, beta1=BETAS[0], beta2=BETAS[1],
                         epsilon=f"{EPSILON:.1e}", decay=DECAY, clip=CLIP)


# --------------------------------------------------------------------------------------- train
def train(arguments):
    config = arguments.out / "config.yaml"
    xtuner = arguments.xtuner
    subprocess.run([xtuner, "data", "dump", config, "--steps", str(STEPS), "--out",
                    arguments.out / "batches.safetensors"], check=True)
    subprocess.run([xtuner, "train", config], check=True)


# ------------------------------------------------------------------------------------- compare
def learning_rate(step):
    """Step counts from 1: linear up to PEAK at WARM_UP, then a cosine to FLOOR * PEAK at STEPS."""
    if step <= WARM_UP:
        return PEAK * step / WARM_UP
    progress = (step - WARM_UP) / (STEPS - WARM_UP)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


def sample_mask(lengths):
    """Positions [1,S] that restart in each sample, and the additive causal mask [1,1,S,S]."""
    sample = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    positions = torch.cat([torch.arange(n) for n in lengths])
    order = torch.arange(len(sample))
    visible = (sample[:, None] == sample) & (order[:, None] >= order)
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    return positions[None], mask[None, None]


def reference_run(folder, batches):
    """Losses and gradient norms of the same run in PyTorch; yields one pair a step."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": DECAY},
         {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}],
        lr=PEAK, betas=BETAS, eps=EPSILON)
    for step in range(len(batches["tokens"])):
        labels = batches["labels"][step]
        divisor, loss = int((labels != -100).sum()), 0.0
        optimizer.zero_grad()
        for pack in range(len(labels)):
            lengths = [n for n in batches["lengths"][step, pack].tolist() if n > 0]
            size = sum(lengths)
            positions, mask = sample_mask(lengths)
            logits = model(input_ids=batches["tokens"][step, pack, None, :size].long(),
                           position_ids=positions, attention_mask=mask, use_cache=False).logits
            total, _ = loss_sum(logits, labels[pack, None, :size].long())
            (total / divisor).backward()
            loss += float(total.detach()) / divisor
            del logits, total
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step + 1)
        optimizer.step()
        yield loss, float(norm)


def keep_freed_memory():
    """Lets glibc reuse large blocks; new pages for every logits tensor cost more than the maths."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        mmap_max, trim_threshold = -4, -1
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def compare(arguments):
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    metrics = arguments.metrics or arguments.out / "run" / "metrics.jsonl"
    ours = [row for row in map(json.loads, metrics.read_text().splitlines()) if "loss" in row]
    batches = load_file(arguments.out / "batches.safetensors")
    if len(ours) < STEPS or len(batches["tokens"]) < STEPS:
        sys.exit(f"{metrics}: {len(ours)} steps, {len(batches['tokens'])} dumped, not {STEPS}")
    worst = {"loss": 0.0, "grad_norm": 0.0, "lr": 0.0}
    good, start = True, time.time()
    print(f"{'step':>5} {'xtuner':>10} {'transformers':>13} {'difference':>11}")
    for step, (loss, norm) in enumerate(reference_run(arguments.out / "model", batches), start=1):
        row = ours[step - 1]
        for key, value in (("loss", loss), ("grad_norm", norm), ("lr", learning_rate(step))):
            worst[key] = max(worst[key], abs(row[key] - value) / max(abs(value), 1e-12))
        relative = abs(row["loss"] - loss) / loss
        if step == 1 or step % 10 == 0:
            good = good and relative <= TOLERANCE
            print(f"{step:>5} {row['loss']:>10.5f} {loss:>13.5f} {relative:>10.4%}"
                  f"{'' if relative <= TOLERANCE else '  DIFFERS'}", flush=True)
        if step == STEPS:
            break
    print(f"{STEPS} steps in {time.time() - start:.0f} s; largest relative differences: "
          + ", ".join(f"{key} {value:.2e}" for key, value in worst.items()))
    sys.exit(0 if good else 1)


# ---------------------------------------------------------------------------------------- main
def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "train", "compare", "all"):
        command = commands.add_parser(name)
        if name in ("prepare", "all"):
            command.add_argument("--tokenizer", type=Path, required=True)
            command.add_argument("--out", type=Path, required=True)
            command.add_argument("--text", type=Path, nargs="+",
                                 default=TEXT_FOLDERS)
            command.add_argument("--seed", type=int, default=0)
        else:
            command.add_argument("out", type=Path, metavar="DIR")
        if name in ("train", "all"):
            command.add_argument("--xtuner", type=Path, default=ROOT / ".build/release/xtuner")
        if name in ("compare", "all"):
            command.add_argument("--threads", type=int, default=1)
            command.add_argument("--metrics", type=Path, help="default DIR/run/metrics.jsonl")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    if arguments.command in ("prepare", "all"):
        prepare(arguments)
    if arguments.command in ("train", "all"):
        train(arguments)
    if arguments.command in ("compare", "all"):
        compare(arguments)


if __name__ == "__main__":
    main()
