"""How much slice labels are worth beside reports: stores with labels of few patients, and the variants to compare them.

    python scripts/fewer_labels.py STUDIES --patients 10,20,40,80 --out OUT [--seed 0]

OUT/slices-N/       STUDIES with labels of slices for N patients alone (none for N = 0); the smaller ones lie within the
                    larger ones, half of them with a bleed as far as there are any, spread over the folds; volumes are
                    hard links where the disk allows
OUT/reports.csv     any bleed, yes or no, of every series whose slices have labels: for --series-labels
OUT/variants.toml   slices of N patients, the same with the reports of all, and reports alone: for scripts/ablate.py
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ich25d.errors import Ich25dError, UsageError
from ich25d.files import sha256_file, write_json, write_text
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore, seal


def main(arguments: list[str] | None = None) -> int:
    """Write the stores, the reports and the variants; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--patients", default="10,20,40,80")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        _write(options.studies, _numbers(options.patients), options.out, options.seed)
    except Ich25dError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _write(studies: Path, numbers: list[int], out: Path, seed: int) -> None:
    store = StudyStore.open(studies)
    patients = drawn_patients(store, seed)
    if numbers[-1] > len(patients):
        raise UsageError(f"--patients must be at most the {len(patients)} with labels (got {numbers[-1]}) in {studies}")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out must be a new folder (got {out}, with files in it)")
    out.mkdir(parents=True, exist_ok=True)
    for number in (0, *numbers):
        copy_with_labels(store, out / f"slices-{number}", patients[:number])
    reports = store.slices.groupby("series_id", sort=False)["any"].agg(lambda labels: labels.max(skipna=False))
    write_text(out / "reports.csv", reports.dropna().rename("any").to_csv())
    write_text(out / "variants.toml", _variants(out.resolve(), numbers))
    print(f"{len(numbers) + 1} stores, reports of {len(reports.dropna())} series and variants in {out}")


def drawn_patients(store: StudyStore, seed: int) -> list[str]:
    """Return the patients with labels in the order in which they get them: by turns with and without a bleed."""
    slices = store.slices
    known = slices[slices["any"].notna()]
    bleeds = known.groupby("split_unit")["any"].max()
    fold = known["series_id"].map(store.series.set_index("series_id")["fold"]).groupby(known["split_unit"]).first()
    rng = np.random.default_rng(seed)
    queues = []
    for label in (1, 0):
        table = pd.DataFrame({"fold": fold[bleeds == label]}).sample(frac=1, random_state=rng)
        table["turn"] = table.groupby("fold").cumcount()
        queues.append(list(table.sort_values(["turn", "fold"], kind="stable").index))
    order = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return [str(name) for name in order]


def copy_with_labels(store: StudyStore, out: Path, patients: list[str]) -> None:
    """Write a store with the labels of slices of some patients alone, and everything else as it is."""
    shutil.copytree(store.root / "hu", out / "hu", copy_function=_link)
    shutil.copy(store.root / "qc.csv", out / "qc.csv")
    slices = store.slices.copy()
    slices.loc[~slices["split_unit"].isin(set(patients)), list(LABELS)] = pd.NA
    slices.to_parquet(out / "slices.parquet", index=False)
    store.series.to_parquet(out / "series.parquet", index=False)
    tables = {name: sha256_file(out / name) for name in store.marker.get("tables", {})}
    write_json(out / "store.json", seal({**store.marker, "tables": tables}))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def _variants(out: Path, numbers: list[int]) -> str:
    parts = []
    for number in numbers:
        parts.append((f"slices-{number}", f"slices-{number}", False, f"slice labels of {number} patients"))
    for number in (0, *numbers):
        note = f"slice labels of {number} patients and reports of all" if number else "reports of all, no slice labels"
        parts.append((f"reports-slices-{number}" if number else "reports", f"slices-{number}", True, note))
    return "\n".join(
        f'[[variant]]\nname = "{name}"\nnote = "{note}"\ntrain.studies = {json.dumps(str(out / folder))}\n'
        + (f"train.series_labels = {json.dumps(str(out / 'reports.csv'))}\n" if has_reports else "")
        for name, folder, has_reports, note in parts
    )


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"--patients takes numbers above 0 with commas between, as 10,20 (got {text!r})")
    return sorted({int(word) for word in words})


if __name__ == "__main__":
    sys.exit(main())
