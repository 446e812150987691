"""Decisions: values and `now` in, a plan, a verdict or an error out. They stand on the formats of `core.protocol`."""
