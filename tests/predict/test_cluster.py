"""The same work on a Ray cluster of two nodes as on this machine: the same bytes, and nothing lost with what dies."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from odd_series import LIMIT_S, kill_above, plan_of, slowly
from toy_walk import SIZE, Walk

from ich25d.errors import ClusterError, UsageError
from ich25d.explain.run import explain
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.studies.pool.pool import TaskTimeoutError, WorkerLostError, opened_pool
from ich25d.studies.volumes import rescue
from ich25d.studies.volumes.read_many import build_all
from ich25d.view.report.run import report


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each; this process has joined them."""
    if os.environ.get("ICH25D_REQUIRE_RAY"):
        import ray
    else:
        ray = pytest.importorskip("ray", reason="Ray isn't installed: pip install -e '.[ray]'")
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        patch.setenv(name, "0")
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # the nodes know this folder's modules
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**{name: value for name, value in node.items() if name != "include_dashboard"})
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()
    patch.undo()


ODD = {7: "kills once", 13: "kills", 21: "sleeps", 30: "raises"}
CODES = {13: "DECODER_CRASH", 21: "TIMEOUT", 30: "READ_FAILED"}


@pytest.mark.slow
def test_forty_series_of_which_four_are_odd_end_alike_on_both_pools(cluster, tmp_path, monkeypatch):
    """Whoever kills once is whole; a slice that kills, hangs or raises costs itself alone; all else is byte-equal."""
    monkeypatch.setattr(rescue, "_SERIES_S", LIMIT_S)
    monkeypatch.setattr(rescue, "_SLICE_S", 0.0)
    monkeypatch.setattr(rescue, "_FILE_S", LIMIT_S)
    content, rows = {}, {}
    for name, address in (("local", None), ("ray", cluster.address)):
        marks, out = tmp_path / f"{name}-marks", tmp_path / name
        marks.mkdir()
        plans = [plan_of(number, marks, ODD.get(number, "")) for number in range(40)]
        with opened_pool(2, address, out=out) as pool:
            built = {one.plan.series_id: one for one in build_all(plans, out, crop="none", size=16, pool=pool)}
        assert sorted(built) == [f"series{number:02d}" for number in range(40)]
        assert [series for series, one in built.items() if not one.is_final] == ["series21"]  # its only slice hangs
        content[name] = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.b2nd")}
        rows[name] = {series: (one.done.series, one.done.slices, one.done.qc) for series, one in built.items()}

    assert content["ray"] == content["local"]
    assert repr(rows["ray"]) == repr({series: rows["local"][series] for series in rows["ray"]})
    lost = {
        series: [(row.image_id, row.code) for row in qc if row.level == "slice"]
        for series, (_, _, qc) in rows["ray"].items()
        if any(row.level == "slice" for row in qc)
    }
    assert lost == {f"series{n}": [(f"series{n}-{int(n != 21)}", code)] for n, code in CODES.items()}
    whole = [series for series, (_, slices, _) in rows["ray"].items() if len(slices.get("image_id", ())) == 3]
    assert len(whole) == 40 - len(CODES)


def test_a_lost_worker_of_ray_is_nobody_s_fault(cluster, tmp_path):
    """A task whose Ray worker is gone is done again; one that kills its own process, or hangs, is named as locally."""
    with opened_pool(0, cluster.address) as pool:
        limit = {6: 1.0}
        work = partial(kill_above, folder=tmp_path)
        results = dict(pool.map(work, range(12), timeout_s=lambda task: limit.get(task, 60.0)))
    lost, late = results.pop(5), results.pop(6)
    assert isinstance(lost, WorkerLostError)
    assert lost.exit_code == -signal.SIGABRT
    assert isinstance(late, TaskTimeoutError)
    assert (tmp_path / "7").exists()
    assert results == {task: 2 * task for task in range(12) if task not in {5, 6}}


def test_tasks_are_drawn_a_few_a_worker_ahead(cluster):
    """Memory doesn't grow with the number of tasks."""
    drawn = []

    def tasks():
        for task in range(1000):
            drawn.append(task)
            yield task

    with opened_pool(0, cluster.address) as pool:
        results = pool.map(abs, tasks())
        next(results)
        results.close()
    assert len(drawn) <= 6


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_command_builds_the_same_store(cluster, walk: Walk, tmp_path: Path) -> None:
    """`build-studies --cluster ADDRESS`, with relative paths, in a process of its own that joins and leaves."""
    build_studies((walk.test,), tmp_path / "local", size=SIZE, folds=2, workers=1)
    (tmp_path / "in").symlink_to(walk.test)
    done = subprocess.run(
        [sys.executable, "-m", "ich25d", "build-studies", "in", "--out", "ray", "--size", str(SIZE), "--folds", "2",
         "--cluster", cluster.address],
        cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Ray: 2 nodes, 2 tasks at a time" in done.stderr
    local, ray = ({name: data for name, data in files(tmp_path / one).items() if "build." not in name}
                  for one in ("local", "ray"))  # fmt: skip
    assert local == ray
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.slow
def test_networks_predict_report_and_explain_the_same_on_nodes(cluster, walk: Walk, tmp_path: Path) -> None:
    """CSV, tables, pages, heat and findings are those of one process, byte for byte: one thread computes in both."""
    for name, address in (("local", None), ("ray", cluster.address)):
        out = tmp_path / name
        predict((walk.test,), walk.rnn, out / "s.csv", sample=walk.sample, device="cpu", cluster=address)
        report((walk.test,), walk.rnn, out / "report", device="cpu", cluster=address)
        explain((walk.test,), walk.rnn, out / "explained", labels=("any",), device="cpu", cluster=address)
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_file_that_fails_in_the_network_s_process_costs_itself_alone(cluster, walk: Walk, tmp_path: Path) -> None:
    """A cut file is refused as locally, by the node that reads it."""
    for name, address in (("local", None), ("ray", cluster.address)):
        source = tmp_path / "in"
        if not source.exists():
            source.mkdir()
            for path in walk.test.glob("*.dcm"):
                (source / path.name).write_bytes(path.read_bytes())
            cut = sorted(source.glob("*.dcm"))[0]
            cut.write_bytes(cut.read_bytes()[:-1000])
        summary = predict((source,), walk.cnn, tmp_path / name / "s.csv", device="cpu", cluster=address)
        assert (summary.exit_code, len(summary.refusals)) == (1, 1)
    assert files(tmp_path / "ray") == files(tmp_path / "local")


@pytest.mark.parametrize("what", ["source", "output"])
def test_a_node_that_sees_other_files_is_named_at_once(cluster, walk: Walk, tmp_path: Path, what: str) -> None:
    """A folder that only this process sees: nothing is read or written, and one sentence names path and node."""
    opened = os.open(walk.test if what == "source" else tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    handle = os.dup2(opened, 987)  # a number that no other process uses
    os.close(opened)
    alone = Path(f"/proc/self/fd/{handle}")
    sentence = rf"every node must see .*{alone}.* on node \S+; put it on a file system"
    source, out = (alone, tmp_path / "s") if what == "source" else (walk.test, alone / "s")
    try:
        with pytest.raises(ClusterError, match=sentence):
            build_studies((source,), out, size=SIZE, folds=2, cluster=cluster.address)
    finally:
        os.close(handle)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_cluster_is_refused(cluster, walk: Walk, tmp_path: Path) -> None:
    """An address, a device or an option that can't be."""
    with pytest.raises(UsageError, match=r"--cluster must be auto, local or HOST:PORT .*'here'"):
        predict((walk.test,), walk.cnn, tmp_path / "s.csv", cluster="here")
    with pytest.raises(UsageError, match="--device must be auto, cuda or cpu with --cluster"):
        predict((walk.test,), walk.cnn, tmp_path / "s.csv", cluster=cluster.address, device="cuda:1")
    with pytest.raises(ClusterError, match="needs a node with a GPU"):
        predict((walk.test,), walk.cnn, tmp_path / "s.csv", cluster=cluster.address, device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_the_job_scripts_parse() -> None:
    """Every command of the documented SLURM scripts is one that the program itself takes."""
    from ray.scripts.scripts import cli as ray_commands
    from torch.distributed.run import get_args_parser
    from typer.main import get_command

    from ich25d.cli.app import app

    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    seen = []
    for script in re.findall(r"^#!/bin/bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        line = re.sub(r"^#.*$", "", script, flags=re.MULTILINE)
        for command in re.findall(r"\b((?:ray (?:start|health-check)|torchrun|ich25d) [^&;\n]*)", line):
            words = shlex.split(command.replace("$SLURM_CPUS_PER_TASK", "2").replace("$SLURM_NNODES", "2"))
            seen.append(words[0])
            if words[0] == "ray":
                ray_commands.commands[words[1]].make_context(words[1], words[2:])
                continue
            if words[0] == "torchrun":
                at = words.index("-m")
                get_args_parser().parse_args([*words[1:at], "-m", "ich25d"])
                words = words[at + 1 :]
            get_command(app).commands[words[1]].make_context(words[1], words[2:])
    assert seen == ["ray", "ray", "ray", "ich25d", "torchrun"]


def test_a_node_lost_in_the_middle_loses_no_task(cluster, tmp_path):
    """Its tasks are done again by the other one; this test is the last, as the node stays away."""
    import ray

    with opened_pool(0, cluster.address) as pool:
        results, n = {}, 24
        for task, result in pool.map(partial(slowly, folder=tmp_path), range(n)):
            results[task] = result
            if len(results) == 6:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert results == {task: (2 * task, ray.__version__) for task in range(n)}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= n + 4
