#!/usr/bin/env python3
"""Compares this engine with transformers on one Hugging Face model folder.

    scripts/parity.py MODEL_DIR [--xtuner .build/release/xtuner] [--tokens T.safetensors]
    scripts/parity.py SOURCE_DIR --export EXPORTED_DIR

The first form runs `xtuner probe MODEL_DIR --grads --dtype f32` and transformers (eager attention,
eager experts, float32, one thread) on the same token ids and prints the largest logit difference,
the loss difference and the worst relative gradient difference |ours - theirs| / |theirs| (L2 norms
of a tensor). Without --tokens it draws random ids and labels; a third of the labels carry no loss.

The second form loads two folders in transformers (for example the folder that a run started from
and the one `xtuner export` wrote without training in between) and asks for the same tensors, bit
for bit, and identical logits.

The exit code is 0 if every number is within its tolerance and 1 otherwise.
Python packages: Tests/Reference/requirements.txt.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USE_HUB_KERNELS", "0")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "Reference"))
sys.dont_write_bytecode = True
from make_reference import gradients, loss_sum

LOGITS, LOSS, GRADIENT = 2e-4, 1e-5, 1e-4


def load(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager",
        experts_implementation="eager").eval()


def random_tokens(vocabulary, rows, length, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (rows, length), generator=g)
    labels = ids.masked_fill(torch.rand((rows, length), generator=g) < 0.33, -100)
    return {"input_ids": ids, "labels": labels}


def verdict(name, value, tolerance):
    """Prints one line and returns whether the value is within its tolerance (NaN is not)."""
    good = value <= tolerance
    print(f"{name:<26} {value:9.2e}   tolerance {tolerance:.0e}   {'ok' if good else 'DIFFERS'}")
    return good


def probe(arguments, folder):
    model = load(folder)
    with tempfile.TemporaryDirectory() as scratch:
        tokens = arguments.tokens or Path(scratch) / "tokens.safetensors"
        if arguments.tokens is None:
            save_file(random_tokens(model.config.vocab_size, arguments.rows, arguments.length,
                                    arguments.seed), str(tokens))
        out = Path(scratch) / "out.safetensors"
        subprocess.run([arguments.xtuner, "probe", folder, "--tokens", tokens, "--out", out,
                        "--grads", "--dtype", "f32"], check=True)
        inputs, ours = load_file(tokens), load_file(out)
    logits = model(input_ids=inputs["input_ids"], use_cache=False).logits
    results = [verdict("logits, max |difference|",
                       largest(ours.pop("logits").reshape(logits.shape) - logits), LOGITS)]
    if "labels" not in inputs:
        return results
    total, count = loss_sum(logits, inputs["labels"])
    loss = total / count
    loss.backward()
    difference = abs(float(ours.pop("loss")) - float(loss.detach()))
    results.append(verdict("loss, |difference|", difference, LOSS))
    return results + compare_gradients(ours, gradients(model))


def compare_gradients(ours, theirs):
    if sorted(ours) != sorted(theirs):
        print(f"gradients only ours: {sorted(set(ours) - set(theirs))[:5]}, "
              f"only theirs: {sorted(set(theirs) - set(ours))[:5]}")
        return [False]
    worst, where = 0.0, "-"
    for name, reference in theirs.items():
        if ours[name].shape != reference.shape:
            print(f"gradient {name}: shape {list(ours[name].shape)}, not {list(reference.shape)}")
            return [False]
        norm = float(reference.double().norm())
        error = float((ours[name].double() - reference.double()).norm()) / (norm or 1.0)
        if not error <= worst:  # also true for NaN
            worst, where = error, name
    print(f"{len(theirs)} gradients, the worst is {where}")
    return [verdict("gradients, worst relative", worst, GRADIENT)]


def compare_export(arguments, source, exported):
    models = load(source), load(exported)
    states = [model.state_dict() for model in models]
    names = sorted(set(states[0]) ^ set(states[1]))
    different = [k for k in states[0]
                 if k in states[1] and not torch.equal(states[0][k], states[1][k])]
    print(f"{len(states[0])} tensors, missing or extra: {names or 'none'}, "
          f"different: {different[:5] or 'none'}")
    inputs = load_file(arguments.tokens) if arguments.tokens else random_tokens(
        models[0].config.vocab_size, arguments.rows, arguments.length, arguments.seed)
    with torch.no_grad():
        a, b = (model(input_ids=inputs["input_ids"], use_cache=False).logits for model in models)
    return [not names, not different, verdict("logits, max |difference|", largest(a - b), 0.0)]


def largest(difference):
    return float(difference.detach().abs().max())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="MODEL_DIR")
    parser.add_argument("--export", type=Path, metavar="EXPORTED_DIR")
    parser.add_argument("--xtuner", type=Path, default=ROOT / ".build" / "release" / "xtuner")
    parser.add_argument("--tokens", type=Path, help="input_ids [B,S] and optionally labels [B,S]")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=37)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    if arguments.export:
        results = compare_export(arguments, arguments.folder, arguments.export)
    else:
        results = probe(arguments, arguments.folder)
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
