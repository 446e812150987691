"""A fault that pydantic found, told in the words of the configuration file: one line, the key as a person wrote it."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel

from livepeer_remote_signer.config.models import Config


def explain(tree: Any, detail: Any, model: type[BaseModel] = Config) -> str:
    """One fault of `tree`, which is to become a `model`, as a sentence: where it is, what is wrong, and for an unknown key the nearest
    valid one of its place."""
    where = ".".join(_written(tree, detail["loc"], detail["type"] == "missing")) or ("configuration" if model is Config else "the entry")
    if detail["type"] == "extra_forbidden":
        key, valid = str(detail["loc"][-1]), _valid_keys(model, detail["loc"][:-1])
        near = difflib.get_close_matches(key, valid, 1, 0.5)
        known = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(valid)}"
        return f"unknown key {where!r}: {known}"
    if detail["type"] == "missing":
        return f"the key {where!r} is missing"
    return f"{where}: {detail['msg'].removeprefix('Value error, ').replace('valid tuple', 'valid list')}"


def _written(tree: Any, location: tuple[Any, ...], is_missing: bool) -> list[str]:
    """The steps of a location that stand in the file; between them are names of the types that were tried."""
    steps = []
    for step in location:
        if (step in tree) if isinstance(tree, dict) else isinstance(tree, list) and isinstance(step, int):
            tree = tree[step]
            steps.append(str(step))
    return [*steps, str(location[-1])] if is_missing else steps


def _valid_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at `location`, whatever tuples and unions stand on the way."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        if isinstance(part, int):
            continue
        deeper = [m for model in models if part in model.model_fields for m in _models_in(model.model_fields[part].annotation)]
        models = deeper or models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]
