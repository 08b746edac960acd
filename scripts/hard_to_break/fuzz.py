"""Readers of what users hand in, given damaged files: what is taken is right, what isn't is refused in a sentence.

A reader's file is written sound, then changed by its structure (a node of JSON, a cell of a table, a token of a recipe,
a field of a zip's directory) or by its bytes. A reader writes nothing, so that a refusal leaves nothing behind.
"""

import contextlib
import json
import random
import re
import shutil
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save

from hard_to_break.broken_off import workplace
from hard_to_break.report import Finding, table
from hard_to_break.scan import sound_file
from ich25d.errors import DicomError, Ich25dError
from ich25d.features.store import FeatureStore, write_series, write_tables
from ich25d.labels import LABELS, row_ids
from ich25d.predict.network import describe_model
from ich25d.predict.open_model import OPEN_MODEL
from ich25d.predict.submission import check_submission, read_sample
from ich25d.progress import set_quiet
from ich25d.recipes import check_recipe, find_recipe, read_recipe, write_recipe
from ich25d.studies.headers.packed import Privacy
from ich25d.studies.labelfile import read_labels
from ich25d.studies.pictures.series import plan_images
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.training.weights_file import load_weights

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**9, 10**40, 1e308, -0.5, float("nan"), float("inf"), "", "x", "../../etc/passwd",
    "/etc/passwd", "a\0b", "=1+1", "<b>", "x" * 5000, "1", "nan", [], {}, [[]], [1, 2], {"a": 1}, [None] * 100,
)  # fmt: skip
_CELLS = ("", " ", "nan", "NA", "-1", "2", "0.5", "1e999", "1,0", '"', '""', "'", "\\", "\t", "\r", "\n", "\0",
          "é", "\ufeff", "=1+1", "../x", "ID_", "x" * 3000, "0" * 400, "any", "ID", "True", "1.0", ";", "|", "[",
          "]", "{", "=")  # fmt: skip


class Reader(NamedTuple):
    """A reader that is tried."""

    make: Callable[[Path], Path]
    """Writes the sound files into a new folder; returns the one that is changed."""
    read: Callable[[Path], None]
    """Reads the changed file, and raises AssertionError where what it took isn't right."""


def _bytes_changed(rng: random.Random, content: bytes) -> bytes:
    at, n = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 4, 16, 200))
    return rng.choice(
        (
            content[:at] + rng.randbytes(n) + content[at + n :],
            content[:at] + rng.randbytes(n) + content[at:],
            content[:at] + content[at + n :],
            content[:at],
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
            if at < len(content)
            else b"",
            content[:at] + content[max(0, at - n) : at] * 3 + content[at:],
        )
    )


def _cell_changed(rng: random.Random, content: bytes) -> bytes:
    """Change a cell, a token or a line of text."""
    parts = re.split(rb"([\n,;=\"\[\]])", content)
    at = rng.randrange(len(parts))
    lines = content.split(b"\n")
    line = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[line]
        case 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[line])
        case 2:
            lines[line] = b",".join(reversed(lines[line].split(b",")))
        case _:
            return b"".join([*parts[:at], rng.choice(_CELLS).encode("utf-8", "replace"), *parts[at + 1 :]])
    return b"\n".join(lines)


def _node_changed(rng: random.Random, content: bytes) -> bytes:
    """Change a node of JSON: another value, no key, another key."""
    whole = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:  # JSON
        for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(whole)
    node, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        case _:
            node[key] = rng.choice(_ODD)
    return json.dumps(whole).encode()


def changed(rng: random.Random, name: str, content: bytes) -> bytes:
    """Return a file changed once to three times, by its structure or by its bytes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        structural = _node_changed if name.endswith(".json") else _cell_changed
        if name.endswith((".json", ".csv", ".toml")) and rng.random() < 0.75:
            with contextlib.suppress(ValueError, IndexError):  # changed before, and JSON no more
                content = structural(rng, content)
                continue
        content = _bytes_changed(rng, content)
    return content


@cache
def _zip_content() -> dict[str, bytes]:
    return {f"CT/{index}.dcm": sound_file(index) for index in range(4)} | {"text.txt": b"text" * 100, "empty": b""}


def _make_zip(folder: Path) -> Path:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, content) in enumerate(_zip_content().items()):
            info = zipfile.ZipInfo(name)
            info.extra = b"\xfe\xca\x04\0abcd" if number % 2 else b""
            archive.writestr(info, content, zipfile.ZIP_STORED if number == 1 else zipfile.ZIP_DEFLATED)
        archive.comment = b"a comment"
    (folder / "scan.zip").write_bytes(target.getvalue())
    return folder / "scan.zip"


def _read_zip(path: Path) -> None:
    entries, rows = list_entries([path])
    assert entries or rows, "an archive without a row"
    sources = Sources([path])
    try:
        for entry in entries:
            name = entry.source.partition(":")[2]
            with contextlib.suppress(DicomError):
                content = bytes(sources.content(entry))
                assert content in _zip_content().values(), f"{name} isn't what was packed, and its checksum holds"
    finally:
        sources.close()


def _write_csv(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / name


def _make_labels(folder: Path) -> Path:
    ids = row_ids([f"ID_{index:09x}" for index in range(6)])
    return _write_csv(folder, "labels.csv", {"ID": ids, "Label": [index % 2 for index in range(len(ids))]})


def _read_labels(path: Path) -> None:
    labels, rows = read_labels(path)
    assert set(labels.columns) == set(LABELS), "other columns"
    assert (labels.isin([0, 1]) | labels.isna()).to_numpy(dtype=bool).all(), "another label than 0 and 1"
    assert labels.index.is_unique, "one image twice"
    assert all(row.code for row in rows)


def _make_wide(folder: Path) -> Path:
    columns = {"image_id": [f"ID_{index:09x}" for index in range(6)], **{label: [0, 1, 0, 1, 1, 0] for label in LABELS}}
    return _write_csv(folder, "wide.csv", columns)


def _make_sample(folder: Path) -> Path:
    return _write_csv(folder, "sample.csv", {"ID": row_ids([f"ID_{index:09x}" for index in range(6)]), "Label": 0.5})


def _read_sample(path: Path) -> None:
    found = read_sample(path)
    assert len(found) == len(set(found)), "an id twice"


def _read_submission(path: Path) -> None:
    report = check_submission(path)
    assert report.exit_code in {0, 2}


def _make_images(folder: Path) -> Path:
    columns = {
        "image_id": [f"ID_{index:09x}" for index in range(6)], "series_id": ["ID_s"] * 6, "patient_id": ["ID_p"] * 6,
        "path": [f"{index}.png" for index in range(6)], "windows": ["brain"] * 6,
        "position": [f"[0.0, 0.0, {5.0 * index}]" for index in range(6)], "any": [0, 1, 0, 1, 0, 1],
    }  # fmt: skip
    return _write_csv(folder, "images.csv", columns)


def _read_images(path: Path) -> None:
    planned = plan_images(path, Privacy(b"k" * 16, 0.0))
    ids = [image_id for series in planned.series for image_id in series.image_ids]
    assert len(ids) == len(set(ids)), "an image twice"
    assert len(ids) + planned.n_refused == planned.n_seen, "rows that are unaccounted for"


def _make_recipe(folder: Path) -> Path:
    (folder / "recipe.toml").write_bytes(find_recipe(Path("baseline")).read_bytes())
    return folder / "recipe.toml"


def _read_recipe(path: Path) -> None:
    recipe = read_recipe(path)
    assert check_recipe(tomllib.loads(write_recipe(recipe)), "again") == recipe, "written and read it differs"


def _make_model(folder: Path) -> Path:
    shutil.copytree(OPEN_MODEL, folder / "model")
    return folder / "model" / "model.json"


def _read_model(path: Path) -> None:
    describe_model(path.parent)


def _make_weights(folder: Path) -> Path:
    tensors = {"weight": np.zeros((3, 4), np.float32), "bias": np.ones(3, np.float32)}
    (folder / "weights.safetensors").write_bytes(save(tensors, {"format": "pt"}))
    return folder / "weights.safetensors"


def _read_weights(path: Path) -> None:
    model = torch.nn.Linear(4, 3)
    load_weights(model, path, None)
    assert all(bool(one.isfinite().all()) for one in model.parameters()), "weights that aren't finite"


def _make_features(folder: Path) -> Path:
    n = 5
    rows = {
        "image_id": [f"ID_{index}" for index in range(n)], "series_id": "ID_s", "study_id": "ID_t",
        "patient_id": "ID_p", "slice_index": range(n), "slice_position_mm": np.arange(n) * 5.0, "fold": 0,
        **{label: pd.array([0, 1, 0, 1, 0], "Int8") for label in LABELS},
    }  # fmt: skip
    write_series(
        folder, "ID_s", embedding=np.zeros((1, n, 8), np.float16), logit=np.zeros((1, n, 6), np.float32),
        slice_position_mm=np.arange(n) * 5.0,
    )  # fmt: skip
    write_tables(folder, pd.DataFrame(rows), dim=8, views=["plain"], size=32)
    return folder / "features.json"


def _make_features_of_series(folder: Path) -> Path:
    _make_features(folder)
    return next(folder.glob("*.safetensors"))


def _read_features(path: Path) -> None:
    store = FeatureStore.open(path.parent)
    for series_id in store.series.index:
        series = store.read(series_id)
        assert np.isfinite(series.embedding).all(), "features that aren't finite"
        assert series.embedding.shape == (len(store.views), 5, store.dim), "another shape"


READERS: dict[str, Reader] = {
    "zip": Reader(_make_zip, _read_zip),
    "labels, long": Reader(_make_labels, _read_labels),
    "labels, wide": Reader(_make_wide, _read_labels),
    "sample submission": Reader(_make_sample, _read_sample),
    "submission": Reader(_make_sample, _read_submission),
    "image table": Reader(_make_images, _read_images),
    "recipe": Reader(_make_recipe, _read_recipe),
    "model.json": Reader(_make_model, _read_model),
    "weights": Reader(_make_weights, _read_weights),
    "features.json": Reader(_make_features, _read_features),
    "features of a series": Reader(_make_features_of_series, _read_features),
}


class Trials:
    """Trials of one reader in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.reader = READERS[name]
        folder.mkdir(parents=True)
        self.path = self.reader.make(folder)
        self.sound = self.path.read_bytes()
        self.reader.read(self.path)  # what is changed was sound
        self.there = set(folder.rglob("*"))
        self.folder = folder
        self.ends: Counter[str] = Counter()

    def fault(self, rng: random.Random) -> str:
        """Read one changed file; return what was wrong, or nothing."""
        self.path.write_bytes(changed(rng, self.path.name, self.sound))
        try:
            self.reader.read(self.path)
        except Ich25dError as error:
            self.ends["refused"] += 1
            if not str(error).strip():
                return "refused without a word"
        except AssertionError as error:
            return f"taken, and not right: {error}"
        except Exception as error:  # noqa: BLE001  # what this part looks for
            return f"{type(error).__name__}: {str(error)[:200]}"
        else:
            self.ends["taken"] += 1
        return "" if set(self.folder.rglob("*")) == self.there else "something was written"


def trials_of(place: Path) -> Iterator[tuple[str, Trials]]:
    """Yield the trials of every reader."""
    for name in READERS:
        yield name, Trials(name, place / re.sub(r"\W+", "_", name))


def fuzz(n: int, seed: int, first: int) -> Finding:
    """Give every reader changed files.

    Args:
        n: Files a reader.
        seed: Of the whole run.
        first: Number of the first.
    """
    set_quiet(True)
    finding = Finding("fuzz", "", "every reader: taken and right, or refused in a sentence; nothing written")
    with workplace() as place:
        for name, trials in trials_of(place):
            for number in range(first, first + n):
                if wrong := trials.fault(random.Random(f"{seed} {name} {number}")):
                    finding.faults.append(f"{name}: {wrong}; repeat: fuzz --seed {seed} --first {number} --n 1")
            finding.lines += [name, *table(trials.ends.items())]
    n_trials = n * len(READERS)
    finding.figure = f"{n_trials:,} files of {len(READERS)} readers, {n_trials - len(finding.faults):,} as they must be"
    return finding
