#!/usr/bin/env python3
"""Records steps of torch.optim.Muon that the Swift tests compare with.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python make_muon_reference.py [--out ../Fixtures/reference/muon]

muon.safetensors has, for each matrix NAME and step S from 0:

    NAME.weight         first weights
    NAME.grad.S         gradient of step S
    NAME.float32.S      weights after step S, orthogonalised in float32
    NAME.bfloat16.S     weights after step S, orthogonalised in bfloat16, as PyTorch does

adjust_lr_fn is match_rms_adamw, other settings are in SETTINGS. PyTorch always orthogonalises in
bfloat16; for float32 numbers its conversion is replaced by a copy while it steps.
"""
import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

SHAPES = {"tall": (13, 7), "wide": (5, 11), "square": (17, 17), "row": (1, 19), "column": (19, 1)}
SETTINGS = dict(lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5,
                adjust_lr_fn="match_rms_adamw")
STEPS = 3


def run(first, grads, in_float32):
    """Weights after each step."""
    convert = torch.Tensor.bfloat16
    if in_float32:
        torch.Tensor.bfloat16 = lambda tensor: tensor.clone()
    try:
        parameters = {name: torch.nn.Parameter(value.clone()) for name, value in first.items()}
        optimizer = torch.optim.Muon(parameters.values(), **SETTINGS)
        out = {}
        for step in range(STEPS):
            for name, parameter in parameters.items():
                parameter.grad = grads[f"{name}.grad.{step}"].clone()
            optimizer.step()
            for name, parameter in parameters.items():
                kind = "float32" if in_float32 else "bfloat16"
                out[f"{name}.{kind}.{step}"] = parameter.detach().clone()
        return out
    finally:
        torch.Tensor.bfloat16 = convert


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here.parent / "Fixtures" / "reference" / "muon")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(59)
    first = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    grads = {f"{name}.grad.{step}": torch.randn(shape, generator=generator) * 10.0 ** -(step + 1)
             for step in range(STEPS) for name, shape in SHAPES.items()}
    tensors = {f"{name}.weight": value for name, value in first.items()} | grads
    tensors |= run(first, grads, in_float32=True) | run(first, grads, in_float32=False)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "muon.safetensors"
    save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, str(path))
    path.chmod(0o644)
    gap = max((tensors[f"{n}.float32.{STEPS - 1}"] - tensors[f"{n}.bfloat16.{STEPS - 1}"]).abs().max()
              for n in SHAPES)
    print(f"muon: {path.stat().st_size / 1e3:.1f} kB; float32 and bfloat16 differ by {gap:.2e}")


if __name__ == "__main__":
    main()
