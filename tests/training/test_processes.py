"""Several processes of one machine, and what they are refused."""

import pytest
import torch

from ich25d.errors import UsageError
from ich25d.training.processes import joined, refuse_torchrun


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that torchrun gives the second of two processes."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:0", r"auto, cpu or cuda for several processes \(got cuda:0\)"),
        ("mps", r"auto, cpu or cuda for several processes \(got mps\)"),
        ("cuda", r"--nproc-per-node must be at most the number of GPUs \(got process 2 .* for 1\)"),
    ],
)
def test_processes_take_a_gpu_each(device: str, message: str) -> None:
    """One number for all of them, or fewer GPUs than processes, would put several on one."""
    with pytest.raises(UsageError, match=message), joined(torch.device(device)):
        pass


@pytest.mark.usefixtures("two")
def test_a_command_for_one_process_refuses_company() -> None:
    """Two would write the same files."""
    with pytest.raises(UsageError, match=r"train-rnn runs in one process \(got WORLD_SIZE=2"):
        refuse_torchrun("train-rnn")


def test_alone_there_is_nothing_to_join() -> None:
    """One process keeps the device it was given."""
    refuse_torchrun("train-rnn")
    with joined(torch.device("cpu")) as (processes, device):
        assert (processes.is_first, processes.count, processes.local_count, device.type) == (True, 1, 1, "cpu")
