"""What makes one head differ from the next: sizes, age, tissue, variants; all drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from ich25d.bleeds.shape import Waves


@dataclass(frozen=True, slots=True)
class Traits:
    """One head; a calcification of 0 HU is none.

    Args:
        half_width_mm: Of the inner table at its widest.
        half_length_mm: Of the inner table.
        height_mm: Of the vault above its centre.
        centre_z_mm: Height of that centre above the petrous bones.
        egg: How much wider the back is than the front.
        squareness: Exponent of the outline; 2 is an ellipse.
        atrophy: 0 in a young brain, 1 in a very old one: sulci, ventricles, white matter.
        bone_mm: Thickness of the vault.
        fat: Share of fat in scalp and neck.
        ventricle_scale: Width of the ventricles.
        ventricle_lean: How much wider the left one is.
        mastoid_air: Share of air in the mastoids.
        choroid_hu: Left, right.
        petrous_top_mm: Height of the petrous ridges.
        frontal_floor_mm: Height of the orbital roofs.
        dura_hu: Of falx and sinuses; high where the blood is thick.
        tentorium_hu: Of the tentorium.
        hardening: Brightness beside the inner table; 1 is usual.
        infarct_mm: Middle of an old infarct: x, y, z.
        infarct_radius_mm: Its radius; 0 for none.
        slow: Bumps of 60 to 160 mm.
        bend: Bumps of 22 to 60 mm.
        sway: The same, independent.
        fine: Bumps of 6 to 20 mm.
        speck: Bumps of 2.5 to 8 mm.
        seed: Seeds the tables of base and folds.
    """

    half_width_mm: float
    half_length_mm: float
    height_mm: float
    centre_z_mm: float
    egg: float
    squareness: float
    atrophy: float
    bone_mm: float
    scalp_mm: float
    fat: float
    grey_hu: float
    white_hu: float
    fluid_hu: float
    bone_hu: float
    ventricle_scale: float
    ventricle_lean: float
    sinus_scale: float
    mastoid_air: float
    pineal_hu: float
    choroid_hu: tuple[float, float]
    falx_plate_hu: float
    pallidum_hu: float
    petrous_top_mm: float
    frontal_floor_mm: float
    dura_hu: float
    tentorium_hu: float
    hardening: float
    infarct_mm: tuple[float, float, float]
    infarct_radius_mm: float
    slow: Waves
    bend: Waves
    sway: Waves
    fine: Waves
    speck: Waves
    seed: int


def draw_traits(rng: np.random.Generator) -> Traits:
    """Draw one adult's head."""

    def _sometimes(chance: float, low: float, high: float) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < chance else 0.0

    thick = float(rng.random())
    side = float(rng.choice([-1, 1]))

    size = float(rng.normal(1.0, 0.035))
    age = float(np.clip(rng.beta(1.6, 1.5), 0.02, 0.98))
    atrophy = float(np.clip(age + rng.normal(0, 0.12), 0.0, 1.0))
    grey = float(rng.normal(37.0, 1.0))
    return Traits(
        half_width_mm=68.0 * size * float(rng.normal(1, 0.02)),
        half_length_mm=84.0 * size * float(rng.normal(1, 0.02)),
        height_mm=67.0 * size * float(rng.normal(1, 0.03)),
        centre_z_mm=float(rng.normal(37, 1.5)),
        egg=float(rng.uniform(0.07, 0.16)),
        squareness=float(rng.uniform(2.05, 2.4)),
        atrophy=atrophy,
        bone_mm=float(np.clip(rng.normal(6.3, 1.0), 4.3, 8.8)),
        scalp_mm=float(rng.uniform(4.0, 7.0)),
        fat=float(rng.uniform(0.3, 0.8)),
        grey_hu=grey,
        white_hu=grey - float(rng.uniform(7.5, 9.5)),
        fluid_hu=float(rng.uniform(4, 9)),
        bone_hu=float(rng.uniform(1150, 1500)),
        ventricle_scale=float(np.clip(0.62 + 0.95 * atrophy + rng.normal(0, 0.12), 0.5, 1.8)),
        ventricle_lean=float(rng.normal(0, 0.08)),
        sinus_scale=float(rng.uniform(0.75, 1.25)),
        mastoid_air=float(rng.uniform(0.25, 0.7)),
        pineal_hu=_sometimes(0.25 + 0.5 * age, 120, 420),
        choroid_hu=(_sometimes(0.15 + 0.6 * age, 90, 350), _sometimes(0.15 + 0.6 * age, 90, 350)),
        falx_plate_hu=_sometimes(0.25 * age, 150, 500),
        pallidum_hu=_sometimes(0.22 * age, 60, 160),
        petrous_top_mm=float(rng.normal(10, 1.2)),
        frontal_floor_mm=float(rng.normal(13, 1.5)),
        # Thick blood in one head of four, thin in a few.
        dura_hu=50 + 6 * thick + (12 * float(rng.random()) if thick > 0.75 else 0.0),
        tentorium_hu=44 + 5 * thick + (10 * float(rng.random()) if thick > 0.75 else 0.0),
        hardening=float(np.exp(rng.uniform(np.log(0.6), np.log(4.0)))),
        infarct_mm=(side * float(rng.uniform(36, 56)), float(rng.uniform(-50, 55)), float(rng.uniform(30, 75))),
        infarct_radius_mm=_sometimes(0.6 * age, 8, 22),
        slow=Waves.draw(rng, 60, 160, 10),
        bend=Waves.draw(rng, 22, 60, 14),
        sway=Waves.draw(rng, 22, 60, 14),
        fine=Waves.draw(rng, 6, 20, 24),
        speck=Waves.draw(rng, 2.5, 8, 32),
        seed=int(rng.integers(2**31)),
    )
