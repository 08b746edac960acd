"""The competition's CSV of ids and probabilities: checked, and written.

ID,Label
ID_0002bd10a_epidural,0.00123456
... six rows an image ...
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import SubmissionError, cause_of
from ich25d.files import replacing
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import many

HEADER = ("ID", "Label")
"""The first line."""

LOWEST, HIGHEST = 1e-6, 1 - 1e-6
"""Nearest that a probability comes to 0 and 1: a certain mistake costs 13.8, not 34.5."""

DIGITS = 6
"""Significant digits of a probability."""

_EXAMPLES = 3
_LARGEST_BYTES = 4 * 1024**3

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class CheckReport:
    """What is wrong with a CSV, each kind with its count and its first places."""

    file: Path
    n_rows: int = 0
    n_images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """By problem, the rule that is broken."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """First places by problem."""

    def add(self, problem: str, example: str, count: int = 1) -> None:
        """Note a problem; only its first examples are kept.

        Args:
            problem: The rule that is broken.
            example: A place; empty adds none.
            count: How many times.
        """
        self.counts[problem] += count
        kept = self.examples.setdefault(problem, [])
        if len(kept) < _EXAMPLES and example:
            kept.append(example)

    @property
    def exit_code(self) -> int:
        """0 when the competition would take the file, else 2."""
        return 2 if self.counts else 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        if not self.counts:
            return [f"{self.file}: sound; {many(self.n_images, 'image')}, {many(self.n_rows, 'row')}"]
        lines = [f"{self.file}: {many(sum(self.counts.values()), 'problem')} in {many(self.n_rows, 'row')}"]
        for problem, count in self.counts.items():
            examples = "; ".join(self.examples[problem])
            lines.append(f"  {count:>8}  {problem}" + (f": {examples}" if examples else ""))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "file": str(self.file),
            "sound": not self.counts,
            "n_rows": self.n_rows,
            "n_images": self.n_images,
            "problems": [
                {"problem": problem, "count": count, "examples": self.examples[problem]}
                for problem, count in self.counts.items()
            ],
        }


def check_submission(file: Path, sample: Path | None = None) -> CheckReport:
    """Check that a CSV is what the competition takes.

    Args:
        file: The CSV.
        sample: The sample submission whose ids must be there, each once, and no other; their order is free.

    Returns:
        All that is wrong, with counts and first examples.

    Raises:
        SubmissionError: A file isn't there, isn't text, or the sample itself can't be read as one.
    """
    report, seen = _read(file)
    if sample is not None:
        _compare(report, seen, read_sample(sample))
    return report


_BIT = {label: 1 << number for number, label in enumerate(LABELS)}
_ALL = (1 << N_LABELS) - 1


def _read(file: Path, columns: int = 2) -> tuple[CheckReport, dict[str, int]]:
    """Read a CSV; return what is wrong with it, and the labels of each image as bits, in the order of the file.

    Args:
        file: The CSV.
        columns: 1 reads the ids alone.

    Raises:
        SubmissionError: It isn't there, or isn't text.
    """
    report = CheckReport(file)
    seen: dict[str, int] = {}
    for line, row in _rows(file):
        if line == 1:
            if (row if columns > 1 else row[:1]) != list(HEADER[:columns]):
                report.add("the first line must be ID,Label", _shown(",".join(row)))
            continue
        report.n_rows += 1
        if columns > 1 and len(row) != columns:
            report.add("a row must be an id and a probability", f"line {line}: {_shown(','.join(row))}")
            continue
        _note_id(report, seen, line, row[0])
        if columns > 1 and (problem := _wrong_probability(row[1])):
            report.add(problem, f"line {line}: {_shown(row[1])}")
    report.n_images = len(seen)
    if report.n_rows == 0:
        report.add("there must be rows under the first line", "none")
    for image, bits in seen.items():
        if bits != _ALL:
            absent = [label for number, label in enumerate(LABELS) if not bits >> number & 1]
            report.add("every image must have its six rows", f"{_shown(image)} lacks {', '.join(absent)}", len(absent))
    return report, seen


def _note_id(report: CheckReport, seen: dict[str, int], line: int, row_id: str) -> None:
    image, _, label = row_id.rpartition("_")
    bit = _BIT.get(label)
    if bit is None or not image:
        report.add("an id must be an image's and one of the six labels", f"line {line}: {_shown(row_id)}")
        return
    before = seen.get(image, 0)
    if before & bit:
        report.add("an id must come once", f"line {line}: {_shown(row_id)}")
    seen[image] = before | bit


def _wrong_probability(text: str) -> str:
    """Return what is wrong with a probability, or nothing."""
    try:
        value = float(text)
    except ValueError:
        return "a probability must be a number"
    if 0 <= value <= 1:
        # Python reads 1_0 and full-width digits as numbers, the competition doesn't.
        return "" if text.isascii() and "_" not in text else "a probability must be a number"
    return "a probability must be a number (not NaN)" if math.isnan(value) else "a probability must lie in 0 to 1"


def _compare(report: CheckReport, seen: dict[str, int], wanted: Sequence[str]) -> None:
    expected = set(wanted)
    for image in wanted:
        if image not in seen:
            report.add("every image of the sample must be there", _shown(image))
    for image in seen:
        if image not in expected:
            report.add("no image may be there that the sample doesn't have", _shown(image))


def read_sample(sample: Path) -> list[str]:
    """Return the image ids of a sample submission, in its order.

    Raises:
        SubmissionError: It isn't a table of six rows an image under ID,Label.
    """
    report, seen = _read(sample, columns=1)
    if report.counts:
        wrong = "\n".join(report.lines()[1:])
        raise SubmissionError(f"a sample submission must be six rows an image under ID,Label (got {sample})\n{wrong}")
    return list(seen)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of a CSV; empty lines at the end are nothing."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise SubmissionError(f"a submission must be at most {_LARGEST_BYTES} bytes (got more) in {path}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in enumerate(csv.reader(file), start=1):
                if row or line == 1:
                    yield line, row
    except OSError as error:
        raise SubmissionError(f"a submission must be a readable file (got {error.strerror}) in {path}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"a submission must be a CSV in UTF-8 (got {cause_of(error)}) in {path}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def write_submission(path: Path, image_ids: Sequence[str], probability: Floats) -> None:
    """Write a submission; it takes the place of an old one only when it is sound.

    Args:
        path: The CSV.
        image_ids: N images.
        probability: Shape (N, 6), in the order of `LABELS`.

    Raises:
        SubmissionError: A probability isn't a number, or what was written doesn't pass `check_submission`.
    """
    with replacing(path) as part:
        fill_submission(part, image_ids, probability, None, path)


def fill_submission(
    part: Path, image_ids: Sequence[str], probability: Floats, sample: Path | None, shown: Path
) -> None:
    """Write a submission into a temporary file and check it.

    Args:
        part: The file.
        image_ids: N images.
        probability: Shape (N, 6), in the order of `LABELS`.
        sample: The sample submission that it must match.
        shown: What the file is to be, for the message.

    Raises:
        SubmissionError: As `write_submission`.
    """
    if not (sound := np.isfinite(probability).all(axis=1)).all():
        image = image_ids[int(np.argmin(sound))]
        raise SubmissionError(f"probabilities must be numbers (got NaN or infinity for {image!r})")
    clipped = np.clip(probability, LOWEST, HIGHEST)
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for image, row in zip(image_ids, clipped.tolist(), strict=True):
            file.writelines(f"{image}_{label},{value:.{DIGITS}g}\n" for label, value in zip(LABELS, row, strict=True))
    report = check_submission(part, sample)
    if report.exit_code:
        raise SubmissionError(
            "\n".join([f"what was to be {shown} isn't sound; nothing was replaced", *report.lines()[1:]])
        )
