"""What stands in the file as nobody means it: a word that YAML takes for true or false, and a section with nothing under it.

Looked for before the values are checked: pydantic would take `yes` for 1 where a number is expected, and an emptied `auth.webhook`
for none at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.values import Section


def unmeant_values(tree: Any) -> Iterator[str]:
    """One sentence for each, by its key."""
    return _faults(tree, [Config], "")


def _faults(value: Any, types: list[Any], where: str) -> Iterator[str]:
    """`types` are all that the key's annotation holds, however deep in unions and tuples."""
    sections = [kind for kind in types if isinstance(kind, type) and issubclass(kind, Section)]
    if isinstance(value, bool) and bool not in types:
        yield f"{where}: YAML reads yes, no, on, off, true and false as true or false, which cannot be meant here; text stands in quotes"
    elif value is None and (sections or not {NoneType, str}.intersection(types)):
        yield f"{where}: nothing stands under it: give it a value, or take the key away"
    elif isinstance(value, dict):
        for key, item in value.items():
            fields = [section.model_fields[key] for section in sections if key in section.model_fields]
            if fields or not sections:
                held = [kind for field in fields for kind in _types_in(field.annotation)] if sections else types
                yield from _faults(item, held, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, types, f"{where}.{index}")


def _types_in(annotation: Any) -> list[Any]:
    return [annotation, *(kind for argument in get_args(annotation) for kind in _types_in(argument))]
