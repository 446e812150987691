"""What the command line says of itself, and of arguments that cannot be meant."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", ""])
@pytest.mark.parametrize(
    "command", [["serve", "--config", "c", "--workers"], ["keys", "create", "--file", "f", "--name", "n", "--requests-per-minute"]]
)
def test_a_number_that_is_none_is_named(capsys: Captured, command: list[str], number: str) -> None:
    with pytest.raises(SystemExit):
        main([*command[:-1], f"{command[-1]}={number}"])
    assert f"{command[-1]}: {number!r} is not a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("funds", "Reads the chain and sends nothing"),
        ("fund", "an unlock in progress is cancelled"),
        ("unlock", "two rounds (about two days) later"),
        ("unlock", "stops signing tickets one round before"),
        ("cancel-unlock", "Takes an unlock back"),
        ("withdraw", "once the two rounds after unlock are over"),
    ],
)
def test_the_funding_commands_say_what_happens(capsys: Captured, command: str, said: str) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert said in " ".join(capsys.readouterr().out.split())
