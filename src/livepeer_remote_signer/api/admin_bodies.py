"""What arrives at the admin listener, bounded before it is looked at."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from livepeer_remote_signer.core.errors import BadField, BodyTooLarge

MAX_BODY_BYTES = 64 * 1024
MAX_BULK_BYTES = 1024 * 1024
"""A thousand keys or budgets with long names."""

MAX_FORM_FIELDS = 100


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body. Raises BodyTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes", limit=limit)
    return bytes(body)


async def read_form(request: Request) -> dict[str, str]:
    """The form's fields, from the body and the query, as go-livepeer takes them: the body's value counts. Raises BadField."""
    try:
        texts = (request.url.query, (await read_body(request)).decode())
        pairs = [pair for text in texts for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)]
    except (ValueError, UnicodeDecodeError):
        raise BadField("the body is not a form: application/x-www-form-urlencoded is expected") from None
    return {name: value.strip() for name, value in pairs}


def read_query(request: Request, names: frozenset[str]) -> dict[str, str]:
    """The query's fields, each once. Raises BadField."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            raise BadField(f"unknown query field {name[:64]!r}", hint=f"known fields: {', '.join(sorted(names))}")
        if name in found:
            raise BadField(f"the query field {name} stands twice")
        found[name] = value
    return found


def read_count(fields: dict[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises BadField."""
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and 1 <= int(text) <= most):
        raise BadField(f"{name} must be a whole number from 1 to {most}")
    return int(text)
