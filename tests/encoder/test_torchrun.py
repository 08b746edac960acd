"""Several processes train one network."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ich25d.config import Recipe
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.train import train_cnn
from ich25d.recipes import write_recipe


@pytest.mark.slow
def test_two_processes_do_the_step_of_one(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Two slabs each, gradients averaged, are four slabs in one; every held-out slice is predicted once.

    A network without batch norm, whose statistics are a process's own. The environment is the one that
    torchrun makes.
    """
    encoder = dataclasses.replace(recipe.encoder, name="test_vit", dropout=0.0)
    train = dataclasses.replace(recipe.train, epochs=1, accumulate=1)
    alone = dataclasses.replace(recipe, encoder=encoder, train=dataclasses.replace(train, batch_size=4))
    shared = dataclasses.replace(recipe, encoder=encoder, train=dataclasses.replace(train, batch_size=2))
    (tmp_path / "shared.toml").write_text(write_recipe(shared))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "ich25d", "train-cnn", str(toy_store), "--config", str(tmp_path / "shared.toml"),
               "--out", str(tmp_path / "shared"), "--fold", "0", "--device", "cpu", "--json"]  # fmt: skip
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}

    running = [
        subprocess.Popen(
            command,
            env={**common, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    train_cnn(toy_store, alone, tmp_path / "alone", fold=0, device="cpu")

    one, two = (load_file(tmp_path / name / "fold0" / "weights.safetensors") for name in ("alone", "shared"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3, msg=name)
    first, second = (pd.read_parquet(tmp_path / name / "fold0" / "oof.parquet") for name in ("alone", "shared"))
    assert list(first["image_id"]) == list(second["image_id"])
    assert list(read_run(tmp_path / "shared").folds) == [0]
    assert json.loads(said[0][0])["finished"] == [0]
    assert said[1] == ("", ""), "only the first process reports"
