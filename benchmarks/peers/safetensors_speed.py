"""Load and save speed of a 2 GB safetensors file (and torch.save / torch.load).

usage: safetensors_speed.py [DIR] [GB] [keep]

keep leaves the file, for `xtuner bench load`.

"cold" evicts the file from the page cache first (posix_fadvise DONTNEED); "touch"
reads every byte (load_file maps the file and returns before reading it).
"""
import json
import os
import sys
import time

import common as c
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def evict(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def touch(d):
    return sum(int(t.view(torch.int64).sum()) for t in d.values())


def main():
    where = sys.argv[1] if len(sys.argv) > 1 else "/tmp"
    gb = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    n = int(gb * 1e9 / 2 / 64) // 4096 * 4096
    one = torch.randint(-2**31, 2**31 - 1, (n // 2,), dtype=torch.int32).view(torch.bfloat16)
    data = {f"t{i}": one.clone() for i in range(64)}
    size = n * 2 * 64 / 1e9
    p, q = os.path.join(where, "peers_bench.safetensors"), os.path.join(where, "peers_bench.pt")
    out = dict(peer="safetensors", gb=round(size, 3))

    def timed(name, f, path=None, cold=False, rounds=3):
        best = 1e9
        for _ in range(rounds):
            if cold:
                evict(path)
            t = time.perf_counter()
            r = f()
            best = min(best, time.perf_counter() - t)
            del r
        out[name] = round(size / best, 2)
        print(name, out[name], "GB/s", file=sys.stderr)

    def sync(path):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def get_all():
        with safe_open(p, "pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}

    def read_raw():
        buf = bytearray(1 << 24)
        with open(p, "rb", buffering=0) as f:
            while f.readinto(buf):
                pass

    c.wait_quiet()
    timed("save_file", lambda: save_file(data, p), rounds=2)
    timed("save_file+fsync", lambda: (save_file(data, p), sync(p)), rounds=2)
    del data
    timed("read() warm", read_raw)
    timed("load_file warm (maps only)", lambda: load_file(p))
    timed("load_file warm + touch", lambda: touch(load_file(p)))
    timed("load_file warm + clone", lambda: {k: v.clone() for k, v in load_file(p).items()})
    timed("safe_open get_tensor warm + touch", lambda: touch(get_all()))
    timed("read() cold", read_raw, p, True, 2)
    timed("load_file cold + touch", lambda: touch(load_file(p)), p, True, 2)
    d = {k: v.clone() for k, v in load_file(p).items()}
    timed("torch.save", lambda: torch.save(d, q), rounds=2)
    del d
    timed("torch.load warm", lambda: torch.load(q))
    timed("torch.load mmap warm + touch", lambda: touch(torch.load(q, mmap=True)))
    if sys.argv[3:] != ["keep"]:
        os.remove(p)
    os.remove(q)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
