"""What progress says that is still worth knowing when the work is done."""

from __future__ import annotations

from typing import final


@final
class Notice(str):
    """A message of progress that stays on the screen: a status line would pass it by."""

    __slots__ = ()
