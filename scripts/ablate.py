"""Variants of a recipe, trained on the same folds and seeds and compared on the same patients.

    python scripts/ablate.py CONFIG --vary variants.toml --studies STORE --judge NAME=STORE --out OUT
        [--folds 0,1|all] [--seeds 0,1] [--sequence] [--device auto]

variants.toml holds a `[[variant]]` each: `name`, `set = ["augment.painted=0.6"]` as --set takes it, and perhaps a
`note` and what train-cnn is given beside the recipe, as `train.canvas = "our_studies"` (also series_labels,
pseudo_labels, from, and studies: another store of the same series and folds). The first one is the baseline. Judging
stores are predicted as `predict` does, by all folds and views; their images may not be in STORE. `held out` are the
slices of STORE that the folds held out, each predicted by the network that never saw its patient.

OUT/table.md       a table a judging set, with paired differences to the baseline
OUT/results.json   the same with all numbers
OUT/VARIANT/       model directories and predictions: what is finished is never done again

The same command goes on where it was stopped. Scores are means over the seeds.
"""

import argparse
import dataclasses
import re
import shutil
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import ich25d
from ich25d.config import Recipe
from ich25d.encoder.beforehand import SECTIONS
from ich25d.encoder.fold_rows import data_digest, folds_of
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.train import train_cnn
from ich25d.errors import ConfigError, Ich25dError, StoreError, UsageError
from ich25d.evaluate.judging_store import open_judge
from ich25d.evaluate.paired import MEASURES, SENSITIVITY, Predicted, held_out, measures_of, resampled, with_truth
from ich25d.evaluate.scores import short
from ich25d.files import locked, replacing, sha256_file, write_json, write_text
from ich25d.labels import LABELS
from ich25d.pages.number import number_text
from ich25d.predict.answer import resumable_answer
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.open_model import named_model
from ich25d.recipes import find_recipe, read_recipe, write_recipe
from ich25d.sequence.train import train_rnn
from ich25d.studies.store_dir.store import StudyStore
from ich25d.summary import as_json
from ich25d.training.device import choose_device
from ich25d.training.interrupt import Interrupted
from ich25d.training.intervals import Measure
from ich25d.training.model_file import CONFIG_FILE, ENCODER_FOLDER, MODEL_FILE
from ich25d.training.ownership import refuse_other_recipe
from ich25d.training.runlog import LOG_FILE, read_log

HELD_OUT = "held out"
RUNS = {"CNN": "", "CNN + GRU": "-sequence"}  # how a kind of network is called, and the end of its folder
SHOWN = ("AUC any", "log loss")  # of the line of a variant
MEANING = f"""AUC and AP (average precision) are of slices, `series AUC any` of whole series. Log loss: the
competition's, as a share of the best constant answer's; less is better. At prevalence: the same with positives and
negatives weighed to the shares of the baseline's `calibration.prevalence`; labels with one class alone don't count.
Series specificity: at the highest threshold that finds at least {100 * SENSITIVITY:.0f} % of the positive series of
this very set. Differences to the baseline have 95 % intervals of resampled patients, the same ones for both; bold: 0 is
outside. `{HELD_OUT}` is calibrated on the other folds, of one fold alone not at all."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Variant(NamedTuple):
    """A recipe under a name."""

    name: str
    overrides: tuple[str, ...]
    note: str
    recipe: Recipe
    train: dict[str, Path]
    """Options of `train-cnn` that it has beside the recipe, of `TRAIN`, and `studies`, another store than --studies."""

    def seeded(self, seed: int) -> Recipe:
        """Return the recipe with a seed of its own."""
        return dataclasses.replace(self.recipe, train=dataclasses.replace(self.recipe.train, seed=seed))


TRAIN = {"from": "parent", "series_labels": "series_labels", "canvas": "canvas", "pseudo_labels": "pseudo_labels"}
"""Options that a variant may give in its table `train`, and their names in `train_cnn`."""


class Judged(NamedTuple):
    """One variant on one judging set by networks of one kind."""

    draws: Floats
    """Shape (seeds, 1 + R, measures): on all patients, then on each resampling."""
    counts: dict[str, int]
    seconds_per_slice: float
    """NaN of held-out slices, and where an interruption came between."""


def main(arguments: list[str] | None = None) -> int:
    """Train, predict and compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--vary", type=Path, required=True)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--judge", action="append", default=[], metavar="NAME=STORE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", default="all")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--sequence", action="store_true")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        _ablate(options)
    except Ich25dError as error:
        print(error, file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Interrupted):
        print("interrupted: the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _ablate(options: argparse.Namespace) -> None:
    variants = read_variants(options.vary, options.config)
    store = StudyStore.open(options.studies)
    folds = folds_of(store) if options.folds == "all" else _numbers("--folds", options.folds)
    seeds = _numbers("--seeds", options.seeds)
    judges = dict(open_judge(word, store) for word in options.judge)
    if len(judges) < len(options.judge):
        raise UsageError(f"judging stores must have names of their own (got {options.judge})")
    for canvas in {variant.train["canvas"] for variant in variants if "canvas" in variant.train}:
        _ = [open_judge(word, StudyStore.open(canvas)) for word in options.judge]
    device = choose_device(options.device)
    for variant in variants:
        _refuse_other(options.out / variant.name, variant, folds, seeds)
    wanted = variants[0].recipe.calibration.prevalence
    prevalence = np.array([wanted.get(label, np.nan) for label in LABELS])
    head = {"baseline": variants[0].name, "folds": folds, "seeds": seeds, "studies_digest": data_digest(store),
            "device": device.type, "threads": torch.get_num_threads(),
            "versions": {"ich25d": ich25d.__version__, "torch": torch.__version__}}  # fmt: skip
    described: dict[str, Any] = {}
    found: dict[str, dict[str, dict[str, Judged]]] = {name: {} for name in (HELD_OUT, *judges)}
    options.out.mkdir(parents=True, exist_ok=True)
    with locked(options.out / ".ablate.lock", f"compares variants in {options.out}", UsageError):
        for number, variant in enumerate(variants):
            folder = options.out / variant.name
            for seed in seeds:
                _train(variant, variants[:number], seed, folds, options)
            described[variant.name] = _description(variant, variants[0]) | {
                "training_seconds": float(np.mean([_seconds(folder / f"seed{seed}", folds) for seed in seeds]))
            }
            for kind, end in list(RUNS.items())[: 1 + options.sequence]:
                runs = [folder / f"seed{seed}{end}" for seed in seeds]
                for name, judged in _judge(runs, store, judges, device, prevalence).items():
                    found[name].setdefault(variant.name, {})[kind] = judged
            results = {**head, "variants": described, "sets": _compared(found, variants[0].name)}
            write_json(options.out / "results.json", as_json(results))
            write_text(options.out / "table.md", table(results))
            print(_line(variant.name, results), flush=True)


def read_variants(path: Path, config: Path) -> list[Variant]:
    """Read the variants, and check the recipe of each.

    Raises:
        ConfigError: The file isn't one of variants, or a recipe has mistakes.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--vary must be a readable TOML file (got {error}) in {path}") from error
    tables = content.get("variant")
    if set(content) != {"variant"} or not isinstance(tables, list) or not tables:
        raise ConfigError(f"--vary must hold [[variant]] tables alone (got {sorted(content)}) in {path}")
    variants: list[Variant] = []
    for one in tables:
        name, overrides, given = one.get("name"), one.get("set", []), one.get("train", {})
        if set(one) - {"name", "set", "note", "train"} or not isinstance(overrides, list):
            raise ConfigError(
                f"a variant must have a name, a list `set` and a `note`, perhaps a table `train` (got {one}) in {path}"
            )
        if not isinstance(given, dict) or set(given) - {"studies", *TRAIN}:
            raise ConfigError(
                f"a variant's table `train` must hold paths of studies, {', '.join(TRAIN)} (got {given}) in {path}"
            )
        if not _is_name(name) or name.lower() in {earlier.name.lower() for earlier in variants}:
            raise ConfigError(f"a variant's name must be of its own, of A-Z a-z 0-9 . _ - (got {name!r}) in {path}")
        if any(str(word).partition("=")[0].strip() == "train.seed" for word in overrides):
            raise ConfigError(f"train.seed is what --seeds gives (got it in variant {name!r}) in {path}")
        words = tuple(map(str, overrides))
        try:
            recipe = read_recipe(find_recipe(config), words)
        except ConfigError as error:
            raise ConfigError(f"variant {name!r}: {error}") from error
        train = {option: Path(str(value)) for option, value in given.items()}
        variants.append(Variant(name, words, str(one.get("note", "")), recipe, train))
    return variants


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name, re.ASCII) is not None


def _numbers(option: str, text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"{option} takes numbers with commas between, as 0,1 (got {text!r})")
    return sorted({int(word) for word in text.split(",")})


def _refuse_other(folder: Path, variant: Variant, folds: list[int], seeds: list[int]) -> None:
    """Refuse what OUT holds of another recipe or of other folds, before anything is trained."""
    sections = [section.name for section in dataclasses.fields(variant.recipe)]
    for seed in seeds:
        cnn = folder / f"seed{seed}"
        for run in (cnn, folder / f"seed{seed}-sequence"):
            if (run / CONFIG_FILE).exists():
                refuse_other_recipe(run, variant.seeded(seed), sections)
        others = sorted(set(read_run(cnn).folds) - set(folds)) if (cnn / MODEL_FILE).exists() else []
        if others:
            raise UsageError(f"--folds must name all that are trained there (got {folds} without {others}) in {cnn}")


def _train(variant: Variant, earlier: list[Variant], seed: int, folds: list[int], options: argparse.Namespace) -> None:
    """Train what isn't trained yet, here or as the same CNN of an earlier variant.

    Raises:
        Interrupted: A signal asked to stop.
    """
    cnn, sequence = (options.out / variant.name / f"seed{seed}{end}" for end in RUNS.values())
    recipe = variant.seeded(seed)
    studies = variant.train.get("studies", options.studies)
    beside = {TRAIN[option]: path for option, path in variant.train.items() if option in TRAIN}
    if "parent" in beside:
        beside["parent"] = named_model(beside["parent"])
    for one in earlier:
        before = one.seeded(seed)
        is_same = one.train == variant.train
        if is_same and not cnn.exists() and all(getattr(before, name) == getattr(recipe, name) for name in SECTIONS):
            _copy(options.out / one.name / cnn.name, cnn, recipe)
    for fold in folds if options.folds != "all" else ("all",):
        if train_cnn(studies, recipe, cnn, fold=fold, device=options.device, resume=True, **beside).interrupted:
            raise Interrupted
    if options.sequence and not _is_made_of(sequence, cnn):
        train_rnn(studies, cnn, sequence, device=options.device)


def _copy(finished: Path, cnn: Path, recipe: Recipe) -> None:
    """Copy a CNN's run for a variant with other features or calibration; `train_cnn` calibrates it anew."""
    part = cnn.with_name(f".{cnn.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(finished, part, ignore=shutil.ignore_patterns("last.pt", ".*"))
    write_text(part / CONFIG_FILE, write_recipe(recipe))
    part.rename(cnn)


def _is_made_of(sequence: Path, cnn: Path) -> bool:
    """Return whether a sequence model is finished; its own `model.json` is written last."""
    copy = sequence / ENCODER_FOLDER / MODEL_FILE
    whole = copy.exists() and (sequence / MODEL_FILE).exists()
    return whole and copy.read_bytes() == (cnn / MODEL_FILE).read_bytes()


def _seconds(cnn: Path, folds: list[int]) -> float:
    """Return the time of all steps, as the folds' logs have it: interruptions don't count."""
    lines = [line for fold in folds for line in read_log(cnn / f"fold{fold}" / LOG_FILE)]
    return float(sum(line["seconds"] for line in lines if line["event"] == "epoch"))


def _judge(
    runs: list[Path], store: StudyStore, judges: dict[str, StudyStore], device: torch.device, prevalence: Floats
) -> dict[str, Judged]:
    """Score the runs of all seeds on every judging set."""
    predicted: dict[str, list[tuple[list[Predicted], float]]] = {name: [] for name in (HELD_OUT, *judges)}
    for run in runs:
        predicted[HELD_OUT].append((held_out(run, store), np.nan))
        network = load_network(run, str(device), "torch")
        for name, judge in judges.items():
            path = run.parent / "predictions" / f"{run.name}-{name}.npz"
            predicted[name].append(_predicted(network, judge, path))
    return {
        name: Judged(
            np.stack([resampled(series, prevalence) for series, _ in by_seed]), _counts(by_seed[0][0]),
            float(np.mean([seconds for _, seconds in by_seed])),
        )
        for name, by_seed in predicted.items()
    }  # fmt: skip


def _predicted(network: Network, store: StudyStore, path: Path) -> tuple[list[Predicted], float]:
    """Predict a judging store as `predict` does, or read what an earlier call predicted with these weights."""
    stamp = f"{network.stamp} {sha256_file(store.root / 'store.json')}"
    if not path.exists() or _arrays(path)["stamp"] != stamp:
        begun = time.perf_counter()
        with resumable_answer(find_series([store.root], network), network, path) as answer:
            if len(answer.series) < len(store.series):
                raise StoreError(f"every series must be readable (got {answer.refusals}) in {store.root}")
            finished = [one for _, one in answer.series]
            seconds = (time.perf_counter() - begun) / len(store.slices) if not answer.n_resumed else np.nan
            with replacing(path) as part, part.open("wb") as file:
                np.savez(
                    file, stamp=stamp, seconds=seconds, n=[len(one.image_ids) for one in finished],
                    image_id=np.concatenate([one.image_ids for one in finished]),
                    slices=np.concatenate([one.probability for one in finished]),
                    whole=np.stack([one.series_probability for one in finished]),
                )  # fmt: skip
    arrays = _arrays(path)
    image_ids, slices = (np.split(arrays[name], np.cumsum(arrays["n"])[:-1]) for name in ("image_id", "slices"))
    return with_truth(store, image_ids, slices, arrays["whole"]), float(arrays["seconds"])


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def _counts(series: list[Predicted]) -> dict[str, int]:
    target = np.concatenate([one.target for one in series])
    positive = {label: int((target[:, column] == 1).sum()) for column, label in enumerate(LABELS)}
    return {"patients": len({one.patient for one in series}), "series": len(series), "slices": len(target), **positive}


def _description(variant: Variant, baseline: Variant) -> dict[str, Any]:
    """Return what a variant is, and every key of the recipe by which it differs from the baseline."""
    own, before = (
        {(name, key): value for name, keys in dataclasses.asdict(one.recipe).items() for key, value in keys.items()}
        for one in (variant, baseline)
    )  # fmt: skip
    differs = {".".join(key): [before[key], value] for key, value in own.items() if value != before[key]}
    train = {option: str(path) for option, path in variant.train.items()}
    return {"note": variant.note, "set": variant.overrides, "differs": differs, **({"train": train} if train else {})}


def _compared(found: dict[str, dict[str, dict[str, Judged]]], baseline: str) -> dict[str, Any]:
    """Return scores and differences to the baseline, by judging set, variant and kind of network."""

    def numbers(judged: Judged, base: Judged) -> dict[str, Any]:
        mean = judged.draws.mean(axis=0)
        return {
            "seconds_per_slice": judged.seconds_per_slice,
            "scores": measures_of(mean),
            "difference": measures_of(mean - base.draws.mean(axis=0)),
            "by_seed": dict(zip(MEASURES, judged.draws[:, 0].T.tolist(), strict=True)),
        }

    return {
        name: {"counts": by_variant[baseline]["CNN"].counts,
               "networks": {variant: {kind: numbers(judged, by_variant[baseline][kind])
                                      for kind, judged in by_kind.items()}
                            for variant, by_kind in by_variant.items()}}
        for name, by_variant in found.items()
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """Write results as Markdown: the variants, then scores and differences to the baseline of each judging set."""
    lines = ["# Variants", "", *MEANING.splitlines(), "", "| variant | set | note |", "|---|---|---|"]
    for variant, about in results["variants"].items():
        lines.append(f"| {variant} | {', '.join(f'`{word}`' for word in _words(about))} | {about['note']} |")
    titles = " | ".join(MEASURES)
    for name, content in results["sets"].items():
        counts = ", ".join(f"{label} {count:,}" for label, count in content["counts"].items())
        scores = [f"| variant | {titles} | training, s | s a slice |", "|---" * (len(MEASURES) + 3) + "|"]
        differences = [f"| minus {results['baseline']} | {titles} |", "|---" * (len(MEASURES) + 1) + "|"]
        for variant, by_kind in content["networks"].items():
            for kind, own in by_kind.items():
                cells = [short(dataclasses.replace(measure, low=np.nan)) for measure in own["scores"].values()]
                seconds = results["variants"][variant]["training_seconds"], own["seconds_per_slice"]
                scores.append(f"| {' | '.join([f'{variant}, {kind}', *cells, *map(number_text, seconds)])} |")
                cells = [_signed(measure) for measure in own["difference"].values()]
                differences.append(f"| {' | '.join([f'{variant}, {kind}', *cells])} |")
        n_base = len(content["networks"][results["baseline"]])
        lines += ["", f"## {name}", "", f"{counts}.", "", *scores, "", *differences[:2], *differences[2 + n_base :]]
    return "\n".join(lines) + "\n"


def _words(about: dict[str, Any]) -> list[str]:
    """Return what a variant sets, of the recipe and beside it."""
    return [*about["set"], *(f"--{option.replace('_', '-')} {path}" for option, path in about.get("train", {}).items())]


def _signed(difference: Measure) -> str:
    """Write a difference with its interval, as `+.012 [-.003, .027]`; bold where 0 is outside."""
    text = f"{'+' * (difference.value > 0)}{short(difference)}"
    return f"**{text}**" if difference.low > 0 or difference.high < 0 else text


def _line(variant: str, results: dict[str, Any]) -> str:
    """Return what is printed when a variant is done."""
    parts = [f"{variant}: {results['variants'][variant]['training_seconds']:.0f} s of training"]
    for name, content in results["sets"].items():
        for kind, own in content["networks"][variant].items():
            shown = [f"{one} {short(own['scores'][one])}" for one in SHOWN]
            if variant != results["baseline"]:
                shown = [f"{text}, {_signed(own['difference'][one])}" for one, text in zip(SHOWN, shown, strict=True)]
            parts.append(f"{name}, {kind}: {'; '.join(shown)}")
    return "\n  ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
