#!/usr/bin/env python3
"""Trains small models on the same tokens in several orders and compares their evaluation losses.

usage: scripts/data_order.py [--seeds 3] [--only chats|texts] [--keep DIR]

chats: fine-tuning on conversations of varied lengths, several epochs, best_fit with the window of
1024 samples that is the default, which is longer than the set, against a window of 64. Best fit lays
out long samples first, so the order of packs shows here.

texts: 150 steps on long documents, packing split against best_fit with overlong split. Cut documents
fill many packs in a row, so the order of packs shows here, too.

Losses are means over seeds of the run (weights and order), with the range. Needs Python 3.8 or newer
and nothing else. XTUNER names the program (default .build/release/xtuner), which may be an older one:
only options that all versions know are used. Takes some minutes on one thread.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

MODEL = """
model:
  dtype: f32
  architecture:
    architectures: [Qwen3ForCausalLM]
    model_type: qwen3
    vocab_size: 512
    hidden_size: 64
    intermediate_size: 160
    num_hidden_layers: 2
    num_attention_heads: 4
    num_key_value_heads: 2
    head_dim: 16
    hidden_act: silu
    rms_norm_eps: 1.0e-6
    rope_theta: 10000.0
    max_position_embeddings: 1024
    attention_bias: false
    tie_word_embeddings: false
    initializer_range: 0.08
"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "rk", "st")]


def conversation(generator):
    """The words that follow a word in a fixed round, 3 to 96 of them, mostly few: when to stop has to
    be learned from answers of all lengths."""
    count = int(3 * 32 ** generator.random())
    first = generator.randrange(len(WORDS))
    words = [WORDS[(first + place) % len(WORDS)] for place in range(count + 1)]
    return {"messages": [
        {"role": "user", "content": f"{count} after {words[0]}"},
        {"role": "assistant", "content": " ".join(words[1:])}]}


def document(generator):
    """About 8,000 tokens of sentences over words of a topic of its own."""
    topic = generator.sample(WORDS, 40)
    weights = [1 / (rank + 1) for rank in range(len(topic))]
    follower = {word: generator.choices(topic, weights, k=3) for word in topic}
    sentences = []
    for _ in range(1000):
        word = generator.choices(topic, weights)[0]
        sentence = [word]
        while len(sentence) < 8:
            word = generator.choice(follower[word])
            sentence.append(word)
        sentences.append(" ".join(sentence))
    return {"text": ". ".join(sentences) + "."}


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def train(xtuner, folder, name, data, training, seed):
    """The last evaluation's loss and its count of trained tokens."""
    run = folder / f"{name}-{seed}"
    (folder / f"{name}-{seed}.yaml").write_text(f"""
run: {{name: {name}, directory: {run}, seed: {seed}, device: cpu, threads: 1}}
{MODEL}
tokenizer: {{path: {folder / "tokenizer"}}}
data:
  cache_directory: {folder / "cache"}
  template: chatml
{data}
training: {training}
optimizer: {{learning_rate: 3.0e-3}}
schedule: {{name: cosine, warmup_ratio: 0.05}}
checkpoint: {{at_end: false}}
export: {{at_end: false}}
logging: {{console: quiet}}
""")
    subprocess.run([xtuner, "train", folder / f"{name}-{seed}.yaml"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return lines[-1]["evaluation_loss"], sum(line.get("tokens", 0) for line in lines)


def compare(xtuner, folder, title, cases, training, seeds):
    print(f"\n{title}\n\n| data | tokens | evaluation loss |\n| --- | ---: | ---: |")
    for index, (name, data) in enumerate(cases):
        results = [
            train(xtuner, folder, f"{title.split(':')[0]}{index}", data, training, seed)
            for seed in range(seeds)]
        losses = [loss for loss, _ in results]
        mean = sum(losses) / len(losses)
        tokens = sum(tokens for _, tokens in results) / len(results)
        print(f"| {name} | {tokens:,.0f} | {mean:.4f} ({min(losses):.4f} to {max(losses):.4f}) |",
              flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each case")
    parser.add_argument("--only", choices=["chats", "texts"])
    parser.add_argument("--keep", help="a folder to leave data and runs in")
    arguments = parser.parse_args()
    xtuner = os.environ.get("XTUNER", ".build/release/xtuner")
    if not pathlib.Path(xtuner).exists():
        sys.exit(f"error: {xtuner} does not exist; run: make build")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(arguments.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        generator = random.Random(11)
        write_lines(folder / "chats.jsonl", [conversation(generator) for _ in range(800)])
        write_lines(folder / "chats-held.jsonl", [conversation(generator) for _ in range(200)])
        write_lines(folder / "texts.jsonl", [document(generator) for _ in range(40)])
        write_lines(folder / "texts-held.jsonl", [document(generator) for _ in range(8)])
        write_lines(folder / "words.jsonl", [{"text": "after " + " ".join(WORDS)}] * 9)
        subprocess.run(
            [xtuner, "tokenizer", "train", "--input", folder / "words.jsonl",
             "--vocabulary-size", "512", "--out", folder / "tokenizer"]
            + [word for token in SPECIAL for word in ("--special", token)],
            check=True, stdout=subprocess.DEVNULL)
        if arguments.only != "texts":
            chats = f"  train: {folder}/chats.jsonl\n  evaluation: {folder}/chats-held.jsonl\n" \
                "  sequence_length: 512\n  packing: best_fit\n"
            compare(xtuner, folder, "chats: 800 conversations, 8 epochs", [
                ("packing_window 1024", chats + "  packing_window: 1024"),
                ("packing_window 64", chats + "  packing_window: 64"),
            ], "{epochs: 8, packs_per_step: 4}", arguments.seeds)
        if arguments.only != "chats":
            texts = f"  train: {folder}/texts.jsonl\n  evaluation: {folder}/texts-held.jsonl\n" \
                "  sequence_length: 256\n  overlong: split\n"
            compare(xtuner, folder, "texts: 40 documents, 150 steps", [
                ("packing split", texts + "  packing: split"),
                ("packing best_fit, overlong split", texts + "  packing: best_fit"),
            ], "{steps: 150, packs_per_step: 4}", arguments.seeds)


if __name__ == "__main__":
    main()
