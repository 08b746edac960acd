"""What Windows lacks is hidden from processes of their own; nothing here has run on Windows itself."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from toy_model import write_model

from ich25d.studies.sources import listing, zip_member

HIDDEN = """
import os, signal, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "resource", "pwd", "grp", "termios"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
for name in ("pread", "O_CLOEXEC", "O_NONBLOCK", "sched_getaffinity", "fork", "getuid", "geteuid"):
    if hasattr(os, name):
        delattr(os, name)
del signal.pthread_sigmask
of_folder = os.open
def no_folders(path, flags, *args, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return of_folder(path, flags, *args, **kwargs)
os.open = no_folders
"""
"""Put before every process's own start: the processes that it starts lack the same."""

COMMANDS = """
import sys
from ich25d.cli.app import app
if __name__ == "__main__":
    work, model = sys.argv[1:]
    for line in (
        ["synth", "--studies", "2", "--out", f"{work}/synth", "--workers", "2"],
        ["build-studies", f"{work}/synth/stage_2_train", "--out", f"{work}/st", "--size", "64", "--workers", "2"],
        ["info", f"{work}/st"],
        ["predict", f"{work}/synth/stage_2_train", "--model", model, "--out", f"{work}/p/sub.csv", "--workers", "2"],
    ):
        try:
            app(line, standalone_mode=False)
        except SystemExit as left:
            assert not left.code, (line, left.code)
    print("all four ended")
"""


def test_commands_run_without_what_windows_lacks(tmp_path: Path) -> None:
    """No fcntl, pwd or resource, no pread, no folder that can be opened to flush it."""
    model = write_model(tmp_path / "model")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(HIDDEN)
    script = tmp_path / "commands.py"
    script.write_text(COMMANDS)
    paths = os.pathsep.join([str(tmp_path / "first"), str(Path(__file__).resolve().parents[1])])

    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(model)],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": paths, "USER": "one", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert "Traceback" not in ended.stderr, ended.stderr
    assert "all four ended" in ended.stdout, ended.stderr
    assert (tmp_path / "p" / "sub.csv").is_file()


def test_reads_by_position_where_there_is_no_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share a descriptor, and its one position."""
    monkeypatch.setattr(zip_member, "_read_once", zip_member._seek_and_read)
    content = bytes(range(256)) * 400
    path = tmp_path / "file"
    path.write_bytes(content)
    handle = listing.open_file(path)
    wrong: list[int] = []

    def read(start: int) -> None:
        for at in range(start, 100_000, 997):
            if zip_member.read_at(handle, at, 50) != content[at : at + 50]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(handle)
    assert wrong == []


def test_files_without_a_number_are_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows leaves inodes out of a folder's list, and some of its file systems have none."""
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(b"content")

    def unnumbered(status: os.stat_result) -> os.stat_result:
        return os.stat_result((status[0], 0, 0, *status[3:]))

    real = listing._Listing.is_new
    monkeypatch.setattr(
        listing._Listing, "is_new", lambda self, path, source, status: real(self, path, source, unnumbered(status))
    )
    assert len(listing.list_entries([tmp_path])[0]) == 2

    real_stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **options: unnumbered(real_stat(self, **options)))
    assert len(listing.list_entries([tmp_path])[0]) == 2
