"""The table of targets at the end of gpu_speed.py, from the lines that it wrote."""
import statistics


def counted(rows, part, who):
    """Rows of rounds that count: all but that of the mixture's round 0, with as many layers as the last."""
    found = [r for r in rows if r["part"] == part and r["who"] == who and r.get("tok_s") and r.get("round") != 0]
    return [r for r in found if r.get("layers") == found[-1].get("layers")]


def best_peer(rows, peers):
    speeds = {name: [r["tok_s"] for r in counted(rows, "mixture", name)] for name in peers}
    speeds = {name: statistics.median(x) for name, x in speeds.items() if x}
    return max(speeds, key=speeds.get) if speeds else None


def reason(rows, part, who):
    errors = [r["error"] for r in rows if r["part"] == part and r["who"] == who and "error" in r]
    return errors[-1] if errors else "not run"


def ratios(rows, peer):
    pairs = []
    for theirs in counted(rows, "mixture", peer):
        mine = [r["tok_s"] for r in counted(rows, "mixture", "ours")
                if all(r.get(key) == theirs.get(key) for key in ("call", "layers", "round")) and r["before"] == peer]
        pairs += [m / theirs["tok_s"] for m in mine]
    return pairs


def targets(rows, peers):
    """(target, value, met or not or None where there is no value)"""
    out, best = [], best_peer(rows, peers)
    pairs = ratios(rows, best) if best else []
    out.append((f"30B-A3B: tokens/s of the best peer ({best or 'none ran'}) x 1.3",
                f"x {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})" if pairs
                else f"ours: {reason(rows, 'mixture', 'ours')}", statistics.median(pairs) >= 1.3 if pairs else None))

    def median(part, who, key, least, text):
        values = [r[key] for r in counted(rows, part, who)]
        value = statistics.median(values) if values else None
        out.append((text, f"{value:.3f}" if values else reason(rows, part, who), value >= least if values else None))

    median("mixture", "ours", "mfu", 0.45, "30B-A3B: MFU 0.45 in bf16")
    low, high = (counted(rows, "mixture", x) for x in ("ours", "ours-fp8"))
    if low and high:
        value = statistics.median(r["tok_s"] for r in high) / statistics.median(r["tok_s"] for r in low)
        out.append(("30B-A3B: float8 x 1.25 of our bf16", f"x {value:.2f}", value >= 1.25))
    else:
        why = reason(rows, "mixture", "ours-fp8")
        # Status 2 is that of a refused option.
        why = "refused: " + why.removeprefix("status 2: ") if why.startswith("status 2: ") else why
        out.append(("30B-A3B: float8 x 1.25 of our bf16", why, None))
    median("dense", "ours", "mfu", 0.55, "8B: MFU 0.55 in bf16")

    def longest(*names):
        return max((r for r in rows if r["part"] == "longest" and r["who"] in names and r.get("tok_s")),
                   key=lambda r: r["seq"], default=None)

    def ended(*names):
        """Whether memory ended the search of all of them, and not time."""
        return all(any(r.get("out_of_memory") for r in rows if r["part"] == "longest" and r["who"] == name)
                   for name in names)

    mine, theirs = longest("ours", "ours-optimizer-swapped"), longest("torchtitan", "transformers")
    text = "longest sequence: twice the best peer's, 65,536 at least"
    if mine:
        peer = f"{theirs['who']} {theirs['seq']:,} ({theirs['med']:.1f} s)" if theirs else "no peer ran"
        is_limit = ended("torchtitan", "transformers")
        if theirs and not is_limit:
            peer += ", stopped by time and not by memory"
        helped = longest("torchtitan-chunked")
        if helped:
            peer += f", {helped['seq']:,} with a chunked loss that is ours"
        out.append((text, f"{mine['seq']:,} ({mine['med']:.1f} s a step); {peer}",
                    mine["seq"] >= 65536 and mine["seq"] >= 2 * theirs["seq"] if theirs and is_limit else None))
    else:
        out.append((text, reason(rows, "longest", "ours"), None))
    idle = [r for r in rows if r["part"] == "idle" and "idle" in r]
    ours = [r["idle"] for r in idle if r["who"] == "ours"]
    beside = "".join(f"; {r['who']} {r['idle']:.1%}" for r in idle if r["who"] != "ours")
    out.append(("at most 3 % of a step idle", f"{ours[-1]:.1%}{beside}" if ours else reason(rows, "idle", "ours"),
                ours[-1] <= 0.03 if ours else None))
    waits = [r for r in rows if r["part"] == "waits"]
    out.append(("a step without waiting for the device", waits[-1].get("error", "yes") if waits else "not run",
                "error" not in waits[-1] if waits and "missing" not in waits[-1] else None))
    return out


def write_table(rows, peers):
    table = [(a, b, {True: "met", False: "MISSED", None: "-"}[c]) for a, b, c in targets(rows, peers)]
    width = max(len(a) for a, _, _ in table)
    print(f"\n{'target':{width}}  {'':6}  value")
    for a, b, c in table:
        print(f"{a:{width}}  {c:6}  {b}")
