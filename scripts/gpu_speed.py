"""Our training steps beside other engines' on the same device: the targets of speed, length and idle time.

usage: gpu_speed.py PROGRAM --peers FOLDER --out FILE.jsonl [--libraries PATH] [--device cuda|cpu] [--tiny]
                    [--seconds N] [--part NAME ...]

Parts, in this order: mixture (Qwen3-30B-A3B's shapes: ours and each peer in turn, ours again before the next, in bf16
and float8), idle (from traces of the same model), dense (Qwen3-8B's shapes), longest (the longest sequence that trains,
by doubling, 8 layers of the 30B), waits (a step with waiting for the device forbidden). Each has a share of --seconds,
and what a part leaves over goes to those after it. Every run is a process with a limit of its own; one that fails or
runs out of memory is a line with its reason, and the rest goes on. Lines are written as they come. --tiny takes small
shapes, for a dry run on a CPU through the same code. Ends with a table of the targets and 0, whether they are met or not;
with 1 where no run of a part succeeded.

FOLDER has device_step.py, and in site/ the peers' packages, unless python3 has them. PROGRAM is xtuner; PATH the folders
of its libraries.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from gpu_targets import best_peer, write_table

MIXTURE = dict(vocabulary=151936, hidden=2048, heads=32, kv_heads=4, head_dimension=128, theta=1e6, experts=128,
               experts_per_token=8, expert_size=768)
DENSE = dict(vocabulary=151936, hidden=4096, heads=32, kv_heads=8, head_dimension=128, theta=1e6, dense_size=12288)
TINY = dict(vocabulary=512, hidden=64, heads=4, kv_heads=2, head_dimension=16, theta=1e6)
PEERS = {  # the fastest first, so that a run cut short has it
    "torchtitan-compiled": ["torchtitan", "--compile"], "transformers": ["transformers"],
    "transformers-compiled": ["transformers", "--compile"], "torchtitan": ["torchtitan"],
}
SHARES = dict(mixture=0.5, idle=0.1, dense=0.12, longest=0.24, waits=0.04)
LONGEST_LAYERS = 8
LIMIT = 200  # seconds of one process


def read_rows(path):
    """The lines of earlier calls; one that a kill cut short is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a line that is not whole is left out", file=sys.stderr)
    return rows


def allocator_setting(device):
    """The same allocator for all: segments that grow leave fewer holes, where the device has them."""
    setting = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    if device != "cuda":
        return setting
    code = "import torch; torch.empty(1 << 28, device='cuda').zero_(); torch.cuda.synchronize()"
    try:
        found = subprocess.run([sys.executable, "-c", code], env={**os.environ, **setting}, capture_output=True, timeout=90)
    except subprocess.TimeoutExpired:
        return {}
    return setting if found.returncode == 0 else {}


class Bench:
    def __init__(self, options):
        self.options, self.end, self.part = options, 0.0, ""
        # Earlier calls for other parts are in the same file.
        self.rows = read_rows(options.out)
        self.number, self.process = round(time.time()), None
        tiny = options.tiny
        self.mixture = dict(TINY, experts=8, experts_per_token=2, expert_size=32) if tiny else MIXTURE
        self.dense = dict(TINY, dense_size=96) if tiny else DENSE
        self.seq = 128 if tiny else 16384
        shared = {**os.environ, **allocator_setting(options.device)}
        self.environment = {**shared, "LD_LIBRARY_PATH": options.libraries} if options.libraries else shared
        self.peer_environment = {**shared, "PYTHONPATH": str(options.peers / "site"),
                                 "TORCHINDUCTOR_CACHE_DIR": str(options.peers / "inductor")}

    @property
    def float8(self):
        return ["--set", "model.fp8=" + ("native" if self.options.device == "cuda" else "emulated")]

    def stop(self):
        """Ends the process under way, which is in a session of its own."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def left(self):
        return self.end - time.monotonic()

    def record(self, who, row, **notes):
        row = {"call": self.number, "part": self.part, "who": who, **notes, **row}
        self.rows.append(row)
        with open(self.options.out, "a") as file:
            file.write(json.dumps(row) + "\n")
        text = row.get("error") or f"{row['tok_s']:.0f} tokens/s, MFU {row['mfu']:.3f}, {row['med']:.3f} s a step" + (
            f", {row['device_gb']:.1f} GB" if row.get("device_gb") else "") + (
            f", idle {row['idle']:.1%}" if "idle" in row else "")
        said = ", ".join(f"{k} {v}" for k, v in notes.items())
        print(f"{self.part}: {who}{' (' + said + ')' if said else ''}: {text}", flush=True)
        return row

    def call(self, command, environment, limit=LIMIT):
        """The JSON line of a process, or {"error": why not}."""
        limit = min(limit, self.left())
        if limit < 5:
            return {"error": "no time left"}
        process = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment, start_new_session=True)
        self.process = process
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"error": f"not done after {limit:.0f} s"}
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if process.returncode == 0 and lines:
            return json.loads(lines[-1])
        said = err.strip().splitlines() or ["nothing was said"]
        reason = ([line for line in said if "memory" in line and ("out of" in line or "allocate" in line)]
                  or [line for line in said if line.startswith("error")]
                  or [line for line in reversed(said) if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)]
                  or said[-1:])
        memory = process.returncode == 3 or re.search(r"out of memory|ALLOC_FAILED|cudaErrorMemoryAllocation", err) is not None
        return {"error": f"status {process.returncode}: {reason[0].strip()[:400]}", "out_of_memory": memory}

    def ours(self, shapes, layers, seq, *extra, steps=5, warm=3):
        names = {"vocabulary": "vocabulary", "hidden": "hidden", "heads": "heads", "kv_heads": "kv-heads",
                 "head_dimension": "head-dimension", "experts": "experts", "experts_per_token": "experts-per-token",
                 "expert_size": "expert-size", "dense_size": "dense-size"}
        sizes = [x for key, name in names.items() if key in shapes for x in (f"--{name}", shapes[key])]
        preset = "Qwen3-8B" if "dense_size" in shapes else "Qwen3-30B-A3B"
        threads = os.cpu_count() if self.options.device == "cpu" else 4
        return self.call(
            [self.options.program, "bench", "step", "--json", "--device", self.options.device, "--preset", preset, *sizes,
             "--layers", layers, "--state", "bf16", "--seq", seq, "--steps", steps, "--warm", warm, "--threads", threads,
             "--patience", 5, *extra], self.environment)

    def peer(self, name, shapes, layers, seq, *extra, steps=5, warm=3):
        kind, *flags = PEERS[name]
        return self.call(
            [sys.executable, self.options.peers / "device_step.py", kind, "--shapes", json.dumps({**shapes, "layers": layers}),
             "--seq", seq, "--steps", steps, "--warm", warm, "--device", self.options.device, *flags, *extra],
            self.peer_environment)

    def layers(self, shapes, seq, most):
        """As many layers as a peer's step has room for without recomputation: 8 bytes a parameter (bf16 weights,
        gradients, two moments), three float32 copies of the logits, and about 75 hidden states a token and layer
        (300 KB for the 30B). An estimate: where it does not fit, fewer are tried."""
        if self.options.device == "cpu":
            return 2
        code = "import torch; print(torch.cuda.mem_get_info()[0])"
        free = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                                  timeout=90).stdout)
        h, d = shapes["hidden"], shapes["head_dimension"]
        feed = 3 * h * (shapes.get("dense_size") or shapes["experts"] * shapes["expert_size"])
        layer = 8 * (2 * h * d * (shapes["heads"] + shapes["kv_heads"]) + feed) + 75 * 2 * h * seq
        fixed = 16 * shapes["vocabulary"] * h + 12 * shapes["vocabulary"] * seq
        return max(1, min(most, int((0.88 * free - fixed) / layer)))

    # ---- Parts

    def run_mixture(self):
        layers, whom = self.layers(self.mixture, self.seq, 48), list(PEERS)
        # The first peer's first run says whether the layers fit; it also fills the compiler's cache, and is not counted.
        while True:
            row = self.record(whom[0], self.peer(whom[0], self.mixture, layers, self.seq, steps=2, warm=2), layers=layers,
                              round=0)
            if not row.get("out_of_memory") or layers == 1:
                break
            layers = max(1, layers * 3 // 4)
        rounds, keeps_float8 = 0, True
        while rounds < (2 if self.options.tiny else 5):
            start = time.monotonic()
            rounds += 1
            float8 = self.float8 if keeps_float8 else []
            for name in list(whom) or [None]:
                mine = self.record("ours", self.ours(self.mixture, layers, self.seq), round=rounds, layers=layers, before=name)
                if rounds == 1 and mine.get("out_of_memory") and layers > 1:
                    layers = max(1, layers * 3 // 4)
                    mine = self.record("ours", self.ours(self.mixture, layers, self.seq), round=rounds, layers=layers,
                                       before=name)
                if float8:  # early in a round, before time is short
                    row = self.record("ours-fp8", self.ours(self.mixture, layers, self.seq, *float8), round=rounds,
                                      layers=layers)
                    keeps_float8, float8 = "error" not in row, []
                if name is None:
                    continue
                theirs = self.record(name, self.peer(name, self.mixture, layers, self.seq), round=rounds, layers=layers)
                if "error" in theirs and self.left() > 5:
                    whom.remove(name)
                if "error" in mine and rounds == 1:
                    break
            if self.left() < 0.8 * (time.monotonic() - start):
                break

    def run_idle(self):
        done = [row for row in self.rows if row["part"] == "mixture" and row.get("tok_s")]
        layers = done[-1].get("layers") if done else None
        layers = layers or self.layers(self.mixture, self.seq, 48)
        self.record("ours", self.ours(self.mixture, layers, self.seq, "--idle", steps=1), layers=layers)
        best = best_peer(self.rows, PEERS) or "transformers"
        self.record(best, self.peer(best, self.mixture, layers, self.seq, "--idle", steps=1), layers=layers)

    def run_dense(self):
        layers = self.layers(self.dense, self.seq, 36)
        while True:
            row = self.record("ours", self.ours(self.dense, layers, self.seq), layers=layers)
            if not row.get("out_of_memory") or layers == 1:
                break
            layers = max(1, layers * 3 // 4)
        self.record("ours-fp8", self.ours(
            self.dense, layers, self.seq, *self.float8), layers=layers)
        self.record("torchtitan-compiled", self.peer("torchtitan-compiled", self.dense, layers, self.seq), layers=layers)

    def run_longest(self):
        layers = 2 if self.options.tiny else LONGEST_LAYERS
        swaps = ["--set", "training.recompute=full", "--set", "training.swap_activations=true"]
        end = self.end
        tries = [
            ("ours", lambda seq, **n: self.ours(self.mixture, layers, seq, *swaps, **n), 0.4),
            ("ours-optimizer-swapped", lambda seq, **n: self.ours(
                self.mixture, layers, seq, *swaps, "--set", "training.swap_optimizer=true", **n), 0.1),
            ("torchtitan", lambda seq, **n: self.peer("torchtitan", self.mixture, layers, seq, "--recompute", **n), 0.2),
            ("transformers", lambda seq, **n: self.peer("transformers", self.mixture, layers, seq, "--recompute", **n), 0.2),
            ("torchtitan-chunked", lambda seq, **n: self.peer(
                "torchtitan", self.mixture, layers, seq, "--recompute", "--chunked", **n), 0.1),
        ]
        total, seq_of_ours = self.left(), 0
        for index, (who, run, _) in enumerate(tries):
            rest = sum(share for _, _, share in tries[index + 1:])
            self.end = end - total * rest
            # The optimizer is swapped for a length that was too long without.
            seq = 2 * seq_of_ours if who == "ours-optimizer-swapped" and seq_of_ours else self.seq
            while seq <= (512 if self.options.tiny else 1 << 20):
                # Up to 64k the second step is measured; above, the first has to do, which is longer by some seconds.
                row = self.record(who, run(seq, steps=1, warm=1 if seq <= 65536 else 0), seq=seq)
                if "error" in row:
                    break
                if who == "ours":
                    seq_of_ours = seq
                seq *= 2
        self.end = end

    def run_waits(self):
        if self.options.device == "cpu":
            self.record("ours", {"error": "nothing waits for a CPU", "missing": True})
            return
        text = subprocess.run([self.options.program, "bench", "step", "--help"], capture_output=True, text=True,
                              env=self.environment, timeout=60).stdout
        if "--forbid-waits" not in text:
            self.record("ours", {"error": "this xtuner has no bench step --forbid-waits", "missing": True})
            return
        layers = 2 if self.options.tiny else 4
        self.record("ours", self.ours(self.mixture, layers, self.seq, "--forbid-waits", steps=2), layers=layers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--peers", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--libraries")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--part", choices=list(SHARES), action="append")
    options = parser.parse_args()
    options.program, options.peers = options.program.resolve(), options.peers.resolve()
    bench, chosen = Bench(options), [name for name in SHARES if not options.part or name in options.part]
    first = len(bench.rows)
    signal.signal(signal.SIGTERM, lambda *_: (bench.stop(), sys.exit("error: stopped")))
    end = time.monotonic() + options.seconds
    for index, name in enumerate(chosen):
        # The parts after this one keep their shares; what earlier ones left over is this one's too.
        later = sum(SHARES[x] for x in chosen[index + 1:]) / sum(SHARES[x] for x in chosen)
        bench.part, bench.end = name, end - later * options.seconds
        try:
            getattr(bench, f"run_{name}")()
        except Exception as error:  # of this part: the others still count
            bench.record("ours", {"error": f"{type(error).__name__}: {error}"})
    write_table(bench.rows, PEERS)
    failed = [name for name in chosen
              if not any(r.get("tok_s") or r.get("missing") for r in bench.rows[first:] if r["part"] == name)]
    if failed:
        sys.exit(f"error: nothing was measured in {', '.join(failed)}")


if __name__ == "__main__":
    main()
