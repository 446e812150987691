"""YAML as the configuration needs it, and no more: mappings, lists, text, true, false and null.

A number stays the text it was spelled as: YAML 1.1 would read 010 as 8, 1:30 as 90, an unquoted address as an integer
without its leading zeros, and every decimal through a float. What the text means is for the key's own type to say. A key
stands once; tags, anchors and aliases are refused.
"""

from __future__ import annotations

from typing import Any

import yaml

_PLAIN_TAGS = frozenset(("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"))


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key and what to change."""


class _StrictLoader(yaml.SafeLoader):
    """Refuses at composing, so that nothing is built of what is refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise ConfigError(f"{_line(event)}: anchors and aliases are not read: write the value where it belongs")
        if event.tag is not None:
            raise ConfigError(f"{_line(event)}: tags are not read: every key has its own type")
        return super().compose_node(parent, index)

    def construct_once(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise ConfigError(f"{_line(key_node)}: a key must be text")
            if key in found:
                raise ConfigError(f"{_line(key_node)}: the key {key!r} stands twice")
            found[key] = self.construct_object(value_node, deep=True)
        return found


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, spelling) for tag, spelling in resolvers if tag in _PLAIN_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _StrictLoader.construct_once)


def parse_yaml(text: str) -> Any:
    """The one document of `text`, None when it is empty. Raises ConfigError, which names the line."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader that reads less
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{where}not YAML: {getattr(error, 'problem', None) or 'cannot be read'}") from None
    except RecursionError:
        raise ConfigError("not YAML we read: nested too deeply") from None


def _line(where: Any) -> str:
    return f"line {where.start_mark.line + 1}"
