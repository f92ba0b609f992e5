#!/usr/bin/env python3
"""Trains tiny models in bf16 and with emulated fp8 and compares the losses.

usage: scripts/fp8_accuracy.py [--steps 50] [--modules attention,experts,...] [FOLDER]

A dense Qwen3 and a Qwen3 mixture of experts, on sentences that are made here, each `xtuner train` with `model.fp8` none and emulated: the same weights, data and order. FOLDER (a
temporary one without) keeps data, tokenizer, configuration and runs. Fails where the mean loss of
the last five steps differs by more than 0.5 %.

Half of the words follow from the one before, half are drawn: as in text, most of the loss cannot be
learned. Where all can be, a fraction of a step's delay is more than 0.5 % of what is left.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

LIMIT = 5e-3
# 256 and 288 or 96 of 128: whole and partial tiles in both directions.
SHAPES = """vocab_size: 512
    hidden_size: 256
    intermediate_size: 288
    num_hidden_layers: 2
    num_attention_heads: 4
    num_key_value_heads: 2
    head_dim: 48
    rms_norm_eps: 1.0e-6
    rope_theta: 10000.0
    max_position_embeddings: 512
    hidden_act: silu
    attention_bias: false
    tie_word_embeddings: false"""
EXPERTS = """
    num_experts: 8
    num_experts_per_tok: 2
    moe_intermediate_size: 96
    norm_topk_prob: true
    decoder_sparse_step: 1
    mlp_only_layers: []"""


def run(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {' '.join(map(str, command))} failed:\n{result.stderr}")


def write_data(folder):
    """Sentences of a made-up language, and a file for the tokenizer."""
    source = random.Random(5)
    words = ["".join(source.choice("bdfgklmnprstvz") + source.choice("aeiou") for _ in range(count))
             for count in [1, 2, 2, 3] * 60]
    follower = [source.randrange(len(words)) for _ in words]
    texts = []
    for _ in range(4000):
        word, sentence = source.randrange(len(words)), []
        for _ in range(source.randrange(6, 18)):
            sentence.append(words[word])
            # Frequent words are the first ones, as in any language.
            drawn = int(len(words) * source.random() ** 3)
            word = follower[word] if source.random() < 0.5 else drawn
        texts.append(" ".join(sentence).capitalize() + ".")
    (folder / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "data.txt").write_text("\n".join(texts) + "\n")


def configuration(folder, architecture):
    kind = "qwen3_moe" if architecture == "mixture" else "qwen3"
    return f"""model:
  dtype: bf16
  architecture:
    model_type: {kind}
    {SHAPES}{EXPERTS if architecture == "mixture" else ""}
tokenizer: {{path: {folder}/tokenizer}}
data: {{train: {folder}/data.jsonl, sequence_length: 256, cache_directory: {folder}/cache}}
training: {{packs_per_step: 8}}
optimizer: {{learning_rate: 1.0e-3}}
schedule: {{warmup_steps: 10}}
checkpoint: {{at_end: false, every_steps: null}}
export: {{at_end: false}}
logging: {{console: quiet, tensorboard: false}}
"""


def losses(xtuner, folder, name, steps, settings):
    directory = folder / name
    options = [f"run.directory={directory}", f"training.steps={steps}", *settings]
    run(xtuner, "train", folder / f"{name.split('-')[0]}.yaml", "--resume", "never",
        *(part for option in options for part in ("--set", option)))
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    lines = [line for line in lines if "loss" in line]
    return [line["loss"] for line in lines], sum(line["step_seconds"] for line in lines[1:])


def main():
    arguments, steps, modules = sys.argv[1:], 50, None
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option == "--steps" and arguments and arguments[0].isdigit() and int(arguments[0]) > 4:
            steps = int(arguments.pop(0))
        elif option == "--modules" and arguments:
            modules = arguments.pop(0)
        else:
            sys.exit(__doc__)
    if len(arguments) > 1:
        sys.exit(__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    xtuner = os.environ.get("XTUNER", root / ".build/release/xtuner")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments[0] if arguments else temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        write_data(folder)
        run(xtuner, "tokenizer", "train", "--input", folder / "data.txt", "--out", folder / "tokenizer",
            "--vocabulary-size", 512)
        float8 = ["model.fp8=emulated"] + ([f"model.fp8_modules=[{modules}]"] if modules else [])
        worst = 0
        for architecture in ("dense", "mixture"):
            (folder / f"{architecture}.yaml").write_text(configuration(folder, architecture))
            exact, time = losses(xtuner, folder, f"{architecture}-bf16", steps, [])
            quantized, float8_time = losses(xtuner, folder, f"{architecture}-fp8", steps, float8)
            print(f"{architecture}: step, loss in bf16, in emulated fp8, relative difference")
            for step in sorted({0, 9, steps // 2, steps - 1} & set(range(steps))):
                a, b = exact[step], quantized[step]
                print(f"  {step + 1:4d}  {a:.4f}  {b:.4f}  {(b - a) / a:+.2e}")
            if exact == quantized:
                sys.exit("error: the losses are equal; fp8 is not in effect")
            a, b = (sum(curve[-5:]) / 5 for curve in (exact, quantized))
            worst = max(worst, abs(b - a) / a)
            print(f"  mean of the last five: {a:.4f}, {b:.4f}, {(b - a) / a:+.2e} (limit {LIMIT:.0e}); "
                  f"seconds of steps: {time:.1f}, {float8_time:.1f}")
        if worst > LIMIT:
            sys.exit("error: the limit is exceeded")


if __name__ == "__main__":
    main()
