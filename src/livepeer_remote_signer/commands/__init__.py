"""The commands, an area each: `add_parsers` names them, each parser's `run` does the work. For `cli`."""
