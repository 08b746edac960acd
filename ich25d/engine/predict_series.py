"""Predict one series with an exported model: NumPy and onnxruntime alone.

    python predict_series.py [series.npz]

The series: hu (n, size, size) int16, cropped as `store` in model.json says; slice_position_mm (n,), rising; brain_hu.
Without one it answers check.npz and compares with torch. Holes in a scan and thin slices are left to ich25d.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]

HERE = Path(__file__).resolve().parent
MODEL = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
SLAB = MODEL["slab"]


def networks(kind: str) -> list[onnxruntime.InferenceSession]:
    """Load the encoders or the sequence models."""
    return [onnxruntime.InferenceSession(HERE / one["file"]) for one in MODEL[kind]]


def shrink(n_in: int, n_out: int) -> Array:
    """Weights of bilinear resizing with antialiasing, shape (n_out, n_in)."""
    scale = n_in / n_out
    centre = (np.arange(n_out)[:, None] + 0.5) * scale
    weight = np.clip(1 - np.abs(np.arange(n_in) + 0.5 - centre) / max(scale, 1), 0, None)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def slabs(hu: Array, position: Array, brain_hu: float) -> Array:
    """Lay each slice, its neighbours and their windows out as channels 0 to 1, shape (n, S * V, size, size)."""
    side = shrink(hu.shape[1], SLAB["size"])
    hu = side @ hu @ side.T + (SLAB["brain_hu"] - brain_hu if SLAB["brain_hu"] and np.isfinite(brain_hu) else 0)
    grey = np.stack([np.clip((hu - level + width / 2) / width, 0, 1) for level, width in MODEL["windows"]], axis=1)
    rows = np.arange(len(hu))
    if step := SLAB["neighbour_mm"]:
        beside = [
            np.abs(position - (position[:, None] + offset * step)).argmin(axis=1) for offset in SLAB["neighbours"]
        ]
    else:
        beside = [np.where((rows + offset >= 0) & (rows + offset < len(rows)), rows + offset, rows)
                  for offset in SLAB["neighbours"]]  # fmt: skip
    return np.concatenate([grey[other] for other in beside], axis=1).astype(np.float32)


def refined(seen: list[tuple[int, Array, Array]], position: Array) -> Array:
    """Let the sequence models read the series in both directions; blend, smooth and calibrate, shape (n, 6)."""
    of, numbers = MODEL["sequence"], np.zeros((len(position), 6))
    statistics = read_safetensors(HERE / of["statistics"]["file"])
    place = (position - position[0]).astype(np.float32)
    models = list(zip(MODEL["sequence_models"], networks("sequence_models"), strict=True))
    fold_of, n_read = [entry["fold"] for entry in MODEL["encoders"]], 0
    for fold, embedding, logit in seen:
        key = str(fold) if fold >= 0 else ""
        scaled = np.clip((embedding - statistics[f"mean.{key}"]) / statistics[f"spread.{key}"], -8, 8)
        for entry, model in models:
            if of["paired"] and fold_of[entry["fold"]] != fold:  # trained together with another encoder
                continue
            for turn in (slice(None), slice(None, None, -1)):
                feed = {"embedding": scaled[None, turn], "logit": logit[None, turn], "position_mm": place[None, turn]}
                numbers += model.run(None, feed)[0][0][turn]
                n_read += 1
    numbers /= n_read
    mean, out = np.mean([logit for _, _, logit in seen], axis=0), []
    for label, name in enumerate(MODEL["labels"]):
        b = of["refinement"][name]["blend"]
        mixed = (1 - b["sequence"]) * mean[:, label] + b["sequence"] * numbers[:, label]
        near = smooth(mixed, place, b["sigma_mm"])
        out.append(b["slope"] * ((1 - b["smoothed"]) * mixed + b["smoothed"] * near) + b["bias"])
    return np.stack(out, axis=1)


def smooth(logit: Array, place: Array, sigma_mm: float) -> Array:
    """Average logits along the scan under a Gaussian of the distance in mm; 0 mm leaves them."""
    weight = np.exp(-0.5 * ((place[:, None] - place) / (sigma_mm or 1e-3)) ** 2)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True) @ logit)


def read_safetensors(path: Path) -> dict[str, Array]:
    """Read float32 tensors: 8 bytes of length, JSON, numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = {name: one for name, one in json.loads(data[8:start]).items() if name != "__metadata__"}
    return {name: np.frombuffer(data[start:], np.float32)[one["data_offsets"][0] // 4 : one["data_offsets"][1] // 4]
            for name, one in header.items()}  # fmt: skip


def predict(hu: Array, position: Array, brain_hu: float) -> Array:
    """Return calibrated probabilities of slices, shape (n, 6), in the order of `labels` in model.json."""
    plain, seen = slabs(hu, position, brain_hu), []
    for entry, encoder in zip(MODEL["encoders"], networks("encoders"), strict=True):
        for view in MODEL["views"]:
            shown = plain if view == "plain" else np.ascontiguousarray(plain[..., ::-1])
            embedding, logit = encoder.run(["embedding", "logit"], {"slab": shown})
            seen.append((entry["fold"], embedding, logit))
    if MODEL["sequence"]:
        logit = refined(seen, position)
    else:
        by_label = [[MODEL["calibration"][kind][name] for name in MODEL["labels"]] for kind in ("temperature", "bias")]
        logit = np.mean([one for _, _, one in seen], axis=0)
        logit = smooth(logit, position, MODEL["calibration"]["sigma_mm"]) / by_label[0] + by_label[1]
    probability = 1 / (1 + np.exp(-logit))
    probability[:, -1] = probability.max(axis=1)  # any
    return np.asarray(probability)


if __name__ == "__main__":
    series = np.load(sys.argv[1] if len(sys.argv) > 1 else HERE / "check.npz", allow_pickle=False)
    found = predict(series["hu"], series["slice_position_mm"], float(series["brain_hu"]))
    print(*MODEL["labels"], sep="\t")
    for row in found:
        print(*(f"{value:.6f}" for value in row), sep="\t")
    if "probability" in series:
        print(f"largest difference to torch: {np.abs(found - series['probability']).max():.1e}", file=sys.stderr)
