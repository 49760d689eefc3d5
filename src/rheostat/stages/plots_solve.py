"""Plots of solved tasks: accuracy against tokens, and each question's samples over the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.stages.intervals import mean_interval
from rheostat.stages.plots import BLUE, GREEN, GREY, MARKERS, ORANGE, PINK, SKY, Plot, canvas, png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.stages.solve_history import History

COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, "black")
MOST_QUESTIONS = 60
"""Rows of a timeline."""


def accuracy(histories: Sequence[History]) -> Plot:
    """Draw the share of questions whose majority so far is right against the tokens so far."""
    figure, axes = canvas(4.2)
    said = []
    for at, history in enumerate(histories):
        colour = COLOURS[at % len(COLOURS)]
        tokens = [0, *(point.tokens for point in history.points)]
        shares = [0.0, *(point.share_right for point in history.points)]
        axes.step(tokens, shares, where="post", color=colour, lw=1.2)
        right = history.correct
        mean = sum(right) / len(right)
        low, high = mean_interval(right)
        axes.errorbar(
            [tokens[-1]],
            [mean],
            yerr=[[mean - low], [high - mean]],
            fmt=MARKERS[at % len(MARKERS)],
            color=colour,
            capsize=3,
            label=f"{history.label}: {history.rule}",
        )
        said.append(f"{history.label} {mean:.2f} at {tokens[-1]} tokens")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens read and written, over all questions")
    axes.set_ylabel("share of questions answered right")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return Plot(
        name="accuracy",
        png=png(figure),
        alt=f"Accuracy against tokens: {'; '.join(said)}.",
        caption="Lines: the share of questions whose majority so far is right, after every sample "
        "in launch order. Marks: the answers that were given, with 95 % intervals over questions.",
    )


def timeline(history: History, name: str) -> Plot:
    """Draw every question's samples over the run, and where it ended."""
    rows = [str(answer["id"]) for answer in history.answers][:MOST_QUESTIONS]
    place = {question: len(rows) - 1 - at for at, question in enumerate(rows)}
    figure, axes = canvas(1.2 + 0.16 * len(rows))
    points = [point for point in history.points if point.question in place]
    kinds = (
        ("right", BLUE, "o", [p for p in points if p.right]),
        ("wrong", ORANGE, "x", [p for p in points if p.answered and p.right is False]),
        ("an answer", GREEN, "s", [p for p in points if p.answered and p.right is None]),
        ("no answer", GREY, ".", [p for p in points if not p.answered]),
    )
    for label, colour, marker, members in kinds:
        if members:
            axes.plot(
                [p.tokens for p in members],
                [place[p.question] for p in members],
                ls="none",
                marker=marker,
                ms=4,
                color=colour,
                label=label,
            )
    ends = {point.question: point.tokens for point in points}
    axes.plot(list(ends.values()), [place[q] for q in ends], "|", color="black", ms=9, label="end")
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens of the whole run")
    axes.set_ylabel(f"{len(rows)} questions, the first on top")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    more = len(history.answers) - len(rows)
    return Plot(
        name=name,
        png=png(figure),
        alt=f"Timeline of {history.label}: {len(points)} samples of {len(rows)} questions.",
        caption=f"{history.label}: every sample at the tokens that the run had taken by then; the "
        "bar is a question's last sample."
        + (f" {more} more questions are not shown." if more else ""),
    )
