"""The folder that workers share."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from livepeer_remote_signer.process.folder import PREFIX, SharedFolder, base_folder
from livepeer_remote_signer.process.listening import StartupError


def test_the_runtime_directory_stands_before_temporary_folders(tmp_path: Path) -> None:
    for name in ("run", "tmp"):
        (tmp_path / name).mkdir()
    assert base_folder({"RUNTIME_DIRECTORY": f"{tmp_path}/run:/elsewhere", "TMPDIR": f"{tmp_path}/tmp"}) == tmp_path / "run"
    assert base_folder({"RUNTIME_DIRECTORY": "", "TMPDIR": f"{tmp_path}/tmp"}) == tmp_path / "tmp"
    assert base_folder({"RUNTIME_DIRECTORY": f"{tmp_path}/gone", "TMPDIR": f"{tmp_path}/tmp"}) == tmp_path / "tmp"
    assert base_folder({}) == Path("/tmp")


def test_where_none_can_be_made_it_is_said_what_to_set() -> None:
    with pytest.raises(StartupError, match=r"^no folder for the workers can be made in /proc \(.*\): set RUNTIME_DIRECTORY or TMPDIR"):
        SharedFolder(Path("/proc"))


def test_it_is_this_users_alone_and_ends_with_the_service(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "file").write_text("x")
    folder.keep()
    assert (folder.path / "file").exists()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_holds_is_removed_and_what_is_held_or_no_folder_of_ours_stays(tmp_path: Path) -> None:
    held = SharedFolder(tmp_path)
    left, readable, other, link = (tmp_path / name for name in (f"{PREFIX}left", f"{PREFIX}open", "other", f"{PREFIX}link"))
    for path, mode in ((left, 0o700), (readable, 0o755), (other, 0o700)):
        path.mkdir(mode)
        (path / "file").write_text("x")
    link.symlink_to(other)
    new = SharedFolder(tmp_path)
    assert not left.exists()
    assert all((path / "file").exists() for path in (readable, other, link))
    assert held.path.is_dir()
    held.remove()
    new.remove()


def test_a_name_that_somebody_took_meanwhile_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = SharedFolder(tmp_path)
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    (folder.path / "theirs").write_text("x")
    with caplog.at_level(logging.INFO):
        folder.keep()
        folder.keep()
    assert [record.message for record in caplog.records if "cannot be made again (File exists)" in record.message] == [
        caplog.records[0].message
    ]
    folder.remove()
    assert (folder.path / "theirs").exists(), "what is not ours is not removed"
    os.rename(folder.path, tmp_path / "away")
    folder.keep()
    assert folder.path.is_dir()
    folder.remove()
