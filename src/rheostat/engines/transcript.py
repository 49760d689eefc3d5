"""A row's text: cut at the first stop string, streamed without ever showing a part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@final
class Transcript:
    """The text written so far and how much of it was shown."""

    def __init__(self, stop: Sequence[str], show: Callable[[str], None] | None = None) -> None:
        """Start empty; `show` is called with each new piece of settled text."""
        self.text = ""
        self.stopped = False
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._show = show
        self._shown = 0

    def add(self, piece: str) -> bool:
        """Append text and show what cannot become a stop string; return whether one was met."""
        searched_from = max(0, len(self.text) - self._longest + 1)
        self.text += piece
        places = (self.text.find(stop, searched_from) for stop in self._stop)
        cut = min((place for place in places if place >= 0), default=-1)
        if cut >= 0:
            self.text = self.text[:cut]
            self.stopped = True
        self._show_up_to(len(self.text) - (0 if self.stopped else self._held()))
        return self.stopped

    def finish(self) -> str:
        """Show what was held back and return the whole text."""
        self._show_up_to(len(self.text))
        return self.text

    def _held(self) -> int:
        """Return the length of the longest end of the text that begins a stop string."""
        starts = (stop[:n] for stop in self._stop for n in range(1, len(stop)))
        return max((len(start) for start in starts if self.text.endswith(start)), default=0)

    def _show_up_to(self, end: int) -> None:
        if self._show is not None and end > self._shown:
            self._show(self.text[self._shown : end])
            self._shown = end
