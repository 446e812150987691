"""The commands. Each parser's `run` does the work; here they are only named and dispatched.

Exit status: 0 done, 1 it failed, 2 the command line or the configuration cannot be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from livepeer_remote_signer import __version__

COMMAND_MODULES = (
    "commands.serve",
    "commands.check",
    "commands.doctor",
    "commands.advise",
    "commands.funding",
    "commands.keys",
    "commands.signing_key",
    "commands.ledger",
    "commands.budgets",
    "commands.usage",
    "commands.events",
    "commands.drawn",
    "commands.healthcheck",
    "commands.migrate",
    "simulate.command",
)
"""Modules that add their commands with `add_parsers(subparsers)`; each sets `run` as its parser's default."""

_ALONE = {"serve": ("commands.serve",), "healthcheck": ("commands.healthcheck",)}
"""Commands that somebody waits for: with them nothing else is imported."""


def fill_standard_descriptors() -> None:
    """Standard input, output and error where the caller closed them: a socket with their number would be written to as a log,
    and closed for a worker that gets its own."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free; workers get it too


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit status."""
    fill_standard_descriptors()
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="livepeer-remote-signer",
        description="Signs probabilistic-micropayment tickets for Livepeer gateways that hold no key.",
        epilog="Exit status: 0 done, 1 failed, 2 the command line or the configuration cannot be used.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in _ALONE.get(words[0] if words else "", COMMAND_MODULES):
        import_module(f"livepeer_remote_signer.{name}").add_parsers(subparsers)
    arguments = parser.parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return status
