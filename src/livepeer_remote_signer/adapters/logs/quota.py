"""How many refusals of one caller are printed: ten a minute, then one line that counts the rest.

A refusal costs its caller some bytes and us a line several times as long. Who sends a thousand a second would fill the disk
and hide what the lines of others say. Answers of 5xx are no caller's fault and are not counted here.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 10
WINDOW_SECONDS = 60.0

MAX_CALLERS = 4096
"""Who are told apart within a window; the refusals of all others count as those of one caller."""

MAX_SUMMARIES = 100
"""Lines at a window's end; callers beyond are told of in the last of them."""

OTHERS = "others"


class RefusalQuota:
    """What is printed of each caller's refusals. `say(caller, count, request_id)` prints how many were not."""

    def __init__(self, say: Callable[[str, int, str], None], later: Callable[[float, Callable[[], None]], object]) -> None:
        """`later(seconds, call)` calls once, after so long."""
        self._say = say
        self._later = later
        self._printed: dict[str, int] = {}
        self._untold: dict[str, tuple[int, str]] = {}
        self._is_counting = False

    def admits(self, caller: str, request_id: str) -> bool:
        """Whether this refusal is printed; it counts."""
        if not self._is_counting:
            self._is_counting = True
            self._later(WINDOW_SECONDS, self.close_window)
        if caller not in self._printed and len(self._printed) >= MAX_CALLERS:
            caller = OTHERS
        printed = self._printed.get(caller, 0)
        if printed < FIRST:
            self._printed[caller] = printed + 1
            return True
        count, _ = self._untold.get(caller, (0, ""))
        self._untold[caller] = (count + 1, request_id)
        return False

    def close_window(self) -> None:
        """Prints what was not told, the most first, and begins anew."""
        untold = sorted(self._untold.items(), key=lambda one: one[1][0], reverse=True)
        self._printed, self._untold, self._is_counting = {}, {}, False
        for caller, (count, request_id) in untold[: MAX_SUMMARIES - 1]:
            self._say(caller, count, request_id)
        if rest := untold[MAX_SUMMARIES - 1 :]:
            self._say(OTHERS, sum(count for _, (count, _) in rest), rest[-1][1][1])
