#!/usr/bin/env python3
"""Trains small models for 20 steps in every way that the engine has, and prints losses and norms.

usage: scripts/step_record.py > before.txt
       scripts/step_record.py > after.txt && diff before.txt after.txt      after a change

A change of structure must change no digit. A mixture and a dense model, in f32 and bf16, on one rank and on
four with expert and sequence degree 2, with AdamW and Muon, with emulated float8, and one with everything
that saves memory. The numbers differ from processor to processor: record before and after on one machine.

Needs Python 3.8 or newer and nothing else. XTUNER names the program (default .build/release/xtuner).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

MODEL = """
    vocab_size: 300
    hidden_size: 128
    intermediate_size: 256
    num_hidden_layers: 3
    num_attention_heads: 4
    num_key_value_heads: 2
    head_dim: 32
    hidden_act: silu
    rms_norm_eps: 1.0e-6
    rope_theta: 10000.0
    max_position_embeddings: 512
    attention_bias: false
    tie_word_embeddings: false
"""
MIXTURE = """
    architectures: [Qwen3MoeForCausalLM]
    model_type: qwen3_moe
    num_experts: 8
    num_experts_per_tok: 3
    moe_intermediate_size: 128
    norm_topk_prob: true
    decoder_sparse_step: 1
    mlp_only_layers: [1]
"""
DENSE = """
    architectures: [Qwen3ForCausalLM]
    model_type: qwen3
"""
ALL_DEGREES = ["--nproc", "4", "--set", "parallel.expert=2", "--set", "parallel.sequence=2"]
MUON = ["--set", "optimizer.name=muon"]
FLOAT8 = ["--set", "model.fp8=emulated"]
SAVING = ["--set", "training.recompute=full", "--set", "training.swap_activations=true",
          "--set", "training.swap_optimizer=true", "--set", "optimizer.state=bf16",
          "--set", "loss.balance_scope=step"]


def cases():
    for model in ("mixture", "dense"):
        four = ALL_DEGREES if model == "mixture" else ["--nproc", "4", "--set", "parallel.sequence=2"]
        for dtype in ("f32", "bf16"):
            for ranks, layout in ((1, []), (4, four)):
                name = f"{model} {dtype} {ranks} ranks"
                yield name, model, dtype, layout
                yield f"{name} muon", model, dtype, layout + MUON
                if dtype == "bf16":
                    yield f"{name} fp8", model, dtype, layout + FLOAT8
                    if model == "mixture":
                        yield f"{name} saving", model, dtype, layout + SAVING


def main():
    xtuner = pathlib.Path(os.environ.get("XTUNER", ".build/release/xtuner")).resolve()
    if not xtuner.exists():
        sys.exit(f"error: {xtuner} does not exist; run: make build")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        lines = [json.dumps({"text": f"The number {n} and its square {n * n} are here." + " again" * (n % 7)})
                 for n in range(97)]
        (folder / "data.jsonl").write_text("\n".join(lines))
        subprocess.run(
            [xtuner, "tokenizer", "train", "--input", folder / "data.jsonl", "--vocabulary-size", "300",
             "--out", folder / "tokenizer", "--special", "<|endoftext|>"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for model, keys in (("mixture", MIXTURE), ("dense", DENSE)):
            (folder / f"{model}.yaml").write_text(f"""
run: {{name: record, seed: 5, threads: 1, device: cpu}}
model:
  architecture:{keys}{MODEL.lstrip(chr(10))}
tokenizer: {{path: {folder}/tokenizer}}
data: {{train: {folder}/data.jsonl, sequence_length: 64, cache_directory: {folder}/cache, workers: 1}}
training: {{steps: 20, packs_per_step: 8, micro_batch_packs: 2}}
optimizer: {{learning_rate: 3.0e-3}}
loss: {{chunk_size: 37}}
schedule: {{warmup_steps: 4}}
evaluation: {{every_steps: null}}
checkpoint: {{at_end: false}}
export: {{at_end: false}}
logging: {{console: quiet, tensorboard: false}}
""")
        for index, (name, model, dtype, options) in enumerate(cases()):
            run = folder / f"run-{index}"
            done = subprocess.run(
                [xtuner, "train", folder / f"{model}.yaml", "--set", f"run.directory={run}",
                 "--set", f"model.dtype={dtype}"] + options, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"error: {name}: {done.stderr}{done.stdout}")
            for line in (run / "metrics.jsonl").read_text().splitlines():
                step = json.loads(line)
                print(f"{name}: step {step['step']} loss {step['loss']!r} norm {step['grad_norm']!r}", flush=True)


if __name__ == "__main__":
    main()
