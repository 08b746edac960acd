"""Commands on data: build-studies, eda, synth, demo, info."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ich25d.cli.options import Accept, Cluster, Dry, Images, Only, Summary, Workers, command


@command(
    "ich25d build-studies rsna.zip --only '*stage_2_train/*' --labels stage_2_train.csv --out studies",
    "ich25d build-studies /data/hospital/ --out studies --crop none",
    "ich25d build-studies --images metadata.csv --out studies --size 192",
    "ich25d build-studies ct_scans/ --masks masks=any --out studies",
    "ich25d build-studies /data/hospital/ --out studies --dry-run",
    "ich25d build-studies /shared/archive/ --out /shared/studies --cluster auto",
    "ich25d build-studies /data/cta/ --accept CONTRAST --out studies",
)
def build_studies(
    out: Annotated[Path, typer.Option(help="The study store to make or to go on with.")],
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE...", help="Folders, DICOM or NIfTI files and zip archives.")
    ] = None,
    only: Only = None,
    labels: Annotated[Path | None, typer.Option(help="Labels: Kaggle's long CSV or one column a label.")] = None,
    images: Images = None,
    masks: Annotated[
        list[str] | None,
        typer.Option(help="NIfTI masks and what their values are: PATH=any or PATH=1:epidural,...; may be repeated."),
    ] = None,
    accept: Accept = None,
    crop: Annotated[str, typer.Option(help="head: the box of the head; none: the full field.")] = "head",
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the stored slices in px.")] = 256,
    folds: Annotated[int, typer.Option(min=2, max=100, help="Folds, by patient.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
    workers: Workers = 0,
    cluster: Cluster = None,
    dry: Dry = False,
) -> Summary:
    """Order DICOM and NIfTI into series of HU and keep them in a study store."""
    options: dict[str, Any] = {
        "only": tuple(only or ()), "labels": labels, "images": tuple(images or ()), "masks": tuple(masks or ()),
        "accept": tuple(accept or ()), "crop": crop, "size": size, "workers": workers,
    }  # fmt: skip
    if dry:
        from ich25d.studies.dry_run import dry_build

        return dry_build(tuple(sources or ()), out, **options)
    from ich25d.studies.build import build_studies as run

    return run(tuple(sources or ()), out, folds=folds, seed=seed, cluster=cluster, **options)


@command(
    "ich25d eda studies --out eda",
    "ich25d eda --labels stage_2_train.csv --out eda",
    "ich25d eda studies --source rsna-intracranial-hemorrhage-detection.zip --out eda",
)
def eda(
    out: Annotated[Path, typer.Option(help="The folder for index.html, figures/ and tables/.")],
    studies: Annotated[Path | None, typer.Argument(help="A study store.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels: alone, or in place of the store's where they know an image.")
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--source", help="What the store was built from, for what it doesn't keep; may be repeated."),
    ] = None,
    only: Only = None,
    workers: Workers = 0,
) -> Summary:
    """Look at the data: labels, technical attributes, pictures, and what gives the label away."""
    from ich25d.view.eda.run import explore

    return explore(studies, out, labels=labels, sources=tuple(sources or ()), only=tuple(only or ()), workers=workers)


@command("ich25d synth --studies 24 --out synth", "ich25d synth --studies 4 --out synth --seed 7")
def synth(
    out: Annotated[Path, typer.Option(help="The folder to make, in the competition's layout.")],
    studies: Annotated[int, typer.Option(min=1, help="Heads to make.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed makes the same heads.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw; 0 is one a core.")] = 0,
) -> Summary:
    """Make phantom heads as RSNA-shaped DICOM, with labels."""
    from ich25d.phantom.synth import synthesise

    return synthesise(out, studies, seed=seed, workers=workers)


@command("ich25d demo --out demo", "ich25d demo --out demo --seed 3")
def demo(
    out: Annotated[Path, typer.Option(help="The folder for all that the walk makes.")],
    studies: Annotated[int, typer.Option(min=8, help="Phantom heads.")] = 54,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the heads.")] = 0,
) -> Summary:
    """Walk from phantom DICOM to a CSV and a picture, on a CPU, in minutes."""
    from ich25d.files import check_no_file

    check_no_file(out)
    from ich25d.demo.walk import walk  # loads torch

    return walk(out, n_studies=studies, seed=seed)


@command("ich25d info", "ich25d info studies --verify", "ich25d info runs/rnn --json")
def info(
    path: Annotated[Path | None, typer.Argument(help="A study store or a model directory.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and check it against its hashes.")] = False,
) -> Summary:
    """Say what is installed and what is missing for what, or what a store or a model directory holds."""
    from ich25d.view.info import describe

    return describe(path, verify=verify)
