"""Write the tables and figures of the documents from the result files; `--check` only compares.

A part between `<!-- results:NAME -->` and `<!-- end -->` belongs to this program.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PART = re.compile(r"(<!-- results:([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def result(suite: str) -> dict:
    """Read one result file."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{suite}.json").read_text("utf-8"))


def draft_table() -> str:
    """Speed of drafts over the engine's base, per format and kind of text."""
    data = result("draft")
    sources = list(data["verdicts"])
    heads = " | ".join(f"`{name}`, identical" for name in sources)
    lines = [
        f"| format | text | base, tokens/s | {heads} | fixed lookup | answers that count |",
        "|---|---|---|" + "---|" * len(sources) + "---|---|",
    ]
    for cell in data["cells"]:
        claim = "" if cell["claim"] else " (too few: no claim)"
        own = " | ".join(
            f"{with_interval(cell[name])}, {cell[name]['identical_answers']:.0%}"
            for name in sources
        )
        lines.append(
            f"| {cell['dtype']} | `{cell['workload']}` | {cell['base_tokens_per_second']:.1f} "
            f"| {own} | {cell['fixed_lookup']['speed_ratio']:.2f}× "
            f"| {cell['counted']} of {cell['items']}{claim} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def decode_table() -> str:
    """Decoding with drafts against the fastest peer, per format and kind of text."""
    data = result("decode")
    named = data["cells"][0]["contestants"]
    sources = [name for name in named if name in ("copyspec", "suffix")]
    heads = " | ".join(f"`{name}`" for name in sources)
    lines = [
        f"| format | text | base, tokens/s | {heads} | fixed lookup | all sources | fastest peer "
        "| all sources over it (95 % interval) | over our best single setting | identical answers | answers that count |",
        "|" + "---|" * (len(sources) + 10),
    ]
    for cell in data["cells"]:
        own, peer = cell["contestants"], cell["best_peer"]
        if not cell["counted"]:
            continue
        speeds = " | ".join(
            f"{own[name]['over_base']['speed_ratio']:.2f}×"
            for name in (*sources, "fixed_lookup", "controller")
        )
        fastest = f"{peer}: {own[peer]['tokens_per_second']:.1f}" if peer else "none"
        over = own["controller"]["over_best_peer"]
        single = cell["controller_over_best_single"]["speed_ratio"]
        claim = "" if cell["claim"] else " (too few: no claim)"
        lines.append(
            f"| {cell['dtype']} | `{cell['workload']}` | {own['base']['tokens_per_second']:.1f} "
            f"| {speeds} | {fastest} | {with_interval(over)} | {single:.2f}× "
            f"| {own['controller']['identical_answers']:.0%} "
            f"| {cell['counted']} of {cell['items']}{claim} |"
        )
    return "\n".join(lines) + "\n" + elsewhere(data) + source(data)


def decoys_table() -> str:
    """What drafts cost where every match misleads."""
    data = result("decoys")
    lines = [
        "| format | adversary | speed over the base (95 % interval) | by the price table | drafted, kept, of written |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell['dtype']} | {cell['adversary']} | {with_interval(cell, places=3)} "
        f"| {cell['predicted_ratio']:.3f}× "
        f"| {cell['drafted']:.0f}, {cell['accepted']:.0f}, {cell['tokens']:.0f} |"
        for cell in data["cells"]
    ]
    note = (
        f"\nThe worst costs {100 * (1 / data['worst'] - 1):.1f} % over answers of "
        f"{data['new_tokens']} tokens; the goal is under {100 * data['limit']:.0f} %.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def hindsight_table() -> str:
    """The controller against fixed draft lengths and the oracle, in the price table."""
    data = result("decode")
    lines = [
        "| format | text | controller | best fixed source and length | controller over it | oracle | share of the oracle's saving |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        hindsight_row(cell["dtype"], f"`{cell['workload']}`", cell["in_hindsight"])
        for cell in data["cells"]
        if cell["in_hindsight"]
    ]
    lines += [
        hindsight_row(dtype, "all four", found)
        for dtype, found in data["in_hindsight"].items()
        if found
    ]
    return "\n".join(lines) + "\n" + elsewhere(data) + source(data)


def hindsight_row(dtype: str, text: str, found: dict) -> str:
    """One workload, or all of a format."""
    share = found.get("oracle_share")
    return (
        f"| {dtype} | {text} | {found['controller_ratio']:.2f}× | {found['best_fixed']} "
        f"| {found['controller_over_best_fixed']:.2f}× | {found['oracle_ratio']:.2f}× "
        f"| {'–' if share is None else f'{share:.0%}'} |"
    )


def with_interval(found: dict | None, *, places: int = 2) -> str:
    """A ratio with its interval, where there are any."""
    if found is None:
        return "–"
    interval = found["speed_interval"]
    bounds = f" ({interval[0]:.{places}f}–{interval[1]:.{places}f})" if interval else ""
    return f"{found['speed_ratio']:.{places}f}×{bounds}"


def base_table() -> str:
    """The engine's base over transformers."""
    data = result("base")
    lines = [
        "| format | threads | batch | Rheostat base, tokens/s | `transformers`, tokens/s | ratio | identical answers |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c['dtype']} | {c['threads']} | {c['batch']} "
        f"| {c['engine_tokens_per_second']['median']:.1f} "
        f"| {c['transformers_tokens_per_second']['median']:.1f} "
        f"| {c['ratio']['median']:.2f}× | {c['identical_answers']:.0%} |"
        for c in data["cells"]
    ]
    return "\n".join(lines) + "\n" + source(data)


def depth_table() -> str:
    """Excess nats of dropped sub-layers against the controls."""
    data = result("depth")
    lines = [
        "| left out | `llm_drop` by similarity | by loss | random (mean of 3) | first | last | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in data["static"]:
        cells = [
            c[name]["loss"]
            for name in (
                "llm_drop_similarity",
                "llm_drop_loss",
                "random",
                "constant_first",
                "constant_last",
                "constant_spread",
            )
        ]
        numbers = " | ".join(map(signed, cells))
        lines.append(f"| {c['dropped']} {c['unit']} | {numbers} |")
    note = (
        f"\nExcess nats a token on held-out text of {data['tokens']} tokens; "
        f"the base loses {data['base_loss']:.2f}.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.2f}".replace("-0.00", "+0.00").replace("-", "−")


def skip_table() -> str:
    """The dynamic skip against static sets of the same number of skipped MLPs."""
    data = result("depth")
    lines = [
        "| dial | MLPs skipped a token | `ffn_skip` | static set, same skips | random set, same skips | seconds a token, over base |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c['dial']:g} | {c['mlps_skipped_a_token']:.2f} | {signed(c['ffn_skip']['loss'])} "
        f"| {signed(c['static_similarity_at_equal_skips'])} | {signed(c['random_at_equal_skips'])} "
        f"| {c['seconds_a_token_over_base']:.2f} |"
        for c in data["dynamic"]
    ]
    return "\n".join(lines) + "\n" + source(data)


def prove_table() -> str:
    """Counts of identical answers, a column each format."""
    data = result("prove")
    groups, peer = data["drafts"], data["transformers"]
    lines = [
        "| compared with the base | " + " | ".join(group["dtype"] for group in groups) + " |",
        "|---|" + "---|" * len(groups),
        "| `transformers` | "
        + " | ".join(
            f"{peer['identical']} of {peer['answers']}" if group["dtype"] == peer["dtype"] else "–"
            for group in groups
        )
        + " |",
    ]
    for cells in zip(*(group["cells"] for group in groups), strict=True):
        counts = " | ".join(
            f"{cell['identical']} of {group['answers']}{parted(cell)}"
            for cell, group in zip(cells, groups, strict=True)
        )
        lines.append(f"| {cells[0]['method']} at {cells[0]['dial']:g} | {counts} |")
    note = "\nIn brackets the largest gap between the two best logits where answers part.\n"
    return "\n".join(lines) + "\n" + note + source(data)


def parted(cell: dict) -> str:
    """The largest top-2 gap where answers parted, if any did."""
    margin = cell["largest_margin_where_parted"]
    return "" if margin is None else f" ({margin:.1g})"


def step_table() -> str:
    """Milliseconds of a step and the shares of its parts."""
    data = result("step")
    parts = list(dict.fromkeys(part for cell in data["cells"] for part in cell["shares"]))
    lines = [
        "| format | tokens | ms a step | operations | " + " | ".join(parts) + " |",
        "|" + "---|" * (len(parts) + 4),
    ]
    for cell in data["cells"]:
        shares = " | ".join(
            f"{cell['shares'][part]:.0%}" if part in cell["shares"] else "–" for part in parts
        )
        lines.append(
            f"| {cell['dtype']} | {cell['tokens']} | {1e3 * cell['seconds']['median']:.1f} "
            f"| {cell['operations']:.0f} | {shares} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def startup_line() -> str:
    """Import and second start."""
    data = result("startup")
    return (
        f"`import rheostat` takes {1e3 * data['import_seconds']['median']:.0f} ms and loads no torch; "
        f"a second start of `smollm2` takes {data['second_start_seconds_float32']['median']:.1f} s "
        "beyond the imports.\n" + source(data)
    )


def trees_table() -> str:
    """Trees against chains of the same sources."""
    data = result("trees")
    lines = [
        "| format | text | sources | tree over chain, measured | predicted | chain, tree: tokens a step | accepted | deciding | identical to the base |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        both = [cell["chain"], cell["tree"]]
        steps = ", ".join(f"{own['tokens_per_step']:.2f}" for own in both)
        taken = ", ".join(
            "–" if own["acceptance"] is None else f"{own['acceptance']:.0%}" for own in both
        )
        deciding = ", ".join(f"{own['deciding_share']:.1%}" for own in both)
        same = ", ".join(f"{own['identical_answers']:.0%}" for own in both)
        over = cell["tree_over_chain"]
        lines.append(
            f"| {cell['dtype']} | `{cell['workload']}` | `{cell['sources']}` | {with_interval(over)} "
            f"| {over['predicted_ratio']:.2f}× | {steps} | {taken} | {deciding} | {same} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def selfdraft_table() -> str:
    """Drafts by forward passes over the engine's base, per kind of text."""
    data = result("selfdraft")
    cells = data["cells"]
    heads = " | ".join(f"`{c['workload']}`: speed, predicted, discarded" for c in cells)
    lines = [f"| | {heads} |", "|---|" + "---|" * len(cells)]
    for name in cells[0]["contestants"]:
        if name == "base":
            continue
        parts = []
        for cell in cells:
            c = cell["contestants"][name]
            lost = "–" if c["discarded"] is None else f"{c['discarded']:.0%}"
            parts.append(f"{with_interval(c)}, {c['predicted_ratio']:.2f}×, {lost}")
        lines.append(f"| {name} | {' | '.join(parts)} |")
    head = data["head"]["held_out"]
    return (
        "\n".join(lines)
        + f"\n\nThe acceptance head, trained on {data['head']['examples']} drafted tokens, loses "
        + f"{head['loss']:.3f} on {head['examples']} others, a constant {head['constant_loss']:.3f}.\n"
        + source(data)
    )


def solve_table() -> str:
    """Rules of stopping against the majority of all samples, at their usual dials."""
    data = result("solve")
    lines = [
        f"| rule | tokens, of {data['samples']} samples' | same answer as all of them | right | agreement over fixed numbers of samples at equal tokens |",
        "|---|---|---|---|---|",
        solve_row("all samples", data["majority"]),
    ]
    lines += [
        solve_row(f"`{rule['name']}`", rule)
        for rule in data["rules"]
        if rule["dial"] == rule["usual"]
    ]
    lines += [solve_row(name, rule) for name, rule in data["its_hub"].get("rules", {}).items()]
    lines.append(solve_row("hindsight", data["oracle"]))
    return "\n".join(lines) + "\n\n" + cheapest_line(data) + source(data)


def cheapest_line(data: dict) -> str:
    """The rules that were chosen on other questions: the cheapest, and the most often right within a share."""
    found = data["cheapest"]
    before = found["chosen_on"]
    return (
        f"Of {before['rules']} rules and dials, `{found['name']}` at {found['dial']:g} is the cheapest that is right as "
        f"often as all samples on {before['questions']} questions of the calibration seed ({before['tokens_ratio']:.2f}× "
        f"of the tokens, {before['accuracy_difference']:+.3f} right). {chosen_line(found)}\n\n"
        f"Of those of at most 0.45× of the tokens, `{data['most_right']['name']}` at {data['most_right']['dial']:g} is right "
        f"most often there ({data['most_right']['chosen_on']['accuracy_difference']:+.3f}). "
        f"{chosen_line(data['most_right'])}\n\n"
    )


def chosen_line(found: dict) -> str:
    """What a rule does on the questions that are shown."""
    low, high = found["accuracy_difference_interval"]
    return (
        f"Here it takes {found['tokens_ratio']:.2f}× and is right in {found['accuracy']:.3f}, "
        f"{found['accuracy_difference']:+.3f} ({low:+.3f} to {high:+.3f}) over all samples."
    )


def solve_row(name: str, found: dict) -> str:
    """One rule with its intervals over questions."""
    low, high = found["tokens_ratio_interval"]
    gains = found.get("against_fixed")
    gain = "–"
    if gains:
        below, above = gains["agrees_interval"]
        gain = f"{gains['agrees']:+.3f} ({below:+.3f} to {above:+.3f})"
    return (
        f"| {name} | {found['tokens_ratio']:.2f}× ({low:.2f}–{high:.2f}) | {found['agreement']:.3f} "
        f"| {found['accuracy']:.3f} | {gain} |"
    )


def solve_line() -> str:
    """What stopping early saves, in one sentence."""
    data = result("solve")
    rules = {rule["name"]: rule for rule in data["rules"] if rule["dial"] == rule["usual"]}
    said = [
        f"`{name}` takes {rule['tokens_ratio']:.2f}× of the tokens of all {data['samples']} samples and gives the "
        f"same answer in {rule['agreement']:.1%}"
        for name, rule in [(n, rules[n]) for n in ("agreement", "urn")]
        + list(data["its_hub"].get("rules", {}).items())
    ]
    return f"On one-digit arithmetic, {'; '.join(said)}.\n" + source(data)


def budget_table() -> str:
    """Ways to divide one budget under an exact verifier."""
    data = result("solve")["budget"]
    lines = [
        "| budget divided by | solved | over the equal split | tokens on questions that no sample solves, of the equal split's |",
        "|---|---|---|---|",
        f"| equal split | {data['equal_split']['solved']:.3f} | – | 1.00× |",
    ]
    for name, found in data["allocations"].items():
        low, high = found["solved_gain_interval"]
        lines.append(
            f"| `{name}` | {found['solved']:.3f} | {found['solved_gain']:+.3f} ({low:+.3f} to {high:+.3f}) "
            f"| {found['unsolvable_ratio_to_equal_split']:.2f}× |"
        )
    lines.append(f"| hindsight | {data['hindsight_solved']:.3f} | – | 0.00× |")
    bounds = data["bounds"]
    reached = [
        f"`{name}` {found['ratio_to_round_robin']:.2f}×"
        if found["ratio_to_round_robin"]
        else f"`{name}` ends before it, at {found['curve'][-1]['solved'] / data['round_robin_without_limit']['solved']:.1%}"
        for name, found in data["allocations"].items()
        if name in ("round_robin", "by_value", "by_value, learnt")
    ]
    note = (
        f"\nNo policy that knows how many questions of each kind have how many right samples, and sees of a question "
        f"only which samples are right, solves more than {bounds['most_solved']:.3f} of them within this budget; with "
        f"{bounds['gain']:+.2f} over the equal split it spends at least {bounds['least_unsolvable_ratio_at_gain']:.2f}× of its "
        f"tokens on questions that no sample solves. Without a limit, 97 % of what round robin solves takes such a policy "
        f"{bounds['least_ratio_to_round_robin']:.2f}× of its tokens"
        + "".join(f", {one}" for one in reached)
        + ".\n"
    )
    return "\n".join(lines) + "\n" + note + source(result("solve"))


def frugal_table() -> str:
    """What runs solve and waste by how much they ask of a question, where it was chosen and here."""
    data = result("solve")["budget"]
    lines = [
        "| solutions asked for 1,000 tokens in vain | over the equal split | all tokens | tokens on questions that "
        "no sample solves | where it was chosen: over the equal split | tokens on such questions |",
        "|---|---|---|---|---|---|",
    ]
    for here, there in zip(data["frugal_curve"], data["frugal_chosen_on"], strict=True):
        mark = " (chosen)" if here["frugal"] == data["frugal"] else ""
        lines.append(
            f"| {here['frugal']:g}{mark} | {here['solved_gain']:+.3f} | {here['tokens_ratio']:.2f}× "
            f"| {here['unsolvable_ratio']:.2f}× | {there['solved_gain']:+.3f} | {there['unsolvable_ratio']:.2f}× |"
        )
    return "\n".join(lines) + "\n" + source(result("solve"))


def agreement_table() -> str:
    """Samples taken and answers changed by every rule, a row a distribution and N."""
    data = result("agreement")
    names = list(data["cells"][0]["rules"])
    lines = [
        f"| N | shares of answers | {' | '.join(f'`{name}`' for name in names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for cell in data["cells"]:
        own = " | ".join(
            f"{rule['samples']:.1f}, {rule['disagree']:.3f}" for rule in cell["rules"].values()
        )
        lines.append(f"| {cell['samples']} | {cell['distribution']} | {own} |")
    return "\n".join(lines) + "\n" + source(data)


def controls_table() -> str:
    """Rules that prune, ask or hedge against both controls at equal tokens."""
    data = result("controls")
    lines = [
        "| rule | tokens, of all samples' | right | of all samples | over fixed numbers | over lots |",
        "|---|---|---|---|---|---|",
    ]
    for method in ("deepprune", "self_evaluation", "hedged"):
        part = data[method]
        for name, row in part["rows"].items():
            gains = " | ".join(
                gained(row[control], "right") for control in ("against_fixed", "against_lots")
            )
            lines.append(
                f"| `{method}`, {name} | {row['tokens_ratio']:.2f}× | {row['accuracy']:.3f} "
                f"| {part['majority']['accuracy']:.3f} | {gains} |"
            )
    probe = data["self_evaluation"]["probe"]
    said = [
        controls_line(data, "deepprune", "own judge", "with its own judge"),
        controls_line(data, "deepprune", "knows", "with a judge that knows"),
        controls_line(data, "self_evaluation", "own probes", "with what it reads counted"),
        controls_line(data, "hedged", "own pool", "with its greedy sample"),
    ]
    note = (
        " ".join(said)
        + f" Asked whether a fresh try would be better, the model tells right samples from wrong ones with an AUROC of "
        f"{probe['auroc']:.2f}. Rows that take more tokens than all samples are held against all samples.\n"
    )
    return "\n".join(lines) + "\n\n" + note + source(data)


def controls_line(data: dict, method: str, start: str, way: str) -> str:
    """In how many rows a method is more, and in how many less often right than fixed numbers of samples."""
    rows = [
        row["against_fixed"] for name, row in data[method]["rows"].items() if name.startswith(start)
    ]
    better = sum(row["right_interval"][0] > 0 for row in rows)
    worse = sum(row["right_interval"][1] < 0 for row in rows)
    return f"`{method}` {way} is right more often than fixed numbers of samples in {better} and less often in {worse} of {len(rows)} rows."


def cuts_table() -> str:
    """Cuts within a sample against fixed and random lengths at equal tokens."""
    data = result("controls")
    rows = dict(data["stop"])
    whole = rows.pop("natural end")
    lines = [
        "| cut | tokens | right samples | over the natural end | over fixed lengths | over random lengths |",
        "|---|---|---|---|---|---|",
        f"| natural end, {whole['tokens_per_sample']:.1f} tokens | 1.00× | {whole['right']:.3f} | – | – | – |",
    ]
    for name, row in rows.items():
        gains = " | ".join(
            gained(row[f"against_{other}"], "right")
            for other in ("whole", "fixed_length", "random_length")
        )
        lines.append(f"| `{name}` | {row['tokens_ratio']:.2f}× | {row['right']:.3f} | {gains} |")
    said = []
    for name in ("first_solution", "trimr"):
        if all(row["tokens_ratio"] == 1 for label, row in rows.items() if label.startswith(name)):
            said.append(f"`{name}` found nothing to cut.")
        elif data["verdicts"][name]["beats_controls"]:
            said.append(f"`{name}` beats both controls at dial 1.")
        else:
            said.append(f"`{name}` does not beat both controls at dial 1.")
    return "\n".join(lines) + "\n\n" + " ".join(said) + "\n" + source(data)


def verify_table() -> str:
    """Verifying against voting at equal tokens."""
    data = result("verify")
    lines = [
        "| verifier | S, V | right | votes of as many tokens | gain |",
        "|---|---|---|---|---|",
    ]
    for cell in data["simulated"]:
        label = f"right {cell['accuracy']:.0%}, at {cell['price']:g} of a sample's tokens"
        lines.append(verify_row(label, cell["best"]))
    own = data["own"]
    lines += [verify_row("the model itself, in words", row) for row in own["splits"]]
    worse = sum(row["right"]["over_votes_interval"][1] < 0 for row in own["splits"])
    pays = ", ".join(
        f"{least:.0%} right at {float(price):g} of a sample's tokens"
        for price, least in data["least_accuracy_that_pays"].items()
        if least is not None
    )
    once = all(cell["best"]["verifications"] == 1 for cell in data["simulated"])
    note = (
        f"The least accurate verifiers that pay for sure: {pays}. "
        + ("One verification of a sample was best everywhere. " if once else "")
        + f"The model's own verdicts are right in {own['accuracy']:.0%}; "
        f"{worse} of {len(own['splits'])} splits with them are right less often than votes of as many new tokens, though "
        f"the {own['prompt_tokens_of_a_verification']:.0f} tokens that a verification reads are not counted.\n"
    )
    return "\n".join(lines) + "\n\n" + note + source(data)


def verify_row(label: str, row: dict) -> str:
    """One way to spend tokens on verifying."""
    return (
        f"| {label} | {row['samples']}, {row['verifications']} | {row['right']['right']:.3f} "
        f"| {row['votes_right']:.3f} | {gained(row['right'], 'over_votes')} |"
    )


def gained(found: dict, name: str) -> str:
    """A gain with its interval."""
    low, high = found[f"{name}_interval"]
    return f"{found[name]:+.3f} ({low:+.3f} to {high:+.3f})"


def drive_line() -> str:
    """Throughput of many samples, and the driver's own share."""
    data = result("drive")
    speeds = ", ".join(
        f"{cell['ratio']['median']:.1f}× in {dtype} ({cell['many_tokens_per_second']['median']:.0f} "
        f"instead of {cell['one_tokens_per_second']['median']:.0f} tokens a second)"
        for dtype, cell in data["throughput"].items()
    )
    allowed = " and ".join(
        f"{cell['products_alone']['ratio']:.1f}×" for cell in data["throughput"].values()
    )
    share = data["overhead"]["share"]
    return (
        f"{data['rows']} samples side by side: {speeds}. Were there nothing but the products with the weights, a step "
        f"would allow {allowed}. Of a run of `solve`, {share['median']:.1%} "
        f"of the time ({share['min']:.1%} to {share['max']:.1%}) is not spent in the model.\n"
        + source(data)
    )


def judge_line() -> str:
    """How well the judge of unfinished samples orders pairs it has not seen."""
    data = result("judge")
    tested = data["tested"][str(data["length"])]
    return (
        f"The judge of unfinished samples, on {tested['pairs']} pairs of questions it was not fitted "
        f"on: AUROC {tested['auroc']:.2f} at {data['length']} tokens, words in common by themselves "
        f"{tested['auroc_of_shared_words']:.2f}.\n" + source(data)
    )


def certify_table() -> str:
    """The largest share of wrong claims over numbers of items and limits, a row a world and number of settings."""
    data = result("certify")
    names = ("binomial", "hoeffding_bentkus", "betting")
    lines = [
        "| losses | world | settings | items | "
        + " | ".join(f"`{name}` wrong" for name in names)
        + " | best on the calibration set wrong |",
        "|" + "---|" * (len(names) + 5),
    ]
    groups: dict[tuple, list[dict]] = {}
    for cell in data["cells"]:
        key = cell["losses"], cell["world"], cell["methods"]
        groups.setdefault(key, []).append(cell)
    for (losses, world, methods), cells in groups.items():
        sizes = sorted({cell["items"] for cell in cells})
        own = " | ".join(largest(cells, name) for name in names)
        naive = largest(cells, "best on the calibration set")
        lines.append(
            f"| {losses} | {world} | {methods} | {sizes[0]}–{sizes[-1]} | {own} | {naive} |"
        )
    allowed = data["alpha"] + 2 * data["cells"][0]["rules"]["betting"]["standard_error"]
    return (
        "\n".join(lines)
        + f"\n\nThe largest share over {len(data['limits'])} limits and all numbers of items, {data['trials']:,} trials each; "
        + f"a bound holds up to {allowed:.4f} (two standard errors over 5 %). {data['verdict']['evidence'].capitalize()}.\n"
        + source(data)
    )


def largest(cells: list[dict], rule: str) -> str:
    """The largest share of wrong claims of a rule over cells that have it."""
    found = [cell["rules"][rule]["violated"] for cell in cells if rule in cell["rules"]]
    return f"{max(found):.4f}" if found else "–"


def certify_power_table() -> str:
    """How often a good setting is certified."""
    data = result("certify")
    names = ("binomial", "hoeffding_bentkus", "betting")
    heads = " | ".join(f"`{n}`" for n in names)
    lines = [f"| losses | limit | useless settings beside it | {heads} |", "|" + "---|" * 6]
    groups: dict[tuple, list[dict]] = {}
    for cell in data["power"]:
        limit = "four times its own" if cell["losses"] == "recorded" else f"{cell['limit']:g}"
        groups.setdefault((cell["losses"], limit, cell["useless"]), []).append(cell["certified"])
    for (losses, limit, useless), cells in groups.items():
        shares = [[cell[name] for cell in cells if name in cell] for name in names]
        own = " | ".join(f"{min(found):.1%}" if found else "–" for found in shares)
        lines.append(f"| {losses} | {limit} | {useless} | {own} |")
    return "\n".join(lines) + "\n" + source(data)


def certify_looks_table() -> str:
    """How often the truth is ever outside, at a look after every item."""
    data = result("certify")
    looks = data["looks"]
    lines = [
        f"| losses | confidence sequence ever wrong | its width after {looks['items']} items | intervals for one look ever wrong |",
        "|" + "---|" * 4,
    ]
    for name in ("0/1", "shares", "nats"):
        found = looks[name]
        lines.append(
            f"| {name} | {found['sequence']:.3f} | {found['width']:.3f} | {found['repeated_intervals']:.3f} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def oracle_table() -> str:
    """Exits and masks in hindsight: mean price of a token as a share of the base's."""
    data = result("oracle")
    lines = [
        "| text | decision | changed tokens allowed | oracle | chance | best single choice | best lottery "
        "| rule of certainty, looks free | rule of certainty |",
        "|" + "---|" * 9,
    ]
    for cell in data["cells"]:
        for row in cell["exits"]["limits"]:
            rule = row["certainty"]
            tail = [f"{rule[name] / row['base']:.2f}" for name in ("price_if_free", "price")]
            lines.append(oracle_row(f"`{cell['workload']}`", "exit, a token", row, tail))
        for row in cell["masks"]["windows"]:
            unit = "a token" if row["tokens"] == 1 else f"{row['tokens']} tokens"
            lines.append(oracle_row(f"`{cell['workload']}`", f"mask, {unit}", row, ["–", "–"]))
    return "\n".join(lines) + "\n" + source(data)


def oracle_row(text: str, decision: str, row: dict, tail: list[str]) -> str:
    """One decision at one limit."""
    shown = [f"{row[n] / row['base']:.2f}" for n in ("oracle", "chance", "static", "random")]
    return f"| {text} | {decision} | {row['limit']:.0%} | {' | '.join([*shown, *tail])} |"


def oracle_drafts_table() -> str:
    """Drafts in hindsight: shares of the oracle's saving."""
    data = result("oracle")
    lines = [
        "| text | oracle: steps cheaper by | share: controller | best single source and length | by lot |",
        "|" + "---|" * 5,
    ]
    for cell in data["cells"]:
        found = cell["drafts"]
        lines.append(
            f"| `{cell['workload']}` | {found['oracle_ratio']:.2f}× | {found['oracle_share']:.0%} "
            f"| {found['best_fixed_share']:.0%} ({found['best_fixed']}) | {found['by_lot_share']:.0%} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def difficulty_table() -> str:
    """Tables by difficulty against fixed numbers of samples at equal tokens."""
    data = result("difficulty")
    lines = [
        "| answers by | difficulty from | budget, share of all samples' tokens | samples a question | accuracy "
        "| against fixed numbers (95 % interval) |",
        "|" + "---|" * 6,
    ]
    for row in data["tables"]:
        gain, (low, high) = row["against_fixed"]["right"], row["against_fixed"]["right_interval"]
        lines.append(
            f"| {row['answer_by']} | {row['difficulty']} | {row['budget']:.0%} "
            f"| {row['samples_per_question']:.1f} | {row['accuracy']:.3f} "
            f"| {gain:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    return "\n".join(lines) + f"\n\n{sentence(data)}\n" + source(data)


def laws_table() -> str:
    """Every law of cost against measured seconds."""
    data = result("laws")
    lines = [
        "| law | correlation with seconds | median error | median absolute error | largest | pairs in the wrong order |",
        "|" + "---|" * 6,
    ]
    lines += [
        f"| {row['law']} | {row['correlation']:.3f} | {row['median_error']:+.0%} "
        f"| {row['median_absolute_error']:.0%} | {row['largest_absolute_error']:.0%} "
        f"| {row['pairs_in_the_wrong_order']:.0%} |"
        for row in data["laws"]
    ]
    law = data["prefill_equivalents"]
    fit = (
        f"A written token is worth {law['step']:.1f} + {law['context']:.4f} × context tokens read, "
        f"within {law['largest_error']:.1%} of the price table."
    )
    return "\n".join(lines) + f"\n\n{fit} {sentence(data)}\n" + source(data)


def sentence(data: dict) -> str:
    """The evidence of a suite's verdict as a sentence."""
    evidence = data["verdict"]["evidence"]
    return f"{evidence[0].upper()}{evidence[1:]}."


def peers_table() -> str:
    """All draft sources against the fastest peer, in short."""
    data = result("decode")
    lines = [
        "| format | text | Rheostat, tokens/s | fastest peer, tokens/s | ratio (95 % interval) | identical to the base | answers that count |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        found, peer = cell["contestants"], cell["best_peer"]
        if not cell["counted"] or not peer:
            continue
        own = found["controller"]
        claim = "" if cell["claim"] else " (too few: no claim)"
        lines.append(
            f"| {cell['dtype']} | `{cell['workload']}` | {own['tokens_per_second']:.1f} "
            f"| {peer}: {found[peer]['tokens_per_second']:.1f} | {with_interval(own['over_best_peer'])} "
            f"| {own['identical_answers']:.0%} | {cell['counted']} of {cell['items']}{claim} |"
        )
    return "\n".join(lines) + "\n" + elsewhere(data) + source(data)


def constrain_table() -> str:
    """Checks and time of a token under a constraint, per contestant."""
    data = result("constrain")
    names = list(data["cells"][0]["contestants"])
    heads = " | ".join(f"{name}: checks, ms" for name in names)
    lines = [f"| constraint | tokens | {heads} |", "|---|---|" + "---|" * len(names)]
    for cell in data["cells"]:
        figures = " | ".join(
            f"{own['calls_a_token']:.1f}, {1e3 * own['deciding_seconds_a_token']:.2f}"
            for own in cell["contestants"].values()
        )
        lines.append(f"| {cell['task']} | {cell['way']} | {figures} |")
    invalid = sum(own["invalid"] for c in data["cells"] for own in c["contestants"].values())
    note = (
        f"\nChecks a token, and milliseconds from logits to a token, over a vocabulary of "
        f"{data['vocabulary']}; {invalid} invalid answers in all.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def cache_table() -> str:
    """Excess nats, answers found and bytes of every cache method at every share."""
    data = result("cache")
    base = data["base"]
    lines = [
        "| bytes | method | excess nats a token (95 % interval) | numbers found "
        "| nats a token of the answers | bytes measured |",
        "|---|---|---|---|---|---|",
        f"| 100 % | the whole cache | 0 | {base['found']} of {base['asked']} "
        f"| {base['answer_nats']:.2f} | 100 % |",
    ]
    for cell in data["cells"]:
        low, high = cell["excess_interval"]
        lines.append(
            f"| {cell['share']:.1%} | `{cell['method']}` | {signed(cell['excess_nats'])} "
            f"({signed(low)} to {signed(high)}) | {cell['found']} of {cell['asked']} "
            f"| {cell['answer_nats']:.2f} | {cell['byte_share']:.1%} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def numerics_table() -> str:
    """Where answers part within a format and against float32."""
    data = result("numerics")
    lines = [
        f"| format | the same alone and {data['batch']} together | first parting, token "
        "| largest margin there | the same as float32 | median parting, token | largest margin there |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        own, base = cell["alone_against_together"], cell["against_float32"]
        lines.append(
            f"| {cell['dtype']} | {own['identical']} of {data['answers']} "
            f"| {told(own['first_parting'])} | {told(own['largest_margin'])} "
            f"| {base['identical']} of {data['answers']} | {told(base['median_parting'])} "
            f"| {told(base['largest_margin'])} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def models_table() -> str:
    """Every shape against transformers on the same weights."""
    data = result("models")
    lines = [
        "| shape | runs on | format | Rheostat base, tokens/s | `transformers`, tokens/s | ratio (smallest to largest) |",
        "|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        ratio = cell["ratio"]
        lines.append(
            f"| {cell['model']} | {cell['runs_on']} | {cell['dtype']} "
            f"| {cell['engine_tokens_per_second']['median']:.1f} "
            f"| {cell['transformers_tokens_per_second']['median']:.1f} "
            f"| {ratio['median']:.2f}× ({ratio['min']:.2f}–{ratio['max']:.2f}) |"
        )
    own = data["identity"]
    note = (
        f"\n`{own['model']}` in {own['dtype']} writes the {own['new_tokens']} tokens of `transformers` "
        f"after {own['identical']} of {own['prompts']} prompts. All others are random models of 8 "
        "layers and width 512.\n"
    )
    return "\n".join(lines) + "\n" + note + planned_note(data["planned"]) + source(data)


def models_loads_table() -> str:
    """Every shape against transformers: several rows at once, and behind a long text."""
    data = result("models")
    loads = list(dict.fromkeys(cell["load"] for cell in data["loads"]))
    lines = [
        f"| shape | format | {' | '.join(loads)} |",
        f"|---|---|{'---|' * len(loads)}",
    ]
    found = {(c["model"], c["dtype"], c["load"]): c["ratio"] for c in data["loads"]}
    for model, dtype in dict.fromkeys((c["model"], c["dtype"]) for c in data["loads"]):
        ratios = [found.get((model, dtype, load)) for load in loads]
        told = [f"{r['median']:.2f}× ({r['min']:.2f}–{r['max']:.2f})" if r else "–" for r in ratios]
        lines.append(f"| {model} | {dtype} | {' | '.join(told)} |")
    note = "\nTokens a second after the first, over those of `transformers`.\n"
    return "\n".join(lines) + "\n" + note + source(data)


def planned_note(plan: dict) -> str:
    """What profiling and planning a model took, and what the plan measured."""
    methods = " + ".join(f"`{m['name']}` {m['dial']:.3g}" for m in plan["methods"])
    measured = plan["measured"]
    low, high = measured["seconds_interval"]
    return (
        f"\nProfile and lossless plan of `{plan['model']}` on `{plan['workload']}` in {plan['dtype']}: "
        f"{plan['profile_seconds']:.0f} s and {plan['plan_seconds']:.0f} s. The plan is "
        f"{methods or 'the base'}; it predicts {plan['predicted_price_ratio']:.2f} of the base's price "
        f"and takes {measured['seconds_ratio']:.2f} of its seconds (95 % interval {low:.2f} to {high:.2f}) on "
        f"{measured['items']} unseen texts, {measured['exact_match']:.0%} of them with the base's tokens. "
        f"A base model's answers repeat themselves (copy rate {plan['copy_rate']:.2f}), so this is no claim of speed.\n"
    )


def memory_table() -> str:
    """Peak memory above the imports against weights and cache."""
    data = result("memory")
    lines = [
        "| format | batch | weights and cache, MB | peak above the imports, MB | over what is needed | without libraries' code | without mapped files |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        needed = cell["weights_bytes"] + cell["cache_bytes"]
        above = cell["peak_bytes"] - cell["imports_bytes"]
        lines.append(
            f"| {cell['dtype']} | {cell['batch']} | {needed / 1e6:.0f} | {above / 1e6:.0f} "
            f"| {cell['above_needed']:+.0%} | {cell['without_libraries']:+.0%} | {cell['own_above_needed']:+.0%} |"
        )
    return "\n".join(lines) + "\n" + source(data)


def void_table() -> str:
    """Whole layers left out in the orders of LAC and of others."""
    data = result("void")
    alphas = [found["alpha"] for found in data["cells"][0]["lac"]]
    heads = " | ".join(f"`lac`, alpha {alpha:g}" for alpha in alphas)
    lines = [
        f"| layers left out | {heads} | `llm_drop` | random (mean of 3) | first | last | spread |",
        "|---|" + "---|" * (len(alphas) + 5),
    ]
    for cell in data["cells"]:
        own = " | ".join(signed(found["loss"]) for found in cell["lac"])
        others = ("llm_drop", "random", "constant_first", "constant_last", "constant_spread")
        lines.append(
            f"| {cell['dropped']} | {own} | {' | '.join(signed(cell[n]) for n in others)} |"
        )
    shares = ", ".join(f"{a['share']:.0%} at {a['alpha']:g}" for a in data["active"])
    note = f"\nExcess nats a token on held-out text. Layers that are not void: {shares}.\n"
    return "\n".join(lines) + "\n" + note + source(data)


def told(value: float | None) -> str:
    """A number, where there is one."""
    return "none" if value is None else f"{value:.3g}"


def cache_forms_table() -> str:
    """Block floating point with and without the channels in order, and what rebuilding takes."""
    data = result("cache")
    forms = data["forms"]
    lines = [
        "| bits a key | block | coding | error of the keys | excess nats a token | bytes |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell['bits_a_key']:g} | {coded_in(cell)} "
        f"| {cell['key_error']:.2%} | {signed(cell['excess_nats'])} | {cell['byte_share']:.0%} |"
        for cell in forms["bfp"]
    ]
    found = forms["kv_direct"]
    numbers, steps = found["numbers_a_token_and_layer"], found["step_seconds"]
    same = "the same" if found["identical"] else "not the same"
    off = found["difference_of_rebuilding"]
    rebuilt = (
        f"What is rebuilt differs from what was held by {off:.1e} at most"
        if off
        else "What is rebuilt is what was held, bit by bit"
    )
    lines.append(
        f"\n`kv_direct` after {found['tokens']} tokens: {found['written']} tokens written, {same} as "
        f"with the whole cache. {rebuilt}, where the largest number is {found['largest_number']:.0f}; "
        f"from the keys and values of a run without it they differ by {found['difference_of_runs']:.1e} at most. "
        f"It keeps {numbers['residual stream']} numbers a token and layer for "
        f"{numbers['keys and values']} of keys and values, {found['bytes'] / 1e6:.1f} MB for "
        f"{found['whole_bytes'] / 1e6:.1f} MB, and a step takes "
        f"{1e3 * steps['rebuilt']:.0f} ms for {1e3 * steps['whole']:.0f} ms. One vector a token "
        f"would be {found['one_vector_share']:.1%} of the cache, for reading the text again."
    )
    return "\n".join(lines) + "\n" + source(data)


def coded_in(cell: dict) -> str:
    """Numbers that share a scale or an exponent, and what they are."""
    if cell["coding"] == "plain integers":
        return f"{2 * cell['block']} | plain integers"
    return f"{cell['block']} | `bfp`, channels {cell['coding']}"


def cache_presses_table() -> str:
    """kvpress's own methods beside ours, up to the second border, at equal bytes."""
    data = result("cache")
    found = data["kvpress"]
    if not found["compared"]:
        return f"Not compared: {found['reason']}.\n" + source(data)
    lines = [
        "| bytes | method | excess nats a token | numbers found | nats a token of the answers "
        "| bytes measured |",
        "|---|---|---|---|---|---|",
    ]
    for share in sorted({cell["share"] for cell in data["cells"]}, reverse=True):
        own = [(f"`{cell['method']}`", cell) for cell in data["cells"] if cell["share"] == share]
        other = [
            (f"kvpress {cell['method']}", cell) for cell in found["cells"] if cell["share"] == share
        ]
        lines += [
            f"| {share:.1%} | {name} | {signed(cell['first_excess_nats'])} "
            f"| {cell['found']} of {cell['asked']} | {cell['answer_nats']:.2f} "
            f"| {cell['byte_share']:.1%} |"
            for name, cell in sorted([*own, *other], key=lambda one: one[1]["first_excess_nats"])
        ]
    versions, when = found["versions"], found.get("measured")
    earlier = f", measured {when['date']} on {when['machine']}" if when else ""
    note = (
        f"\nThe first {found['tokens']} tokens after the prompt, before anyone lets go again; kvpress "
        f"{versions['kvpress']} with transformers {versions['transformers']}, in an environment of "
        f"its own{earlier}.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def cache_speed_line() -> str:
    """Steps with a quarter of the bytes, and forks."""
    data = result("cache")
    steps, fork = data["steps"], data["fork"]
    ratio = steps["whole_over_part"]
    return (
        f"A step of {steps['rows']} rows after {steps['context']} tokens takes "
        f"{1e3 * steps['whole_seconds']['median']:.0f} ms with the whole cache "
        f"({steps['whole_bytes'] / 1e6:.0f} MB) and {1e3 * steps['part_seconds']['median']:.0f} ms "
        f"with `ems` at a quarter ({steps['part_bytes'] / 1e6:.0f} MB): {ratio['median']:.2f}× "
        f"({ratio['min']:.2f} to {ratio['max']:.2f} over {ratio['repeats']} turns). "
        f"A fork of {fork['tokens']} tokens ({fork['bytes'] / 1e6:.0f} MB) takes "
        f"{1e6 * fork['seconds']['median']:.1f} µs and copies nothing.\n" + source(data)
    )


def wide_table() -> str:
    """Tokens a second on all threads, one request and several at once."""
    data = result("wide")
    lines = [
        "| format | text | requests at once | base | with drafts | peers |",
        "|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        speeds = {name: own["median"] for name, own in cell["tokens_per_second"].items()}
        peers = ", ".join(
            f"{name} {speed:.1f}"
            for name, speed in speeds.items()
            if name not in ("base", "controller")
        )
        lines.append(
            f"| {cell['dtype']} | `{cell['workload']}` | {cell['rows']} | {speeds['base']:.1f} "
            f"| {speeds['controller']:.1f} | {peers} |"
        )
    note = f"\nTokens a second of all requests, on {data['threads']} threads; medians.\n"
    return "\n".join(lines) + "\n" + note + source(data)


def wide_line() -> str:
    """How far the base and its drafts are ahead of every peer on all threads."""
    data = result("wide")
    cells = []
    for cell in data["cells"]:
        speeds = {name: own["median"] for name, own in cell["tokens_per_second"].items()}
        own = [speeds.pop(name) for name in ("base", "controller")]
        cells.append((cell, own[0], max(own) / max(speeds.values())))

    def span(dtype: str, rows: int) -> str:
        found = [
            ahead for cell, _, ahead in cells if (cell["dtype"], cell["rows"]) == (dtype, rows)
        ]
        return f"{min(found):.1f} to {max(found):.1f} times"

    said = [
        f"{span(dtype, 1)} the fastest peer's speed in {dtype} for one request and {span(dtype, 4)} for four at once"
        for dtype in dict.fromkeys(cell["dtype"] for cell, *_ in cells)
    ]
    return f"On {data['threads']} threads, by text: {'; '.join(said)}.\n" + source(data)


def plans_table() -> str:
    """Plans against each single method, on unseen items."""
    data = result("plans")
    lines = [
        "| text | number formats allowed | the plan | speed (95 % interval) | loss | each method alone |",
        "|---|---|---|---|---|---|",
    ]
    for cell in data["cells"]:
        measured = cell["measured"]
        low, high = measured["loss_interval"]
        alone = ", ".join(f"{n} {speed_of(m)}" for n, m in cell["singles"].items()) or "none"
        lines.append(
            f"| `{cell['workload']}` | {', '.join(cell['formats']) or 'float32 alone'} "
            f"| {methods_of(cell['plan'])} | {speed_of(measured)} "
            f"| {measured['loss']:.4f} ({low:.4f}–{high:.4f}) | {alone} |"
        )
    note = (
        f"\nLimit: a `{data['loss']}` of {data['limit']:g}. Speed is measured seconds of the base / "
        "those of the plan, on the same unseen items in turn.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def plans_search_line() -> str:
    """How long a search took."""
    data = result("plans")
    found = data["search"]
    took = found["seconds"]
    kept = ", ".join(f"{n} on {items} items" for items, n in found["measured"].items())
    text = (
        f"{took['search'] / 60:.1f} minutes over {len(found['methods'])} methods and "
        f"{found['settings']} settings on {found['items']} items of at most {found['new_tokens']} new "
        f"tokens: {took['answers'] / 60:.1f} for the base's answers, {took['losses'] / 60:.1f} for "
        f"losses, {took['rest'] / 60:.1f} for pricing. Settings measured: {kept}.\n"
    )
    if "certified" in data:
        text += certifying_line(data["certified"])
    return text + source(data)


def certifying_line(found: dict) -> str:
    """What a certificate took beside its search."""
    seconds = found["seconds"]
    return (
        f"\nWith a certificate at confidence {found['confidence']:g} measuring took "
        f"{seconds['search'] / 60:.1f} minutes for the search and {seconds['certification']:.1f} "
        f"seconds, {found['share']:.1%} of that, to certify: {found['tested']} of the "
        f"{found['path']} settings of the path were tested.\n"
    )


def reason_table() -> str:
    """What was chosen together, on the published questions."""
    data = result("reason")
    lines = [
        "| cheapest by, accuracy may fall by | the plan | right (95 % interval) | against the base | price side by side | price one at a time | processor seconds | tokens |",
        "|" + "---|" * 8,
        f"| – | {setting_of(data['base'])} | {accuracy_of(data['base'])} | – | 1× | 1× | 1× | 1× |",
    ]
    for plan, asked in plans_by_choice(data["plans"]):
        low, high = plan["accuracy_difference_interval"]
        ratios = plan["ratios"]
        lines.append(
            f"| {asked} | {setting_of(plan)} | {accuracy_of(plan)} "
            f"| {plan['accuracy_difference']:+.3f} ({low:+.3f} to {high:+.3f}) "
            f"| {ratio_of(ratios['side_by_side'])} | {ratio_of(ratios['one_by_one'])} "
            f"| {ratio_of(ratios['processor_seconds'])} | {ratio_of(ratios['tokens'])} |"
        )
    chosen = data["chosen_on"]
    note = (
        f"\nChosen on {chosen['questions']} other questions, shown on {data['questions']}, "
        f"{data['orders']} orders of {data['samples']} samples each.\n"
    )
    return "\n".join(lines) + "\n" + note + source(data)


def reason_alone_table() -> str:
    """The plans against what each choice alone reaches at their cost."""
    data = result("reason")
    names = [name for name in data["singles"] if name not in ("precision", "samples")]
    lines = [
        "| cheapest by | accuracy may fall by | over `precision` alone | over fixed numbers alone | over the best rule alone | over fixed numbers in its format | over lots in its format | share of hindsight's saving |",
        "|" + "---|" * 8,
    ]
    for plan in data["plans"]:
        over = plan["over_singles"]
        rule = min(names, key=lambda name: over[name]["gain"])
        lines.append(
            f"| {BY[plan['by']]} | {plan['limit']:g} | {gain_of(over['precision'])} "
            f"| {gain_of(over['samples'])} | {gain_of(over[rule])}: `{rule}` "
            f"| {gain_of(plan['over_fixed_numbers'])} | {gain_of(plan['over_lots'])} "
            f"| {plan['share_of_oracle_saving']:.2f} |"
        )
    for cost, verdict in data["verdicts"].items():
        holds = "on or above" if verdict["holds"] else "not everywhere on or above"
        lines.append(
            f"\nBy {BY[cost]}, the plans are {holds} each choice alone ({verdict['evidence']})."
        )
    return "\n".join(lines) + "\n" + source(data)


def plans_by_choice(plans: list[dict]) -> list[tuple[dict, str]]:
    """Plans that differ, each with what it was chosen for."""
    asked: dict[str, dict[str, list[str]]] = {}
    for plan in plans:
        costs = asked.setdefault(json.dumps(plan["choice"]), {})
        costs.setdefault(BY[plan["by"]], []).append(f"{plan['limit']:g}")
    first = {json.dumps(plan["choice"]): plan for plan in reversed(plans)}
    return [
        (first[choice], "; ".join(f"{by}, {' or '.join(limits)}" for by, limits in costs.items()))
        for choice, costs in asked.items()
    ]


BY = {"side_by_side": "price side by side", "one_by_one": "price one at a time"}


def setting_of(found: dict) -> str:
    """Format, rule, dial and samples in words."""
    if found["rule"] == "majority":
        return f"{found['dtype']}, majority of {found['samples']}"
    return f"{found['dtype']}, `{found['rule']}` {found['dial']:g} of at most {found['samples']}"


def accuracy_of(found: dict) -> str:
    """Share of right answers with its interval."""
    low, high = found["accuracy_interval"]
    return f"{found['accuracy']:.3f} ({low:.3f}–{high:.3f})"


def ratio_of(found: dict) -> str:
    """A share of the base's cost with its interval."""
    low, high = found["interval"]
    return f"{found['ratio']:.2f}× ({low:.2f}–{high:.2f})"


def gain_of(found: dict) -> str:
    """A gain in accuracy at equal cost with its interval."""
    low, high = found["interval"]
    return f"{found['gain']:+.3f} ({low:+.3f} to {high:+.3f})"


def speed_of(measured: dict) -> str:
    """Seconds of the base over those of a plan, with the interval."""
    low, high = measured["seconds_interval"]
    return f"{1 / measured['seconds_ratio']:.2f}× ({1 / high:.2f}–{1 / low:.2f})"


def methods_of(plan: list) -> str:
    """A plan's methods in words."""
    told = (f"{m['name']} {m['dial']:g}" + params_of(m["params"]) for m in plan)
    return " + ".join(told) or "the base"


def params_of(params: dict) -> str:
    return f" ({', '.join(str(v) for v in params.values())})" if params else ""


def elsewhere(data: dict) -> str:
    """Name the formats that were measured on another machine than the rest of a file."""
    found = {cell["dtype"]: cell["machine"]["cpu"] for cell in data["cells"] if "machine" in cell}
    return "".join(
        f"\n`{dtype}` was measured on another machine: {cpu}.\n" for dtype, cpu in found.items()
    )


def source(data: dict) -> str:
    """Name the file, the machine and the command under a table."""
    machine = data["machine"]
    return (
        f"\n<sub>`benchmarks/results/{data['suite']}.json`, {data['date']}: `{data['command']}` on "
        f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}.</sub>\n"
    )


PARTS = {
    "agreement": agreement_table,
    "base": base_table,
    "budget": budget_table,
    "cache": cache_table,
    "cache-forms": cache_forms_table,
    "cache-presses": cache_presses_table,
    "cache-speed": cache_speed_line,
    "certify": certify_table,
    "certify-looks": certify_looks_table,
    "certify-power": certify_power_table,
    "constrain": constrain_table,
    "controls": controls_table,
    "cuts": cuts_table,
    "decode": decode_table,
    "decoys": decoys_table,
    "depth": depth_table,
    "difficulty": difficulty_table,
    "draft": draft_table,
    "drive": drive_line,
    "frugal": frugal_table,
    "hindsight": hindsight_table,
    "judge": judge_line,
    "memory": memory_table,
    "models": models_table,
    "models-loads": models_loads_table,
    "laws": laws_table,
    "numerics": numerics_table,
    "oracle": oracle_table,
    "oracle-drafts": oracle_drafts_table,
    "peers": peers_table,
    "plans": plans_table,
    "plans-search": plans_search_line,
    "prove": prove_table,
    "reason": reason_table,
    "reason-alone": reason_alone_table,
    "selfdraft": selfdraft_table,
    "skip": skip_table,
    "solve": solve_table,
    "solve-line": solve_line,
    "startup": startup_line,
    "step": step_table,
    "trees": trees_table,
    "verify": verify_table,
    "void": void_table,
    "wide": wide_table,
    "wide-line": wide_line,
}


def part(name: str) -> str:
    """Return the text of a part; of one that was never measured, how to measure it."""
    try:
        return PARTS[name]()
    except FileNotFoundError as error:
        suite = Path(error.filename).stem
        return f"Not measured yet: `rheostat bench {suite} --out benchmarks/results`.\n"


def written(text: str) -> str:
    """Return a document with its parts made anew."""
    return PART.sub(lambda m: f"{m[1]}{part(m[2])}{m[3]}", text)


def main() -> int:
    """Write or check every document."""
    stale = []
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        fresh = written(text)
        if fresh != text:
            stale.append(document.relative_to(ROOT))
            if "--check" not in sys.argv:
                document.write_text(fresh, "utf-8")
    if stale and "--check" in sys.argv:
        print(f"out of date, run `make fix`: {', '.join(map(str, stale))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
