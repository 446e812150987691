"""`migrate`: a go-livepeer command line or -config file in, this signer's configuration out, with every flag accounted for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml


def add_parsers(subparsers: Any) -> None:
    """Adds `migrate`."""
    parser = subparsers.add_parser(
        "migrate",
        help="turn a go-livepeer command line into a configuration",
        description=(
            "Prints the YAML configuration that does what go-livepeer's flags did. What became of each flag, and what is left to do, "
            "is told on the standard error. Secrets are never repeated: files are named to put them into."
        ),
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="go-livepeer's -config file; the command line stands over it")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- livepeer -remoteSigner ...", help="the command line, behind --")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when the configuration was printed, 2 when the words or the file cannot be read."""
    from livepeer_remote_signer.config.go_livepeer import UnreadableError, migrate, read_file, read_words

    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    try:
        flags = read_words(words)
        given = {name for name, _ in flags}
        if arguments.file is not None:
            flags += [(name, value) for name, value in read_file(arguments.file.read_text("utf-8")) if name not in given]
        if not flags:
            raise UnreadableError("no flag was given: put go-livepeer's command line behind --, or name its file with --file")
        found = migrate(flags)
    except (UnreadableError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {arguments.file} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    print(yaml.safe_dump(found.tree, sort_keys=False), end="")
    width = max(len(account.flag) for account in found.accounts)
    for account in found.accounts:
        print(f"{account.flag:<{width}}  {account.fate:<10}  {account.told}", file=sys.stderr)
    print("\nLeft to do:", file=sys.stderr)
    for line in (*found.todo, "then: livepeer-remote-signer check-config --config FILE"):
        print(f"- {line}", file=sys.stderr)
    return 0
