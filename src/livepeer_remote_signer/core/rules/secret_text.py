"""What makes the text of a secret's file another secret than was meant, though it can be read."""

from __future__ import annotations

_BYTE_ORDER_MARK = "\ufeff"


def secret_text_fault(text: str, *, one_line: bool = True) -> str:
    """What is wrong with it, in words that do not repeat it; "" for nothing. White space at its ends is nobody's fault."""
    if text.startswith(_BYTE_ORDER_MARK):
        return "begins with a byte-order mark, which some editors write and nobody sees: save it as UTF-8 without one"
    if one_line and len(lines := text.strip().splitlines()) > 1:
        return f"holds {len(lines)} lines, and one is expected"
    return ""
