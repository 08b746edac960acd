"""The parts by name: options in, a figure out."""

import argparse
import tempfile
from pathlib import Path

from hard_to_break import accounted, broken_off, covered, damage, stranger
from hard_to_break import bombs as bomb_files
from hard_to_break.report import Finding, table
from hard_to_break.scan import cores
from ich25d.dicom.codes import CODES, is_refusal

Options = argparse.Namespace


def headers(options: Options) -> Finding:
    """Damage uncompressed files."""
    return _mutants("headers", options, "1,000,000 mutants, each in exactly one row, no process lost, none unforeseen")


def frames(options: Options) -> Finding:
    """Damage compressed pixels."""
    return _mutants("frames", options, "100,000 mutants, each in exactly one row, no run lost")


def _mutants(kind: str, options: Options, target: str) -> Finding:
    finding = Finding(kind, "", target)
    total = accounted.Account()
    processes = cores(options.processes)
    if options.keep:
        total = accounted.account_of(kind, options.seed, options.first, options.n, options.keep)
    else:
        batch = min(accounted.BATCH, -(-options.n // processes))
        for account in accounted.run(kind, options.seed, options.first, options.n, processes, batch):
            total.add(account)
    again = f"scripts/endurance {kind} --seed {options.seed} --n 1 --keep DIR --first"
    finding.faults = [f"mutant {index}: {what}; repeat: {again} {index}" for index, what in total.faults]
    if total.peak_mb > bomb_files.MOST_MB:
        finding.faults.append(f"a process took {total.peak_mb:.0f} MB")
    reasons = {code for code in CODES if is_refusal(code)}
    finding.lines = ["ends", *table(total.ends.items()), "remarks", *table(total.remarks.items())]
    finding.lines.append("refusals of codes.py that no mutant met: " + ", ".join(sorted(reasons - set(total.ends))))
    finding.figure = (
        f"{total.n:,} mutants, {total.n - len({index for index, _ in total.faults}):,} in exactly one row, "
        f"{total.ends['used']:,} of them used; at most {total.peak_mb:.0f} MB; "
        f"{total.n / max(total.seconds, 1e-9):,.0f} a second and process"
    )
    return finding


def bombs(options: Options) -> Finding:
    """Set off every bomb, or by --first and --n some of them."""
    finding = Finding(
        "bombs", "", f"every file of at most 10 MB: at most {bomb_files.MOST_MB} MB and 30 s, its own row, no crash"
    )
    names = list(bomb_files.BOMBS)[options.first :]
    names = names if options.n <= 1 and not options.first else names[: options.n]
    peak = slowest = 0.0
    for number, name in enumerate(names, options.first):
        with tempfile.TemporaryDirectory() as folder:
            found = bomb_files.set_off(name, (options.keep or Path(folder)) / str(number))
        peak, slowest = max(peak, found.peak_mb), max(slowest, found.seconds)
        finding.lines.append(f"  {found.peak_mb:>6.0f} MB {found.seconds:>6.1f} s  exit {found.code}  {name}")
        wrong = bomb_files.faults_of(found, ends_well=name in bomb_files.NO_DICOM)
        finding.faults += [f"{name}: {what}; repeat: --first {number} --n 1" for what in wrong]
    finding.figure = f"{len(names)} bombs, at most {peak:.0f} MB and {slowest:.1f} s, start of the command included"
    return finding


def writes(options: Options) -> Finding:
    """Let writes fail."""
    return broken_off.writes(options.scenes, options.n, options.seed, options.first)


def kills(options: Options) -> Finding:
    """Kill commands and go on."""
    return broken_off.kills(options.scenes, options.n, options.seed, options.first)


def flips(options: Options) -> Finding:
    """Flip bits of a store."""
    return damage.flips(options.n, options.seed, options.first)


def races(options: Options) -> Finding:
    """Build one store twice at once."""
    return damage.races(options.n, options.seed, options.first)


def changes(options: Options) -> Finding:
    """Change sources and clock while a store is built."""
    return damage.changes(options.n, options.seed, options.first)


def strangers(options: Options) -> Finding:
    """Walk with a stranger's scan."""
    return stranger.stranger()


def fuzz(options: Options) -> Finding:
    """Give readers changed files."""
    from hard_to_break import fuzz as changed_files  # torch: processes that read mutants would hold it too

    return changed_files.fuzz(options.n, options.seed, options.first)


def coverage(_: Options) -> Finding:
    """Count what the tests of dicom/ and studies/ reach."""
    return covered.coverage()
