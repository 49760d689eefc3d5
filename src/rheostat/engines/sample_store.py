"""Samples on disk: one SQLite file that survives a kill at any moment, every sample compressed.

A sample that was added is there after any end of the process; one that was not finished is not
there at all. `record` writes such a store, `solve` keeps its own as its journal, and `replay:STORE`
draws from either.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.engines.base import Output
from rheostat.engines.sampler import Drawn, Held, Read
from rheostat.errors import OutputError
from rheostat.kernel.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from rheostat.engines.base import StopReason
    from rheostat.engines.sampler import Draw

FILE = "samples.sqlite"
VERSION = 1
_DIGITS = 6
_TABLES = """
CREATE TABLE IF NOT EXISTS header (data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS launched (
  question TEXT NOT NULL, number INTEGER NOT NULL, bound TEXT NOT NULL,
  PRIMARY KEY (question, number)
);
CREATE TABLE IF NOT EXISTS samples (
  question TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (question, number)
);
CREATE TABLE IF NOT EXISTS held (
  question TEXT NOT NULL, number INTEGER NOT NULL, tokens INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (question, number, tokens)
);
CREATE TABLE IF NOT EXISTS readings (
  question TEXT NOT NULL, number INTEGER NOT NULL, bound TEXT NOT NULL, data TEXT,
  PRIMARY KEY (question, number)
);
"""


@dataclass(frozen=True, kw_only=True)
class StoredSample:
    """A finished sample as it is kept."""

    question: str
    index: int
    text: str
    answer: str | None
    """The class of its answer; None = it gave none."""
    token_ids: tuple[int, ...]
    stop_reason: StopReason
    temperature: float
    cost: Cost
    logprobs: tuple[float, ...] | None = None
    entropies: tuple[float, ...] | None = None
    failed: str = ""
    verified: float | None = None
    """What the verifier said, 1 = right; None = it was not asked."""

    def drawn(self, draw: Draw) -> Drawn:
        """Return the sample as what came of a draw."""
        output = Output(
            id=self.question,
            text=self.text,
            token_ids=self.token_ids,
            stop_reason=self.stop_reason,
            cost=self.cost,
        )
        return Drawn(
            draw=draw,
            output=output,
            logprobs=self.logprobs,
            entropies=self.entropies,
            failed=self.failed,
        )


class KnownReading(NamedTuple):
    """A reading that was started."""

    bound: Cost
    read: Read | None
    """None = the process ended before it did."""


def stored(drawn: Drawn, answer: str | None, *, verified: float | None = None) -> StoredSample:
    """Return what came of a draw in the form in which it is kept."""
    output = drawn.output
    return StoredSample(
        question=drawn.draw.question,
        index=drawn.draw.index,
        text=output.text,
        answer=answer,
        token_ids=output.token_ids,
        stop_reason=output.stop_reason,
        temperature=drawn.draw.sampling.temperature,
        cost=output.cost,
        logprobs=_rounded(drawn.logprobs),
        entropies=_rounded(drawn.entropies),
        failed=drawn.failed,
        verified=verified,
    )


@final
class SampleStore:
    """An open store."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        """Open the store of a folder; `create` makes one where there is none.

        Raises:
            OutputError: there is none, or it cannot be read or written.
        """
        self.path = folder / FILE
        self._created = create
        if not create and not self.path.is_file():
            raise OutputError(
                f"`{folder}` holds no recording: there is no `{FILE}` in it",
                hint="make one with `rheostat record MODEL --tasks T --out STORE`",
            )
        with self._errors():
            mode = "rwc" if create else "ro"
            self._db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode={mode}", uri=True)
            if create:
                # safe from the end of a process at any moment, without waiting for the disk
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_TABLES)
            self._known = {
                (str(q), int(i))
                for q, i in self._db.execute("SELECT question, number FROM samples")
            }

    @property
    def header(self) -> dict[str, Any] | None:
        """What the store is of; None when it is new."""
        with self._errors():
            found = self._db.execute("SELECT data FROM header").fetchone()
            data: dict[str, Any] | None = None if found is None else json.loads(found[0])
        return data

    @header.setter
    def header(self, data: Mapping[str, Any]) -> None:
        with self._errors(), self._db:
            self._db.execute("DELETE FROM header")
            self._db.execute("INSERT INTO header VALUES (?)", [json.dumps(data)])

    @property
    def known(self) -> frozenset[tuple[str, int]]:
        """(question, index) of every sample that it holds."""
        return frozenset(self._known)

    def holds(self, question: str, index: int) -> bool:
        """Return whether it holds a sample."""
        return (question, index) in self._known

    def launched(self, draws: Iterable[tuple[Draw, Cost]]) -> None:
        """Note draws that are about to start, and what each may cost."""
        rows = [(d.question, d.index, json.dumps(cost.to_json())) for d, cost in draws]
        with self._errors(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO launched VALUES (?, ?, ?)", rows)

    def bounds(self) -> dict[tuple[str, int], Cost]:
        """Return what was reserved for every draw that was ever started, by (question, index)."""
        with self._errors():
            rows = self._db.execute("SELECT question, number, bound FROM launched").fetchall()
        return {(q, int(i)): Cost.from_json(json.loads(bound)) for q, i, bound in rows}

    def order(self) -> list[tuple[str, int]]:
        """Return (question, index) of every draw in the order in which they were started."""
        query = "SELECT question, number FROM launched ORDER BY rowid"
        with self._errors():
            return [(q, int(i)) for q, i in self._db.execute(query).fetchall()]

    def add(self, samples: Iterable[StoredSample]) -> None:
        """Keep finished samples; they are in the file when this returns."""
        kept = list(samples)
        rows = [(s.question, s.index, _packed(s)) for s in kept]
        with self._errors(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?)", rows)
        self._known.update((s.question, s.index) for s in kept)

    def get(self, question: str, index: int) -> StoredSample | None:
        """Return a sample; None when there is none."""
        query = "SELECT data FROM samples WHERE question = ? AND number = ?"
        with self._errors():
            found = self._db.execute(query, [question, index]).fetchone()
        return None if found is None else _unpacked(question, index, found[0])

    def hold(self, held: Iterable[Held]) -> None:
        """Keep what draws had written when they began to wait."""
        rows = [(*one.draw.key, one.tokens, _packed_held(one)) for one in held]
        with self._errors(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)", rows)

    def held(self, draw: Draw) -> list[Held]:
        """Return what a draw had written whenever it waited, in that order."""
        query = "SELECT tokens, data FROM held WHERE question = ? AND number = ? ORDER BY tokens"
        with self._errors():
            rows = self._db.execute(query, draw.key).fetchall()
        return [_unpacked_held(draw, int(tokens), data) for tokens, data in rows]

    def reads(self, question: str, number: int, bound: Cost) -> None:
        """Note a reading that is about to start, by its number among those of its question."""
        row = (question, number, json.dumps(bound.to_json()))
        with self._errors(), self._db:
            self._db.execute("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, NULL)", row)

    def has_read(self, question: str, number: int, read: Read) -> None:
        """Keep what came of a reading."""
        data = {"probabilities": list(read.probabilities), "cost": read.cost.to_json()}
        query = "UPDATE readings SET data = ? WHERE question = ? AND number = ?"
        with self._errors(), self._db:
            self._db.execute(query, (json.dumps(data), question, number))

    def reading(self, question: str, number: int) -> KnownReading | None:
        """Return a reading that was started; None = it never was."""
        query = "SELECT bound, data FROM readings WHERE question = ? AND number = ?"
        with self._errors():
            found = self._db.execute(query, (question, number)).fetchone()
        if found is None:
            return None
        data = None if found[1] is None else json.loads(found[1])
        return KnownReading(
            Cost.from_json(json.loads(found[0])),
            data
            and Read(probabilities=tuple(data["probabilities"]), cost=Cost.from_json(data["cost"])),
        )

    def all(self) -> Iterator[StoredSample]:
        """Yield every sample, by question and index."""
        with self._errors():
            query = "SELECT question, number, data FROM samples ORDER BY question, number"
            for question, number, data in self._db.execute(query):
                yield _unpacked(question, number, data)

    def close(self) -> None:
        """Close the file."""
        if self._created:  # one file is easier to copy than three
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"`{self.path}` cannot be read or written: {error}",
                hint="what is finished is kept in it; free some space or name another folder",
            ) from error


def _packed(sample: StoredSample) -> bytes:
    data = asdict(sample)
    del data["question"], data["index"]
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)


def _unpacked(question: str, index: int, data: bytes) -> StoredSample:
    fields = json.loads(zlib.decompress(data))
    for name in ("token_ids", "logprobs", "entropies"):
        fields[name] = None if fields[name] is None else tuple(fields[name])
    fields["cost"] = Cost.from_json(fields["cost"])
    return StoredSample(question=question, index=index, **fields)


def _packed_held(held: Held) -> bytes:
    data = {"token_ids": held.token_ids, "text": held.text, "logprobs": held.logprobs}
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode())


def _unpacked_held(draw: Draw, tokens: int, data: bytes) -> Held:
    fields = json.loads(zlib.decompress(data))
    nats = fields["logprobs"]
    return Held(
        draw=draw,
        tokens=tokens,
        token_ids=tuple(fields["token_ids"]),
        text=fields["text"],
        logprobs=None if nats is None else tuple(nats),
    )


def _rounded(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(round(value, _DIGITS) for value in values)
