"""What else happens to a store: flipped bits, two builders at once, changing sources, a clock that jumps."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hard_to_break.broken_off import workplace
from hard_to_break.report import Finding
from hard_to_break.runner import BUILD, running
from hard_to_break.scan import SLICES, sound_file
from hard_to_break.scenes import SCENES, content, leftovers, prepare, removed
from ich25d.errors import Ich25dError, StoreError
from ich25d.progress import set_quiet
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore

CHECKED = ("store.json", "slices.parquet", "series.parquet", "qc.csv")


def flips(n: int, seed: int, first: int) -> Finding:
    """Flip one bit of a store's files, again and again: `info --verify` must name it, and a prediction must not use it.

    Args:
        n: Flips.
        seed: Draws them.
        first: Number of the first.
    """
    set_quiet(True)
    finding = Finding("flips", "", "10,000 of 10,000 found by verify; read by a prediction: all found without it")
    n_read = 0
    with workplace() as place:
        for index in range(3 * SLICES):
            (place / f"{index}.dcm").write_bytes(sound_file(index, side=64))
        sources = [place / f"{index}.dcm" for index in range(3 * SLICES)]
        build_studies(sources, place / "store", size=32, folds=2, workers=1)
        files = sorted(path for path in (place / "store").rglob("*") if path.name in CHECKED or path.suffix == ".b2nd")
        sound = StudyStore.open(place / "store")
        volumes = {series_id: sound.hu(series_id) for series_id in sound.series["series_id"]}
        for number in range(first, first + n):
            rng = random.Random(f"{seed} {number}")
            path = rng.choice(files)
            whole = path.read_bytes()
            at, bit = rng.randrange(len(whole)), rng.randrange(8)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            where = (
                f"bit {bit} of byte {at} of {path.name}; repeat: scripts/endurance flips --seed {seed} --first {number}"
            )
            try:
                if not StudyStore.open(place / "store").verify():
                    finding.faults.append(f"verify says nothing: {where} --n 1")
            except Ich25dError:
                pass
            except Exception as error:  # noqa: BLE001  # what this part looks for
                finding.faults.append(f"{type(error).__name__}: {error}: {where} --n 1")
            if path.suffix == ".b2nd":
                n_read += 1
                try:
                    store = StudyStore.open(place / "store")
                    if any((store.hu(series_id) != volume).any() for series_id, volume in volumes.items()):
                        finding.faults.append(f"a prediction would have read other HU: {where} --n 1")
                    else:
                        finding.faults.append(f"a prediction wouldn't have seen it: {where} --n 1")
                except StoreError:
                    pass
            path.write_bytes(whole)
    finding.figure = (
        f"{n:,} bits flipped, {n - len(finding.faults):,} found; {n_read:,} of them in volumes, found as they are read"
    )
    return finding


def races(n: int, seed: int, first: int) -> Finding:
    """Start two builders of one store at nearly the same moment.

    One of them builds it; the other is refused with a sentence, or comes later and finds all done.

    Args:
        n: Races.
        seed: Draws how far the second one is behind.
        first: Number of the first.
    """
    finding = Finding("races", "", "100 races, no damage: one builds, the other is refused or finds all done")
    scene = SCENES["build"]
    with workplace() as place, running(BUILD) as one, running(BUILD) as other:
        prepare(place, one, ["build"])
        out = place / "out"
        words = scene.arguments(place, out)
        alone = one.run(words, folder=out)
        expected = content(out, scene)
        n_refused = 0
        for race in range(first, first + n):
            removed(out)
            behind = random.Random(f"{seed} {race}").uniform(0, 1.2 * alone.seconds)
            with ThreadPoolExecutor(1) as beside:
                first_one = beside.submit(one.run, words, folder=out)
                time.sleep(behind)
                ended = [other.run(words, folder=out), first_one.result()]
            codes = sorted(ran.code for ran in ended)
            n_refused += codes == [0, 2]
            wrong = ""
            if codes not in ([0, 0], [0, 2]) or any("Traceback" in ran.output for ran in ended):
                wrong = f"exit codes {codes}: {[ran.output[-200:] for ran in ended]}"
            elif content(out, scene) != expected or leftovers(out):
                wrong = "another store than that of one builder"
            if wrong:
                finding.faults.append(f"race {race}: {wrong}; repeat: --seed {seed} --first {race} --n 1")
    finding.figure = f"{n:,} races, {n - len(finding.faults):,} without damage; in {n_refused:,} the second was refused"
    return finding


def changes(n: int, seed: int, first: int) -> Finding:
    """Let files be cut, written over, replaced and removed while a store is built, and the clock jump by a day.

    The store must say what it read: the next call, with the files at rest, makes the store of those files.

    Args:
        n: Builds.
        seed: Draws what changes, and when.
        first: Number of the first.
    """
    finding = Finding(
        "changes", "", "every build ends with a sentence or a store; the next is that of the files at rest"
    )
    scene = SCENES["build"]
    with workplace() as place, running(BUILD) as runner:
        prepare(place, runner, ["build"])
        words = scene.arguments(place, place / "out")
        seconds = runner.run(words, folder=place / "out").seconds
        for number in range(first, first + n):
            rng = random.Random(f"{seed} {number}")
            removed(place / "out")
            thread = threading.Thread(target=_disturb, args=(place / "in", rng, seconds))
            thread.start()
            ran = runner.run(words, folder=place / "out", clock_s=86_400.0 if rng.random() < 0.5 else 0.0)
            thread.join()
            wrong = ""
            if ran.code not in {0, 1, 2} or "Traceback" in ran.output or "READ_FAILED" in ran.output:
                wrong = f"exit code {ran.code}: {ran.output[-300:]}"
            again = runner.run(words, folder=place / "out")
            there = content(place / "out", scene)
            removed(place / "fresh")
            fresh = runner.run(scene.arguments(place, place / "fresh"), folder=place / "fresh")
            if not wrong and (again.code, there) != (fresh.code, content(place / "fresh", scene)):
                wrong = f"the next call ends with {again.code} and another store than a new one ({fresh.code})"
            if wrong:
                finding.faults.append(f"build {number}: {wrong}; repeat: --seed {seed} --first {number} --n 1")
    finding.figure = f"{n:,} builds of changing files, {n - len(finding.faults):,} as they must be"
    return finding


def _disturb(source: Path, rng: random.Random, seconds: float) -> None:
    """Change some files within the time that a build takes."""
    for _ in range(rng.randint(1, 6)):
        time.sleep(rng.uniform(0, seconds / 3))
        index = rng.randrange(4 * SLICES)
        path = source / f"{index}.dcm"
        whole = sound_file(index, (index // SLICES) % 3, side=64)
        match rng.randrange(5):
            case 0:
                path.write_bytes(whole[: rng.randrange(len(whole))])
            case 1:
                path.write_bytes(sound_file(index, rng.randrange(3), side=rng.choice((32, 64))))
            case 2:
                path.unlink(missing_ok=True)
            case 3:
                path.write_bytes(rng.randbytes(rng.randrange(2000)))
            case _:
                beside = path.with_suffix(".new")
                beside.write_bytes(whole)
                beside.replace(path)
