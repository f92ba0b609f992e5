#!/usr/bin/env python3
"""Reference values from Hugging Face tokenizers (0.23.3), transformers (5.23.0) and tiktoken (0.14.0).

tokenizers_reference.py fixtures DIR             tiny tokenizers with expected ids, for the tests
tokenizers_reference.py text OUT [--megabytes N] a large mixed text made from this machine's files
tokenizers_reference.py compare TOKENIZER_JSON TEXT IDS.jsonl
                                                 ids of every line against IDS.jsonl
tokenizers_reference.py speed TOKENIZER_JSON TEXT THREADS
                                                 encode throughput as one JSON line
tokenizers_reference.py load TOKENIZER_JSON CASES.json
                                                 a file written by xtuner gives the ids it claims
"""
import argparse
import base64
import glob
import json
import os
import random
import sys
import time
from pathlib import Path

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN = (CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def words(upper, lower):
    start = r"[^\r\n\p{L}\p{N}]?"
    return (f"{start}[{upper}]*[{lower}]+{CONTRACTION}?|"
            f"{start}[{upper}]+[{lower}]*{CONTRACTION}?")


O200K = (words(UPPER, LOWER)
         + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|" + words(UPPER + r"&&[^\p{Han}]", LOWER + r"&&[^\p{Han}]")
        + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
            "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"]

CASES = [
    "", " ", "  ", "\n", "\n\n", " \n \n", "a", " a", "a ", "Hello world", "Hello   \n\n world\t!",
    "I'm, you're, he'LL 'S 'x", "HelloWorld helloWORLD ABCdef iPhone", "2024 12345 1,234.56",
    "x=1;y=2\n\treturn x", "foo/bar/baz.py\r\n// c", "你好，世界", "今天2024年是好日子abc",
    "こんにちは カタカナ", "한국어 텍스트", "한국", "café cafe\u0301", "A\u030a\u0323 \u0344x",
    "مرحبا بالعالم", "हिन्दी \u0915\u093c", "สวัสดี", "👍🏽 👨‍👩‍👧 ok", "  leading", "trailing  ",
    "tab\ttab\t\ttab", "a\u00a0b\u2003c\u3000d", "a\u180eb \u180e\u180e c", "a\u0085b\u001cc",
    "--- *** ### ...", "$100 €5 £3", "_under_score__x", "<|im_start|>user\nHi<|im_end|>\n",
    "x<|im_end|>y <think>\nz\n</think>\n\n", "<|start|>assistant<|channel|>final<|message|>4",
    "<｜User｜>Hi<｜Assistant｜></think>ok<｜end▁of▁sentence｜>", "<|im_star", "<|im_start|><|im_start|>",
    "\u0130stanbul ß ſ ǅ", "١٢٣ ४५६ Ⅷ ½ ²", "a\u200bb\ufeffc", "line1\r\nline2\rline3", "x" * 45,
    "!!!\n\n\nnext", " /path\n", "(a)[b]{c}", "it'\u017f ok we'VE they'Ll", "\u0000\u0001\u007f",
    "々〇〡 漢字かな", "\U00020000\U0002F800 \u2126 \ufb01", "ab" * 150, " " * 70 + "x",
    "naïve\u0327\u0301 q\u0307\u0323", "\U0001D15E \u1100\u1161\u11a8", "end\u0338",
    "\u2028\u11b9\u1113\u116c\u11ab", "\U00013ae7's \U0001fa87 \U0002ede1x \U0001e5d0\U0001e5f1 \U00016d63\U00016d67",
]


def corpus():
    rows = ["Hello world, the quick brown fox jumps over the lazy dog. " * 3,
            "I'm sure you're right; he'll return x = 1; y = 2\n" * 3, "你好，世界。今天是好日子。" * 3,
            "user assistant system final message\n" * 3, "def f(x):\n\treturn x + 1\n\n" * 3,
            "cafe café 2024 12345\n" * 3, "x" * 9, "ababab" * 3]
    return rows * 5


def tiny(name):
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                            pre_tokenizers, processors, trainers)
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "o200k_harmony"))
    if name == "qwen3":
        tokenizer.normalizer = normalizers.NFC()
    splits = {"qwen3": [QWEN], "o200k_harmony": [O200K], "deepseek_v3": DEEPSEEK}[name]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(x), "isolated") for x in splits]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    special = {"qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
               "o200k_harmony": ["<|startoftext|>", "<|start|>", "<|channel|>", "<|message|>"],
               "deepseek_v3": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]}[name]
    plain = {"qwen3": ["<think>", "</think>"], "o200k_harmony": [],
             "deepseek_v3": ["<｜User｜>", "<｜Assistant｜>"]}[name]
    tokenizer.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
    tokenizer.add_tokens(
        [AddedToken(x, special=False, normalized=name == "deepseek_v3") for x in plain])
    if name == "deepseek_v3":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], tokenizer.token_to_id(special[0]))])
    return tokenizer


def features():
    """Small vocabularies that use the less usual keys."""
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                            pre_tokenizers)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    out = {}

    def byte_model(pre, normalizer=None, extra=(), **options):
        vocabulary = dict(alphabet)
        merges = []
        for a, b in [("a", "b"), ("ab", "ab"), ("Ġ", "a"), ("1", "2")] + list(extra):
            vocabulary.setdefault(a + b, len(vocabulary))
            merges.append((a, b))
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, **options))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre) if len(pre) > 1 else pre[0]
        tokenizer.decoder = decoders.ByteLevel()
        if normalizer:
            tokenizer.normalizer = normalizer
        return tokenizer

    out["gpt2"] = byte_model([pre_tokenizers.ByteLevel()])
    out["digits"] = byte_model([pre_tokenizers.Digits(individual_digits=False), byte_level])
    out["digit"] = byte_model([pre_tokenizers.Digits(individual_digits=True), byte_level])
    for behavior in ["removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        for invert in [False, True]:
            out[f"{behavior}_{invert}".lower()] = byte_model(
                [pre_tokenizers.Split(Regex(r"[ \n]|\d"), behavior, invert=invert), byte_level])
    out["normalizers"] = byte_model([byte_level], normalizers.Sequence(
        [normalizers.Strip(), normalizers.NFKD(), normalizers.Lowercase(),
         normalizers.Replace("ab", "ba"), normalizers.Replace(Regex(r"\s+"), " "),
         normalizers.Prepend("▁")]))
    added = byte_model([pre_tokenizers.ByteLevel(use_regex=True, add_prefix_space=False)],
                       normalizers.Lowercase())
    added.add_tokens([AddedToken("wo", single_word=True, normalized=False),
                      AddedToken("<l>", lstrip=True, normalized=False),
                      AddedToken("<r>", rstrip=True, normalized=False),
                      AddedToken("<b>", lstrip=True, rstrip=True, normalized=False),
                      AddedToken("HeL", normalized=True), AddedToken("<|x|>", normalized=False),
                      AddedToken("<|x|>y", special=True, normalized=False)])
    out["added"] = added
    for form in ["NFC", "NFD", "NFKC", "NFKD"]:
        out[form.lower()] = byte_model([byte_level], getattr(normalizers, form)())
    out["regex"] = byte_model(
        [pre_tokenizers.Split(Regex(x), "isolated") for x in
         [r"(?<=a)b{,2}", r"[^\S\n]+|\w+\b", r"[a-z&&[^aeiou]]++", r"\p{^L}\P{N}|[\W_]$|^-"]]
        + [byte_level])
    characters = "▁helowrdHab<>你"
    vocabulary = {"<unk>": 0, **{f"<0x{b:02X}>": b + 1 for b in range(256)}}
    for c in characters:
        vocabulary.setdefault(c, len(vocabulary))
    merges = [("l", "o"), ("▁", "h"), ("h", "e"), ("a", "b")]
    for a, b in merges:
        vocabulary.setdefault(a + b, len(vocabulary))
    llama = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True,
                                 unk_token="<unk>", fuse_unk=True))
    llama.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                       decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    out["llama"] = llama
    for fuse in [False, True]:
        small = {"<unk>": 0, "a": 1, "b": 2, "ab": 3}
        unknown = Tokenizer(models.BPE(vocab=small, merges=[("a", "b")], unk_token="<unk>", fuse_unk=fuse))
        unknown.decoder = decoders.Fuse()
        out[f"unknown_{fuse}".lower()] = unknown
    return out


FEATURE_CASES = CASES[:36] + [
    "ab abab aab 1212 a1b22 c", "wo two wo. (wo) _wo wo", "a  <l>  b <r>  c  <b>  d", "hel HEL HeL xhely",
    "<|x|>y<|x|>z", "-a\n-b- x_\n_", "hello world Hello", "l l", "aé你好\u3042b", "ccab c", "abb abbb",
    "x² y³ z¹ ¼½¾ a²b ½ _¹", "\u0f40\u0f74\u0f73 \u0f40\u0f7b\u0f75\u0f39 \u0f81\u0f73\u0f75 \u0f74\u0f81",
    "\u0f73", "a\u0301\u0f73\u0323\u0f75\u0344\u0f71", "\u0fb2\u0f81\u0f71\ufb2c\ufdfa\u0f73\u0e38\u0f75",
]


def row(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return dict(text=text, ids=ids, withSpecial=tokenizer.encode(text).ids,
                decoded=tokenizer.decode(ids, skip_special_tokens=False),
                decodedSkipping=tokenizer.decode(ids, skip_special_tokens=True))


def kimi(folder):
    import regex
    import tiktoken
    pattern = KIMI
    for part in (UPPER, LOWER):
        pattern = pattern.replace(f"[{part}&&[^\\p{{Han}}]]", f"[[{part}]--\\p{{Han}}]")
    compiled = regex.compile(pattern, regex.V1)
    ranks = {bytes([b]): b for b in range(256)}
    pieces = [[bytes([b]) for b in w.encode()] for x in corpus() for w in compiled.findall(x)]
    while len(ranks) < 400:
        counts = {}
        for piece in pieces:
            for pair in zip(piece, piece[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        a, b = max(sorted(counts), key=lambda p: counts[p])
        ranks[a + b] = len(ranks)
        for index, piece in enumerate(pieces):
            position, merged = 0, []
            while position < len(piece):
                if piece[position:position + 2] == [a, b]:
                    merged.append(a + b)
                    position += 2
                else:
                    merged.append(piece[position])
                    position += 1
            pieces[index] = merged
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiktoken.model").write_text(
        "".join(f"{base64.b64encode(k).decode()} {v}\n" for k, v in ranks.items()))
    names = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 16: "<|im_middle|>"}
    special = {names.get(i, f"<|reserved_token_{len(ranks) + i}|>"): len(ranks) + i
               for i in range(256)}
    listed = {str(len(ranks) + i): dict(content=n, special=True, normalized=False, lstrip=False,
                                        rstrip=False, single_word=False) for i, n in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(
        dict(tokenizer_class="TikTokenTokenizer", added_tokens_decoder=listed), indent=1))
    encoding = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
    rows = []
    for text in CASES + ["<|im_user|>user<|im_middle|>Hi<|im_end|><|reserved_token_420|>"]:
        ids = encoding.encode(text, allowed_special="all")
        rows.append(dict(text=text, ids=ids, withSpecial=ids, decoded=encoding.decode(ids),
                         decodedSkipping=encoding.decode([i for i in ids if i < len(ranks)])))
    (folder / "cases.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0))


def named():
    """Folders whose files beside tokenizer.json name tokens, with what transformers makes of them."""
    import tempfile

    from transformers import PreTrainedTokenizerFast

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary = {**alphabet, "ab": 256, "</s>": 257}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True, normalized=False),
                          AddedToken("<plain>", special=False, normalized=True)])
    file = json.loads(tokenizer.to_str())

    def listed(content, **options):
        return dict(content=content, lstrip=False, rstrip=False, normalized=False,
                    single_word=False, special=True) | options

    def typed(content, **options):
        return {"__type": "AddedToken", **listed(content, **options)}

    config, map_, added = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    variants = {
        "nothing beside it": {},
        "additional_special_tokens": {config: dict(additional_special_tokens=["<|new|>", "<|end|>", "<x>"])},
        "extra_special_tokens, a list": {config: dict(extra_special_tokens=["<|new|>", "<x>"])},
        "extra_special_tokens, named": {config: dict(extra_special_tokens=dict(image_token="<|new|>", boi="<x>"))},
        "both lists": {config: dict(additional_special_tokens=["<|new|>"], extra_special_tokens=["<x>"])},
        "an empty list and one": {config: dict(additional_special_tokens=["<|new|>"], extra_special_tokens=[])},
        "named roles": {config: dict(pad_token="<|new|>", eos_token="<|end|>", bos_token="<x>", unk_token=None)},
        "a role of the vocabulary": {config: dict(eos_token="</s>", pad_token="<|new|>")},
        "a plain token with a role": {config: dict(pad_token="<plain>")},
        "own roles": {config: dict(image_token="<|new|>", video_token=None, add_bos_token=False, audio_token="<x>")},
        "typed roles": {config: dict(pad_token=typed("<|new|>", lstrip=True), eos_token=typed("<x>", special=False))},
        "typed list": {config: dict(additional_special_tokens=[typed("<|new|>", rstrip=True), "<x>"])},
        "added_tokens_decoder": {config: dict(added_tokens_decoder={
            "258": listed("<|end|>"), "259": listed("<plain>", special=False, normalized=True),
            "260": listed("<|new|>", lstrip=True), "261": listed("<x>", special=False)})},
        "added_tokens_decoder with a role": {config: dict(pad_token="<x>", added_tokens_decoder={
            "258": listed("<|end|>"), "259": listed("<plain>", special=False, normalized=True),
            "260": listed("<|new|>")}), map_: dict(eos_token="<|ignored|>"), added: {"<|ignored|>": 270}},
        "other flags in the configuration": {config: dict(added_tokens_decoder={
            "258": listed("<|end|>", special=False), "259": listed("<plain>", lstrip=True, normalized=True),
            "257": listed("</s>", rstrip=True)})},
        "special_tokens_map.json": {map_: dict(eos_token="<|end|>", pad_token=listed("<|new|>", rstrip=True),
                                               additional_special_tokens=["<x>"])},
        "a map over a configuration": {config: dict(pad_token="<x>", eos_token="<|end|>"),
                                       map_: dict(pad_token="<|new|>")},
        "added_tokens.json": {added: {"<|new|>": 260, "<x>": 261}},
        "added_tokens.json with roles": {added: {"<x>": 260, "<|new|>": 261}, config: dict(pad_token="<|new|>")},
        "all of them": {added: {"<x>": 260}, map_: dict(pad_token="<|new|>", additional_special_tokens=["<y>"]),
                        config: dict(eos_token="<|end|>", mask_token="<z>")},
    }
    texts = ["ab<|new|>ab", "a <|new|> b <x> c", "<|end|></s><plain>ab", "<x><y><z> <|ignored|>"]
    rows = []
    for name, files in variants.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tokenizer.json").write_text(json.dumps(file))
            for other, value in files.items():
                Path(folder, other).write_text(json.dumps(value))
            loaded = PreTrainedTokenizerFast.from_pretrained(folder)
        cases = []
        for text in texts:
            ids = loaded.encode(text, add_special_tokens=False)
            cases.append(dict(text=text, ids=ids, decoded=loaded.decode(ids, skip_special_tokens=True)))
        rows.append(dict(name=name, files={k: json.dumps(v) for k, v in files.items()}, cases=cases))
    return dict(tokenizer=json.dumps(file), variants=rows)


def fixtures(out):
    for name in ("qwen3", "o200k_harmony", "deepseek_v3"):
        tokenizer = tiny(name)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False))
        rows = [row(tokenizer, x) for x in CASES]
        (folder / "cases.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0))
    kimi(out / "kimi_k2")
    folder = out / "features"
    folder.mkdir(parents=True, exist_ok=True)
    for name, tokenizer in features().items():
        (folder / f"{name}.json").write_text(json.dumps(dict(
            tokenizer=json.loads(tokenizer.to_str(pretty=False)),
            cases=[row(tokenizer, x) for x in FEATURE_CASES]), ensure_ascii=False))
    rng = random.Random(11)
    broken = []
    for _ in range(200):
        parts = [rng.choice([b"a", "é".encode(), "你".encode(), "👍".encode(), bytes([rng.randrange(128, 256)]),
                             "你".encode()[:2], "👍".encode()[:3], b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90"])
                 for _ in range(rng.randrange(1, 9))]
        raw = b"".join(parts)
        broken.append(dict(hex=raw.hex(), text=raw.decode("utf-8", errors="replace")))
    (out / "ill_formed.json").write_text(json.dumps(broken, ensure_ascii=False, indent=0))
    trained(out / "trained")
    (out / "named.json").write_text(json.dumps(named(), ensure_ascii=False, indent=0))


def trained(folder):
    """What the reference trainer learns, to compare merges."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    texts = corpus() + CASES
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=380, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.to_str())["model"]
    (folder / "expected.json").write_text(json.dumps(dict(
        texts=texts, vocab=model["vocab"], merges=model["merges"]), ensure_ascii=False))


def mixed_text(path, megabytes):
    rng = random.Random(7)
    limit = int(megabytes * 1e6)
    with open(path, "wb") as out:
        def add(data):
            out.write(data + b"\n")
        for text in CASES + FEATURE_CASES:
            for line in text.encode().split(b"\n"):
                add(line)
        for first in range(0, 0x110000, 16):
            block = [chr(c) for c in range(first, first + 16)
                     if not 0xD800 <= c < 0xE000 and c not in (10, 13)]
            add("\u0334x".join(block).encode())
            add(" ".join(block).encode())
        add(b"a" * 1_000_000)
        add(("你好世界" * 84_000).encode())
        add(bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyzABC-_/") for _ in range(1_000_000)))
        add(b" " * 100_000 + b"x" + b"\t" * 5_000)
        add(b"=" * 200_000)
        add(("e\u0301" * 20_000).encode())
        pools = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x400, 0x500), (0x590, 0x700),
                 (0x900, 0xA00), (0xE00, 0xE80), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070),
                 (0x2100, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FA5), (0xAC00, 0xD7A4), (0xF900, 0xFB00),
                 (0xFE00, 0x10000), (0x1F300, 0x1FB00), (0x10000, 0x1D800), (0x20000, 0x2FA20)]
        marks = ["\u200d", "\u0301", "\u0323", "\ufe0f", "\r", "\t", "  ", "   ", "'s", "'LL", "\u00a0",
                 "\u2028", "\u0085", "\u180e", "<|im_start|>", "<|endoftext|>", "<｜User｜>", "</think>",
                 "\x00", "\x1b", "٣", "Ⅷ"]
        for _ in range(40_000):
            low, high = rng.choice(pools)
            text = ""
            for _ in range(rng.randrange(1, 40)):
                if rng.random() < 0.15:
                    text += rng.choice(marks)
                elif rng.random() < 0.2:
                    text += " "
                else:
                    code = rng.randrange(low, high)
                    text += chr(code) if not 0xD800 <= code < 0xE000 else "?"
            data = text.encode().replace(b"\n", b" ")
            if rng.random() < 0.1:
                at = rng.randrange(len(data) + 1)
                data = data[:at] + bytes([rng.randrange(128, 256)]) + data[at + rng.randrange(2):]
            add(data)
        files = sorted(glob.glob("/usr/lib/python3*/**/*.py", recursive=True)) \
            + sorted(glob.glob("/usr/share/doc/**/*", recursive=True))
        rng.shuffle(files)
        for name in files:
            if out.tell() >= limit:
                break
            if os.path.isfile(name):
                data = Path(name).read_bytes()
                if data[:2] == b"\x1f\x8b":
                    import gzip
                    data = gzip.decompress(data)
                for line in data.split(b"\n"):
                    add(line)


def lines_of(path):
    rows = Path(path).read_bytes().split(b"\n")
    if rows and rows[-1] == b"":
        rows.pop()
    return [x.decode("utf-8", errors="replace") for x in rows]


def compare(vocabulary, text, ids):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(vocabulary)
    rows = lines_of(text)
    wrong = count = 0
    with open(ids) as ours:
        for start in range(0, len(rows), 1000):
            batch = rows[start:start + 1000]
            for index, encoding in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False)):
                mine = json.loads(ours.readline() or "null")
                count += len(encoding.ids)
                if mine != encoding.ids:
                    wrong += 1
                    if wrong <= 10:
                        print(f"line {start + index + 1}: {batch[index][:80]!r}\n  reference "
                              f"{encoding.ids[:40]}\n  ours      {(mine or [])[:40]}")
        extra = ours.readline()
    print(json.dumps(dict(lines=len(rows), equal=len(rows) - wrong, different=wrong, tokens=count,
                          surplus_lines=bool(extra))))
    sys.exit(1 if wrong or extra else 0)


def speed(vocabulary, text, threads):
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(vocabulary)
    rows = lines_of(text)
    size = os.path.getsize(text) - len(rows)
    best = 1e9
    for _ in range(2):
        start = time.perf_counter()
        tokenizer.encode_batch_fast(rows, add_special_tokens=False)
        best = min(best, time.perf_counter() - start)
    print(json.dumps(dict(threads=threads, seconds=round(best, 3), mb_s=round(size / best / 1e6, 2))))


def load(vocabulary, cases):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(vocabulary)
    rows = json.loads(Path(cases).read_text())
    wrong = [r for r in rows if tokenizer.encode(r["text"], add_special_tokens=False).ids != r["ids"]]
    for r in wrong[:5]:
        print(r["text"][:80], r["ids"][:20], tokenizer.encode(r["text"], add_special_tokens=False).ids[:20])
    print(json.dumps(dict(cases=len(rows), different=len(wrong))))
    sys.exit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fixtures").add_argument("out", type=Path)
    text = commands.add_parser("text")
    text.add_argument("out")
    text.add_argument("--megabytes", type=float, default=24)
    for name, arguments in dict(compare=["vocabulary", "text", "ids"],
                                speed=["vocabulary", "text", "threads"],
                                load=["vocabulary", "cases"]).items():
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument)
    options = parser.parse_args()
    if options.command == "fixtures":
        fixtures(options.out)
    elif options.command == "text":
        mixed_text(options.out, options.megabytes)
    elif options.command == "compare":
        compare(options.vocabulary, options.text, options.ids)
    elif options.command == "speed":
        speed(options.vocabulary, options.text, int(options.threads))
    else:
        load(options.vocabulary, options.cases)


if __name__ == "__main__":
    main()
