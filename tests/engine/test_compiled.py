"""What compiled engines leave behind in a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from ich25d.engine.compiled import COMPILED_ENGINES

RELU = """
import gc, os, signal, sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from ich25d.engine.compiled import compile_files

engine, file = sys.argv[1], Path(sys.argv[2])
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
first, second = compile_files(engine, [file], None), compile_files(engine, [file], None)
print(first[0](np.array([-1.0, 2.0], np.float32))[0].tolist())
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
print("lives")
"""


@pytest.mark.parametrize("engine", COMPILED_ENGINES)
def test_a_signal_is_survived_when_networks_are_gone(engine: str, tmp_path: Path) -> None:
    """OpenVINO's CPU plugin leaves a stack for signals that is no longer mapped, where two of its cores come and go."""
    command = [sys.executable, "-c", RELU, engine, str(tmp_path / "relu.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[0.0, 2.0]\nheard\nlives\n"), done.stderr
