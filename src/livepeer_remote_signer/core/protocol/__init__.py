"""Formats: bytes, JSON and numbers as the protocol spells them, in and out. Know no rule, and import none."""
