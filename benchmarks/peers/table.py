"""usage: table.py RESULTS.jsonl

Tables of what scripts/bench-peers.sh wrote: medians of every program, the ratio
of ours to each peer, and ours as a share of the realistic roofline. A ratio is
taken between a peer's run and the run of ours just before it; the median of
these and, in brackets, the lowest and highest.
"""
import json
import statistics
import sys

NOISE = 0.005  # relative: what the losses of step 1 may differ by, bf16 rounding


def spread(values, digits=2):
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def print_rows(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0])] + [x.rjust(w) for x, w in zip(row[1:], widths[1:])]).rstrip())


def medians(runs):
    rows = [["program", "runs", "tok/s (min-max)", "fwd s", "bwd s", "opt s", "MFU", "GB", "first step s", "loss 1", "dirty"]]
    for name, lines in runs.items():
        med = lambda k: statistics.median(x[k] for x in lines)  # noqa: E731, B023
        rows.append([name, str(len(lines)), spread([x["tok_s"] for x in lines], 0), f"{med('fwd'):.3f}", f"{med('bwd'):.3f}",
                     f"{med('opt'):.3f}", f"{med('mfu'):.3f}", f"{med('rss_gb'):.2f}", f"{med('first_step_s'):.1f}",
                     f"{lines[0]['loss'][0]:.4f}",
                     f"{sum(x['dirty'] for x in lines)}/{sum(x['dirty'] + x['clean'] for x in lines)}"])
    print_rows(rows)


def main():
    lines = [json.loads(x) for x in open(sys.argv[1])]
    for length in sorted({x["seq"] for x in lines if "seq" in x}):
        runs, pairs, ours = {}, {}, {}
        for line in (x for x in lines if x.get("seq") == length):
            runs.setdefault(line["name"], []).append(line)
            is_dense = "-dense" in line["name"]
            if line["name"].startswith("xtuner"):
                ours[is_dense] = line
            elif is_dense in ours:
                pairs.setdefault(line["name"], []).append((ours[is_dense], line))
        print(f"\n== {length} tokens, {lines[-1]['rounds']} rounds; tokens/s by the median step\n")
        medians(runs)
        if pairs:
            print()
            rows = [["xtuner to", "speed", "memory", "first step"]]
            for name, both in pairs.items():
                rows.append([name, spread([a["tok_s"] / b["tok_s"] for a, b in both]),
                             spread([a["rss_gb"] / b["rss_gb"] for a, b in both]),
                             spread([a["first_step_s"] / b["first_step_s"] for a, b in both])])
            print_rows(rows)
            best = max(pairs, key=lambda n: statistics.median(b["tok_s"] for _, b in pairs[n]))
            least = min(pairs, key=lambda n: statistics.median(b["rss_gb"] for _, b in pairs[n]))
            print(f"fastest peer: {best}; least memory: {least}")
        limits = [x for x in lines if x["name"] == "limits" and str(length) in x["roofline"]]
        if limits and "xtuner" in runs:
            best = [x["roofline"][str(length)]["real_tok_s"] for x in limits]
            shares = [x["tok_s"] / statistics.median(best) for x in runs["xtuner"]]
            print(f"realistic roofline: {spread(best, 0)} tokens/s; xtuner reaches {spread(shares)} of it")
        for dense in (False, True):
            first = [r[0]["loss"][0] for n, r in runs.items() if ("-dense" in n) == dense]
            if first and max(first) - min(first) > NOISE * max(first):
                print(f"WARNING: the losses of step 1 differ by {max(first) - min(first):.4f}; "
                      "the programs do not compute the same")
        if any(2 * x["dirty"] > x["dirty"] + x["clean"] for r in runs.values() for x in r):
            print("WARNING: other programs took the processor in most steps of some run")


if __name__ == "__main__":
    main()
