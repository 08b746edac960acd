"""How often a model is sure of plain heads, and of scans that aren't for it; see docs/measured.md.

    python scripts/confidence_rates.py --plain rsna=rsna/ --plain ge=ge_head/ --odd cd=odd/

Plain heads are also turned into what a hospital mixes up with them, from their own pixels: a CT angiography (dense
vessels and sinuses), T1 and T2 MR stored as CT, a head after craniectomy with air, a brain window alone. Phantoms are
drawn. Imitations are stand-ins: they say which oddities are seen at all, not how often real ones are.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.bleeds.brain_hu import find_brain_hu
from ich25d.bleeds.brightness import Enhancement
from ich25d.bleeds.dura import DenseDura
from ich25d.bleeds.paint import paint
from ich25d.bleeds.shape import Bleed, Waves
from ich25d.errors import Ich25dError
from ich25d.phantom.head import make_head
from ich25d.predict.answer import predict_series
from ich25d.predict.found import find_series
from ich25d.predict.judgement import judge
from ich25d.predict.network import Network, load_network
from ich25d.predict.one_series import predict_pixels
from ich25d.predict.open_model import model_folder
from ich25d.predict.series import FoundSeries, SeriesPixels, plan_array
from ich25d.training.confidence import STATES, Judgement

Hu = npt.NDArray[np.int16]
USUAL_PIXEL_MM = 0.8
"""Of a store's px, where the files don't say."""


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", action="append", default=[], metavar="NAME=SOURCE", help="plain heads")
    parser.add_argument("--odd", action="append", default=[], metavar="NAME=SOURCE", help="scans that aren't")
    parser.add_argument("--model", type=Path, default=None, help="a model directory; default the model in the box")
    parser.add_argument("--phantoms", type=int, default=12, help="heads to draw")
    parser.add_argument("--imitate", type=int, default=8, help="plain heads of each source to turn into other scans")
    parser.add_argument("--each", action="store_true", help="also print every series with its reasons")
    options = parser.parse_args(arguments)
    try:
        network = load_network(model_folder(options.model))
        if network.confidence is None:
            raise Ich25dError(f"the model must have states of confidence (got none in {network.folder})")
        print(f"held out when it was chosen: {network.confidence.reached}")
        print(f"{'scans':<34}{'n':>5}" + "".join(f"{state:>20}" for state in STATES))
        for name, pixels in _every(network, options):
            _print(name, pixels, options.each)
    except Ich25dError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _every(network: Network, options: argparse.Namespace) -> Iterator[tuple[str, list[tuple[str, Judgement]]]]:
    """Yield the name of each kind of scan with the series of it that were judged."""
    for word in [*options.plain, *options.odd]:
        name, _, source = word.partition("=")
        found = find_series([Path(source)], network)
        read = list(_judged(network, found))
        yield name, [(series_id, judgement) for series_id, judgement, _ in read]
        if word in options.plain:
            several = [pixels for _, _, pixels in read if len(pixels.hu) > 1][: options.imitate]
            for kind, imitate in IMITATIONS.items():
                changed = [imitate(pixels, np.random.default_rng(number)) for number, pixels in enumerate(several)]
                judged = [_judge_pixels(network, pixels) for pixels in changed if pixels is not None]
                yield f"{name}, as {kind}", [("", one) for one in judged]
    plans = []
    for number in range(options.phantoms):
        head = make_head(np.random.default_rng([7, number]), labels=("subdural",) if number % 3 == 0 else ())
        spacing = (head.pixel_spacing_mm, head.pixel_spacing_mm)
        plans.append(
            replace(plan_array(head.hu, head.slice_position_mm, pixel_spacing_mm=spacing), series_id=str(number))
        )
    if plans:
        yield "phantoms", [(name, one) for name, one, _ in _judged(network, FoundSeries([*plans]))]


def _judged(network: Network, found: FoundSeries) -> Iterator[tuple[str, Judgement, SeriesPixels]]:
    for series, result in predict_series(found.series, network):
        if isinstance(result, tuple):
            pixels, finished = result
            remarks = [row for row in found.qc if row.series_id == series.series_id]
            yield series.series_id, judge(network, finished, [*remarks, *finished.qc]), pixels


def _judge_pixels(network: Network, pixels: SeriesPixels) -> Judgement:
    brain_hu = find_brain_hu(pixels.hu)
    changed = replace(pixels, qc=(), brain_hu=float("nan") if brain_hu is None else brain_hu)
    return judge(network, predict_pixels(network, changed), ())


def _print(name: str, judged: list[tuple[str, Judgement]], each: bool) -> None:
    counts = Counter(judgement.state for _, judgement in judged)
    print(f"{name:<34}{len(judged):>5}" + "".join(f"{counts[state]:>20}" for state in STATES), flush=True)
    if each:
        for series_id, judgement in judged:
            print(f"    {series_id[-24:]:<24} {judgement.state}: {'; '.join(judgement.reasons)}")


def _anatomy(pixels: SeriesPixels) -> Anatomy | None:
    px = pixels.pixel_mm or USUAL_PIXEL_MM
    gap = float(np.median(np.diff(pixels.slice_position_mm)))
    found = find_anatomy(pixels.hu, (max(gap, 0.5), px, px), slice_position_mm=pixels.slice_position_mm)
    return found if found.usable else None


def angiography(pixels: SeriesPixels, rng: np.random.Generator) -> SeriesPixels | None:
    """Fill the arteries of the base by 180 to 320 HU above brain, the sinuses by 50 to 150."""
    anatomy = _anatomy(pixels)
    if anatomy is None:
        return None
    arteries = Enhancement(
        vessels=Waves.draw(rng, 22, 70 * anatomy.scale, m=10), vessel_hu=float(rng.uniform(180, 320)),
        cortex_hu=float(rng.uniform(2, 8)), region=Waves.draw(rng, 60, 200), patchiness=0.5,
    )  # fmt: skip
    veins = DenseDura(
        falx_hu=5.0, falx_mm=1.0, sinus_hu=float(rng.uniform(50, 150)), sinus_mm=4.0, transverse_level_mm=78.0,
        lean=0.2, waves=Waves.draw(rng, 20, 60),
    )  # fmt: skip
    drawn = [Bleed("", anatomy, shape) for shape in (arteries, veins)]
    return replace(pixels, hu=paint(pixels.hu, range(len(pixels.hu)), drawn, labelled=()).hu)


_HU = (-1100, -400, -250, -120, -60, -10, 0, 12, 25, 32, 42, 60, 100, 180, 300, 4000)
_T1 = (0, 0, 400, 900, 850, 500, 140, 150, 330, 450, 620, 640, 600, 80, 30, 30)
_T2 = (0, 0, 300, 700, 650, 600, 950, 900, 650, 520, 350, 300, 300, 60, 25, 25)


def magnetic_resonance(pixels: SeriesPixels, rng: np.random.Generator) -> SeriesPixels:
    """Map tissue to the brightness of T1 or T2, with a coil's uneven field and Rician noise; nothing is below 0."""
    smooth = np.stack([cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 0.7) for plane in pixels.hu])
    signal = np.interp(smooth, _HU, _T2 if rng.random() < 0.5 else _T1)
    y, x = np.mgrid[: smooth.shape[1], : smooth.shape[2]] / smooth.shape[1]
    signal *= 1 + 0.15 * np.sin(2 * x + rng.uniform(0, 6)) * np.cos(2 * y + rng.uniform(0, 6))
    noise = rng.normal(0, 18, (2, *signal.shape))
    return replace(pixels, hu=np.rint(np.hypot(signal + noise[0], noise[1])).astype(np.int16))


def craniectomy(pixels: SeriesPixels, rng: np.random.Generator) -> SeriesPixels | None:
    """Take a flap of 28 to 42 mm radius out of the vault, and leave a pocket of air under the frontal bone."""
    anatomy = _anatomy(pixels)
    if anatomy is None:
        return None
    px, position, hu = pixels.pixel_mm or USUAL_PIXEL_MM, pixels.slice_position_mm, pixels.hu.copy()
    inside = anatomy.depth_steps > 0
    points = anatomy.table_points
    level = anatomy.level_mm[points[:, 0]]
    across = np.abs(points[:, 2] - points[:, 2].mean()) * px
    vault = points[(level > 20) & (level < 70) & (across > 35)]
    below_bone = np.argwhere(inside & (anatomy.depth_steps < 256 * 10) & (anatomy.level_mm < 55)[:, None, None])
    if not len(vault) or not len(below_bone):
        return None
    centre, radius = vault[rng.integers(len(vault))], float(rng.uniform(28, 42))
    foremost = below_bone[np.argsort(below_bone[:, 1])[: max(1, len(below_bone) // 50)]]
    pocket = foremost[rng.integers(len(foremost))]
    y, x = np.mgrid[: hu.shape[1], : hu.shape[2]]
    for index, plane in enumerate(hu):
        z = position[index] - position[centre[0]]
        flap = np.hypot(np.hypot((y - centre[1]) * px, (x - centre[2]) * px), z) < radius
        flap &= (plane > 120) & ~inside[index]
        plane[flap] = rng.normal(38, 12, int(flap.sum()))
        z = (position[index] - position[pocket[0]]) / 14
        air = ((y - pocket[1]) * px / 10) ** 2 + ((x - pocket[2]) * px / 22) ** 2 + z**2 < 1
        air &= inside[index]
        plane[air] = rng.normal(-950, 20, int(air.sum()))
    return replace(pixels, hu=hu)


def brain_window(pixels: SeriesPixels, rng: np.random.Generator) -> SeriesPixels:
    """Keep 0 to 80 HU alone, as a picture in a brain window does that is read as HU."""
    del rng
    return replace(pixels, hu=np.clip(pixels.hu, 0, 80).astype(np.int16))


IMITATIONS = {
    "CT angiography": angiography, "MR stored as CT": magnetic_resonance, "craniectomy": craniectomy,
    "brain window alone": brain_window,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
