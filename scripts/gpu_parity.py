"""Training steps on a GPU beside the same steps on the CPU.

usage: gpu_parity.py PROGRAM FOLDER OUT [--device NAME]

Trains a small Qwen3-MoE with PROGRAM (xtuner) in FOLDER on the CPU and on the device, from the same first weights and data,
in f32, bf16 and float8, and compares losses and gradient norms of all steps. Writes OUT as JSON; exits with 1 where a comparison
fails.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

# Settings on the CPU, on the device, and the largest relative difference of a loss and of a gradient norm over all steps.
# f32: the order of sums; matrix products of GPUs keep f32 since TF32 is off. bf16: the last bit of activations, which
# differs from kernel to kernel. float8: such a bit can move an element by a sixteenth when it is rounded to e4m3. A CPU
# has no native products; in a dry run emulated ones take their place on both sides.
CASES = {
    "f32": (["model.dtype=f32"], ["model.dtype=f32"], 1e-4, 1e-3),
    "bf16": (["model.dtype=bf16"], ["model.dtype=bf16"], 1e-2, 5e-2),
    "fp8 emulated": (["model.fp8=emulated"], ["model.fp8=emulated"], 2e-2, 1e-1),
    "fp8 native": (["model.fp8=emulated"], ["model.fp8=native"], 2e-2, 1e-1),
}
STEPS = 10
SMALL = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 512, "hidden_size": 256,
    "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
    "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 128, "norm_topk_prob": True,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "max_position_embeddings": 32768, "attention_bias": False, "tie_word_embeddings": False,
}


def call(program, *arguments):
    done = subprocess.run([program, *arguments], text=True, capture_output=True, timeout=90)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def prepare(program, folder):
    """Data, a tokenizer and a configuration, in JSON, which is YAML too."""
    texts = [f"The number {i} has the square {i * i} and the cube {i ** 3}." + " again" * (i % 23) for i in range(4000)]
    (folder / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    call(program, "tokenizer", "train", "--input", folder / "data.jsonl", "--vocabulary-size", "512", "--out",
         folder / "tokenizer", "--special", "<|endoftext|>", "--special", "<|im_start|>", "--special", "<|im_end|>")
    configuration = {
        "run": {"name": "parity", "directory": str(folder / "run"), "seed": 5},
        "model": {"architecture": SMALL},
        "tokenizer": {"path": str(folder / "tokenizer")},
        "data": {"train": str(folder / "data.jsonl"), "sequence_length": 1024, "cache_directory": str(folder / "cache")},
        "training": {"steps": STEPS, "packs_per_step": 2, "micro_batch_packs": 1, "max_gradient_norm": 1.0},
        "loss": {"balance_loss": 0.01, "router_z_loss": 0.001},
        "optimizer": {"learning_rate": 1e-3}, "schedule": {"warmup_steps": 2},
        "checkpoint": {"at_end": False}, "export": {"at_end": False}, "logging": {"console": "quiet"},
    }
    path = folder / "parity.yaml"
    path.write_text(json.dumps(configuration, indent=1))
    return path


def train(program, path, folder, name, *settings):
    run = folder / name
    arguments = [x for setting in (f"run.directory={run}", *settings) for x in ("--set", setting)]
    call(program, "train", path, *arguments)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line and "grad_norm" in line]


def difference(mine, theirs, key):
    pairs = [(a[key], b[key]) for a, b in zip(mine, theirs, strict=True)]
    if any(x is None or not math.isfinite(x) for pair in pairs for x in pair):
        return math.inf
    return max(abs(a - b) / abs(b) for a, b in pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program"), parser.add_argument("folder"), parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    folder = pathlib.Path(options.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = prepare(options.program, folder)
    result, failed = {"device": options.device, "steps": STEPS, "parity": []}, False
    for name, (cpu_settings, settings, loss_limit, norm_limit) in CASES.items():
        if options.device == "cpu":
            settings = cpu_settings
        file = name.replace(" ", "-")
        try:
            cpu = train(options.program, path, folder, f"{file}-cpu", *cpu_settings, "run.device=cpu")
            there = train(options.program, path, folder, f"{file}-{options.device}-there", *settings,
                          f"run.device={options.device}")
            if len(cpu) != STEPS:
                raise RuntimeError(f"{len(cpu)} steps in metrics.jsonl")
            loss, norm = difference(there, cpu, "loss"), difference(there, cpu, "grad_norm")
        except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            failed = True
            result["parity"].append({"name": name, "error": str(error), "passed": False})
            print(f"FAILED {name}: {error}", flush=True)
        else:
            passed = loss <= loss_limit and norm <= norm_limit
            failed |= not passed
            result["parity"].append({"name": name, "loss": str(loss), "grad_norm": str(norm), "passed": passed})
            print(f"{'ok    ' if passed else 'FAILED'} {name}: losses differ by {loss:.1e} (limit {loss_limit:.0e}), "
                  f"gradient norms by {norm:.1e} (limit {norm_limit:.0e}); {cpu[0]['loss']:.4f} to {cpu[-1]['loss']:.4f}",
                  flush=True)
        # Written as it comes.
        pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
