"""What makes the text of a secret's file another secret than was meant, though it can be read."""

from __future__ import annotations

MIN_TOKEN_CHARACTERS = 16

_BYTE_ORDER_MARK = "\ufeff"


def secret_text_fault(text: str, *, one_line: bool = True) -> str:
    """What is wrong with it, in words that do not repeat it; "" for nothing. White space at its ends is nobody's fault."""
    if text.startswith(_BYTE_ORDER_MARK):
        return "begins with a byte-order mark, which some editors write and nobody sees: save it as UTF-8 without one"
    if one_line and len(lines := text.strip().splitlines()) > 1:
        return f"holds {len(lines)} lines, and one is expected"
    return ""


def token_fault(token: str) -> str:
    """What is wrong with a token that is shown in a header and must not be guessed; "" for nothing."""
    if len(token) >= MIN_TOKEN_CHARACTERS and token.isascii():
        return ""
    return f"must hold at least {MIN_TOKEN_CHARACTERS} ASCII characters, it holds {len(token)}"
