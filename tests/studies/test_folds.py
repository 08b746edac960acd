"""Folds: what belongs together stays together, and every fold gets its share."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ich25d.labels import LABELS
from ich25d.studies.folds import MOST_COLLECTIONS, _demands, assign_folds, unit_numbers


def series_table(n: int, *, seed: int = 0, patients: int | None = None, prefix: str = "ID_") -> pd.DataFrame:
    """Make a table of series; one in three is positive, epidural is rare."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"series_id": [f"{prefix}{index:04d}" for index in range(n)]})
    patient = np.arange(n) if patients is None else rng.integers(0, patients, n)
    table["split_unit"] = [f"P{number}" for number in patient]
    table["content_hash"] = [f"{prefix}{index:x}" for index in range(n)]
    table["n_slices"] = rng.integers(20, 50, n)
    shares = (0.03, 0.15, 0.1, 0.12, 0.15)
    for label, share in zip(LABELS, shares, strict=False):
        table[label] = np.where(rng.random(n) < share, rng.integers(1, 15, n), 0)
    table["any"] = table[list(LABELS[:-1])].max(axis=1)
    return table


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 25), st.integers(1, 12), st.integers(2, 7), st.integers(0, 5), st.integers(0, 1000))
def test_patients_and_identical_pixels_are_never_split(
    n: int, patients: int, n_folds: int, n_copies: int, seed: int
) -> None:
    """Also over others: a patient with the pixels of another one, who is in a study with a third."""
    table = series_table(n, seed=seed, patients=patients)
    rng = np.random.default_rng(seed)
    for _ in range(n_copies):
        one, other = rng.integers(0, n, 2)
        table.loc[one, "content_hash"] = table.loc[other, "content_hash"]

    fold = assign_folds(table, n_folds, seed)

    assert fold.index.equals(table.index)
    assert fold.between(0, n_folds - 1).all()
    for column in ("split_unit", "content_hash"):
        assert (fold.groupby(table[column]).nunique() == 1).all()
    units = unit_numbers([table["split_unit"], table["content_hash"]])
    assert fold.nunique() == min(n_folds, len(set(units.tolist())))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000))
@example(559)  # a tie that another order of summing broke
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    """Folds depend on ids and counts: neither rows in another order nor another index changes them."""
    table = series_table(30, seed=seed, patients=20)
    shuffled = table.sample(frac=1, random_state=seed)

    assert assign_folds(shuffled, 5, 1).sort_index().equals(assign_folds(table, 5, 1))


def test_another_seed_deals_otherwise() -> None:
    """A seed gives the same folds each time, another seed others."""
    table = series_table(60)

    assert assign_folds(table, 5, 0).equals(assign_folds(table, 5, 0))
    assert not assign_folds(table, 5, 0).equals(assign_folds(table, 5, 1))


@pytest.mark.parametrize("seed", range(3))
def test_every_fold_gets_its_share(seed: int) -> None:
    """Of slices, series, positives of each label, and of a small collection beside a large one."""
    table = pd.concat(
        [series_table(80, seed=seed, prefix="ctich_"), series_table(15, seed=seed + 9)], ignore_index=True
    )
    table.loc[80:, "split_unit"] += " of another house"
    fold = assign_folds(table, 5, seed)

    assert fold.value_counts().max() - fold.value_counts().min() <= 4
    slices = table["n_slices"].groupby(fold).sum()
    assert slices.max() < 1.15 * slices.min()
    assert (fold[80:].value_counts() == 3).all()
    for label in LABELS:
        positive = (table[label] > 0).groupby(fold).sum()
        assert positive.max() - positive.min() <= 2, label


def test_a_given_collection_is_spread() -> None:
    """Where the table says what a series came from, its ids don't."""
    table = series_table(40)
    table["collection"] = ["rare" if index < 5 else "common" for index in range(40)]

    assert sorted(assign_folds(table, 5, 0)[:5]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "name",
    [lambda n: f"2.25.{10**30 + n * 7919}", lambda n: str(10**6 + n), lambda n: f"1.2.{n}.4.5.6", lambda n: f"{n:x}-a"],
    ids=["uuid", "number", "roots", "hash"],
)
def test_ids_without_a_root_need_no_column_each(name) -> None:
    """A table of demands grows with the series, not with their square; what is large among them is still spread."""
    table = series_table(400)
    table["series_id"] = [name(n) if n < 360 else f"house{n}" for n in range(400)]

    assert _demands(table).shape[1] <= 2 + 2 * len(LABELS) + 3 * MOST_COLLECTIONS
    assert (assign_folds(table, 5, 0)[360:].value_counts() == 8).all()


def test_few_collections_stay_as_they_are() -> None:
    """Also one of 4 series beside 1,000: below the limit nothing is merged."""
    table = pd.concat([series_table(1000), series_table(4, prefix="ctich_")], ignore_index=True)
    table.loc[1000:, "split_unit"] += " of another house"

    assert _demands(table).shape[1] == 2 + 2 * len(LABELS) + 3 * 2
    assert assign_folds(table, 4, 0)[1000:].nunique() == 4


def test_labelled_series_are_spread_among_others() -> None:
    """A series without labels isn't a negative one."""
    table = series_table(30)
    table["n_labelled"] = np.where(np.arange(30) < 10, table["n_slices"], 0)
    table.loc[10:, list(LABELS)] = 0

    assert (assign_folds(table, 5, 0)[:10].value_counts() == 2).all()


def test_one_fold_one_series_and_none() -> None:
    """Nothing to deal is no error."""
    assert assign_folds(series_table(4), 1, 0).tolist() == [0, 0, 0, 0]
    assert assign_folds(series_table(1), 5, 0).between(0, 4).all()
    assert assign_folds(series_table(0), 5, 0).empty


def test_nothing_shared_is_no_link() -> None:
    """Empty ids are nobody's."""
    units = unit_numbers([pd.Series(["a", "", "", "b", "a"]), pd.Series(["x", None, None, "x", "y"])])

    assert units.tolist() == [units[0], units[1], units[2], units[0], units[0]]
    assert len({units[0], units[1], units[2]}) == 3
