#!/usr/bin/env python3
"""Measures the peak bytes of tensors a rank for each memory policy, beside what is predicted.

    scripts/build.sh
    scripts/memory_table.py                      the table of docs/memory.md
    scripts/memory_table.py --models moe --dtypes bf16 --ranks 2 --policies none full

Each cell is a training run of the real program on this machine: some steps of packs of one length,
with weights drawn at random. The measured figure is `tensor_peak_bytes` of metrics.jsonl, the
predicted one is in the run's log. Prints Markdown; needs no packages.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENGINE = ROOT / ".build/release/xtuner-engine"

MODELS = {
    "moe": {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 192,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    },
    "dense": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
}
SHARED = {
    "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 4096,
    "attention_bias": False, "tie_word_embeddings": False,
}
POLICIES = {
    "none": {},
    "selective": {"training.recompute": "selective"},
    "full": {"training.recompute": "full"},
    "full + swap": {"training.recompute": "full", "training.swap_activations": "true"},
    "full + swap + optimizer": {
        "training.recompute": "full", "training.swap_activations": "true",
        "training.swap_optimizer": "true",
    },
}


def prepare(folder: pathlib.Path, length: int) -> None:
    """Writes text, a tokenizer and a configuration for each model."""
    generator = random.Random(7)
    words = ["".join(generator.choices("abcdefghiklmnoprstuvw", k=generator.randint(2, 9)))
             for _ in range(500)]
    with open(folder / "data.jsonl", "w") as file:
        for _ in range(1500):
            text = " ".join(generator.choices(words, k=generator.randint(40, 200)))
            file.write(json.dumps({"text": text}) + "\n")
    command = [ENGINE, "tokenizer", "train", "--input", folder / "data.jsonl",
               "--vocabulary-size", "1024", "--out", folder / "tokenizer"]
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        command += ["--special", token]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name, own in MODELS.items():
        configuration = {
            "run": {"name": name, "directory": str(folder / "run"), "seed": 3, "threads": 1},
            "model": {"dtype": "f32", "architecture": {**SHARED, **own}},
            "tokenizer": {"path": str(folder / "tokenizer")},
            "data": {"train": str(folder / "data.jsonl"), "packing": "split",
                     "sequence_length": length, "cache_directory": str(folder / "cache"),
                     "workers": 1},
            "training": {"steps": 3, "packs_per_step": 4, "micro_batch_packs": 1},
            "loss": {"chunk_size": 256},
            "optimizer": {"learning_rate": 1e-3},
            "export": {"at_end": False},
            "logging": {"console": "quiet"},
        }
        # JSON is YAML.
        (folder / f"{name}.yaml").write_text(json.dumps(configuration, indent=1))


def measure(folder: pathlib.Path, model: str, dtype: str, ranks: int, settings: dict) -> dict:
    """Peak bytes of a run, and the prediction if the log has one."""
    measure.count += 1
    run = folder / f"run-{measure.count}"
    overrides = {"model.dtype": dtype, "run.directory": run, **settings}
    command = [ENGINE, "train", folder / f"{model}.yaml", "--nproc", str(ranks)]
    for key, value in overrides.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{model} {dtype} on {ranks}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    cell = {"measured": max(line["tensor_peak_bytes"] for line in lines if "loss" in line)}
    for line in (run / "log.txt").read_text().splitlines():
        if " memory estimate " in line:
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            cell["predicted"] = int(fields["total.bytes"])
    return cell


measure.count = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--length", type=int, default=768, help="tokens of a pack")
    parser.add_argument("--set", action="append", default=[], help="further key=value overrides")
    arguments = parser.parse_args()
    further = dict(text.split("=", 1) for text in arguments.set)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, arguments.length)
        print("| model | dtype | recompute | ranks | measured MB | predicted MB | ratio |")
        print("|---|---|---|---|---|---|---|")
        for model in arguments.models:
            for dtype in arguments.dtypes:
                for policy in arguments.policies:
                    for ranks in arguments.ranks:
                        cell = measure(
                            folder, model, dtype, ranks, {**POLICIES[policy], **further})
                        predicted = cell.get("predicted")
                        row = [model, dtype, policy, str(ranks), f"{cell['measured'] / 1e6:.1f}"]
                        row += (["-", "-"] if predicted is None else
                                [f"{predicted / 1e6:.1f}", f"{predicted / cell['measured']:.3f}"])
                        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
