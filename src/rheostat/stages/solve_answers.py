"""What `solve` found: a line a question in `answers.jsonl`, and the totals."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rheostat.kernel.samples import Ended
from rheostat.stages.durable_files import dumped, indented, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rheostat.kernel.ledger import Ledger
    from rheostat.stages.solve_question import Question
    from rheostat.workloads.tasks import Tasks

ANSWERS, SOLVE = "answers.jsonl", "solve.json"


def answer_line(question: Question, tasks: Tasks) -> dict[str, Any]:
    """Return the line of a question that is finished."""
    finish = question.finish
    assert finish is not None
    return {
        "id": question.request.id,
        "answer": finish.answer,
        "correct": tasks.correct(question.request, finish.answer),
        "samples": question.launched,
        "cost": question.account.spent.to_json(),
        "settled": finish.settled,
        "confidence": finish.confidence,
        "cannot_help": finish.cannot_help,
        "stop_reason": finish.reason,
    }


def write_answers(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the lines, all or none."""
    replace_file(folder / ANSWERS, "".join(map(dumped, lines)))


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the totals."""
    replace_file(folder / SOLVE, indented(summary))


def summary_of(
    questions: Sequence[Question], lines: Sequence[Mapping[str, Any]], ledger: Ledger
) -> dict[str, Any]:
    """Return totals over all questions, and what was saved against N samples of each."""
    known = [line["correct"] for line in lines if line["correct"] is not None]
    return {
        "questions": len(lines),
        "answered": sum(line["answer"] is not None for line in lines),
        "settled": sum(line["settled"] for line in lines),
        "right": sum(known) if known else None,
        "samples": sum(line["samples"] for line in lines),
        "no_answer": sum(
            isinstance(seen, Ended) and seen.answer is None
            for question in questions
            for seen in question.seen
        ),
        "stop_reasons": dict(Counter(line["stop_reason"] for line in lines)),
        "reasons": _by_reason(lines),
        "cost": ledger.spent.to_json(),
        "budget": ledger.caps.to_json(),
        "overrun": next((q.account.closed for q in questions if q.account.closed), ""),
        "all_samples_tokens": _all_samples(questions),
    }


def _by_reason(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the totals of each reason for which questions ended, the most frequent first."""
    rows = []
    for reason, count in Counter(line["stop_reason"] for line in lines).most_common():
        ended = [line for line in lines if line["stop_reason"] == reason]
        rows.append(
            {
                "reason": reason,
                "questions": count,
                "settled": sum(line["settled"] for line in ended),
                "right": sum(bool(line["correct"]) for line in ended),
                "samples": sum(line["samples"] for line in ended),
                "tokens": sum(
                    line["cost"]["prompt_tokens"] + line["cost"]["new_tokens"] for line in ended
                ),
            }
        )
    return rows


def _all_samples(questions: Sequence[Question]) -> int | None:
    """Estimate the tokens of N samples of every question, from those that were drawn of it.

    None when some question has no sample to estimate from.
    """
    total = 0.0
    for question in questions:
        ended = [seen.tokens for seen in question.seen if isinstance(seen, Ended)]
        if not ended:
            return None
        read = question.account.spent.prompt_tokens
        total += read + question.start.samples * sum(ended) / len(ended)
    return round(total)
