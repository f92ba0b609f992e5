"""Encode throughput of byte-level BPE tokenizers: Hugging Face tokenizers,
tiktoken and bpe-qwen, with Qwen's 151,643-token vocabulary.

usage: tokenizers_speed.py [TEXT_FILE ...]
       tokenizers_speed.py write OUT.json          (writes the tokenizer.json)

The vocabulary is the file qwen.tiktoken inside the PyPI package qwen-agent
(install it with --no-deps), turned into a tokenizer.json here: merges follow from
the ranks, normalizer NFC, Qwen2's split expression, byte level. The text: with no
argument, 24 MB of Python source out of this environment's site-packages ("code")
and every README in its *.dist-info plus *.rst / *.md / *.txt files ("prose").
"""
import base64
import glob
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def ranks():
    root = importlib.util.find_spec("qwen_agent").submodule_search_locations[0]
    with open(os.path.join(root, "utils", "qwen.tiktoken"), "rb") as f:
        return {base64.b64decode(a): int(b) for a, b in (line.split() for line in f if line.strip())}


def byte_chars():
    """The visible character that stands for each byte in byte-level BPE."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in out:
            out[b] = chr(256 + n)
            n += 1
    return out


def merges_of(rk):
    """Every multi-byte token's last merge: run BPE on it with only the ranks below its own."""
    out = []
    for tok, r in sorted(rk.items(), key=lambda x: x[1]):
        parts = [bytes([b]) for b in tok]
        while len(parts) > 2:
            best, at = None, -1
            for i in range(len(parts) - 1):
                x = rk.get(parts[i] + parts[i + 1])
                if x is not None and x < r and (best is None or x < best):
                    best, at = x, i
            assert at >= 0, tok
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            out.append(tuple(parts))
    return out


def write_json(path):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    rk, ch = ranks(), byte_chars()
    s = lambda b: "".join(ch[x] for x in b)  # noqa: E731
    tok = Tokenizer(models.BPE(vocab={s(k): v for k, v in rk.items()}, merges=[(s(a), s(b)) for a, b in merges_of(rk)]))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.save(path)
    return rk


def corpus():
    site = os.path.dirname(importlib.util.find_spec("tokenizers").submodule_search_locations[0])
    sets = {"code": sorted(glob.glob(site + "/transformers/models/**/*.py", recursive=True)),
            "prose": sorted(glob.glob(site + "/*.dist-info/METADATA") + [
                p for e in ("rst", "md", "txt") for p in glob.glob(f"{site}/**/*.{e}", recursive=True)])}
    out = {}
    for name, files in sets.items():
        docs, n = [], 0
        for p in files:
            with open(p, encoding="utf-8", errors="replace") as f:
                t = f.read()
            if len(t) > 200:
                docs.append(t)
                n += len(t.encode())
            if n > 24e6:
                break
        out[name] = docs
    return out


CHILD = r"""
import json, os, sys, time
kind, path, dumped, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
docs = json.load(open(dumped))
size = sum(len(d.encode()) for d in docs) / 1e6
if kind == "tokenizers":
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(path)
    run = lambda d: sum(len(e) for e in t.encode_batch_fast(d, add_special_tokens=False))
elif kind == "tiktoken":
    import tiktoken
    sys.path.insert(0, os.environ["HERE"])
    import tokenizers_speed as tb
    t = tiktoken.Encoding("qwen", pat_str=tb.SPLIT, mergeable_ranks=tb.ranks(), special_tokens={})
    run = lambda d: sum(len(e) for e in t.encode_ordinary_batch(d, num_threads=threads))
else:
    import bpe_qwen
    t = bpe_qwen.QwenTokenizer(os.path.dirname(path))
    if threads == 1:
        run = lambda d: sum(len(t.encode(x)) for x in d)
    else:
        run = lambda d: sum(len(e) for e in t.encode_batch_parallel(d, threads))
n = run(docs[:20])
best = 1e9
for _ in range(3):
    a = time.perf_counter(); n = run(docs); best = min(best, time.perf_counter() - a)
print(json.dumps(dict(mb_s=round(size / best, 2), mtok_s=round(n / best / 1e6, 3), tokens=n, mb=round(size, 1))))
"""


def main():
    if sys.argv[1:2] == ["write"]:
        write_json(sys.argv[2])
        return
    sets = {os.path.basename(p): [open(p, encoding="utf-8").read()] for p in sys.argv[1:]} or corpus()
    out = dict(peer="tokenizers")
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "tokenizer.json")
        t = time.perf_counter()
        write_json(path)
        out["build_s"] = round(time.perf_counter() - t, 1)
        m = json.load(open(path))["model"]
        json.dump(m["vocab"], open(os.path.join(d, "vocab.json"), "w"), ensure_ascii=False)
        with open(os.path.join(d, "merges.txt"), "w") as f:
            f.write("#version: 0.2\n" + "\n".join(" ".join(x) if isinstance(x, list) else x for x in m["merges"]) + "\n")
        for name, docs in sets.items():
            dumped = os.path.join(d, "docs.json")
            json.dump(docs, open(dumped, "w"))
            for kind in ("tokenizers", "tiktoken", "bpe-qwen"):
                for n in (1, 2):
                    env = dict(os.environ, HERE=os.path.dirname(os.path.abspath(__file__)), RAYON_NUM_THREADS=str(n),
                               TOKENIZERS_PARALLELISM="true" if n > 1 else "false")
                    p = subprocess.run([sys.executable, "-c", CHILD, kind, path, dumped, str(n)], env=env,
                                       capture_output=True, text=True)
                    res = json.loads(p.stdout) if p.returncode == 0 else dict(error=p.stderr.strip().splitlines()[-1][:160])
                    out[f"{name} {kind} {n}t"] = res
                    print(name, kind, n, res, file=sys.stderr)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
