"""Study stores that judge a model: of the training's kind, labelled, and of other patients."""

import re

from ich25d.errors import UsageError
from ich25d.studies.store_dir.store import StudyStore


def open_judge(word: str, trained_on: StudyStore) -> tuple[str, StudyStore]:
    """Open the store of a `--judge NAME=STORE`.

    Args:
        word: The name that tables give it, and its folder.
        trained_on: The store of the training.

    Returns:
        The name and the store.

    Raises:
        UsageError: It isn't a name and a store; the store is of another size or crop, has no labels, or holds images
            that are trained on: by their ids, their pixels or whole volumes.
        StoreError: It isn't a study store, or is damaged.
    """
    name, _, path = word.partition("=")
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or not path:
        raise UsageError(f"--judge takes NAME=STORE, the name of A-Z a-z 0-9 . _ - (got {word!r})")
    judge = StudyStore.open(path)
    of_judge, of_training = ((one.size, str(one.marker["crop"])) for one in (judge, trained_on))
    if of_judge != of_training:
        raise UsageError(
            f"a judging store must have size and crop {of_training} of the training's (got {of_judge}) in {path}"
        )
    if not judge.slices["any"].notna().any():
        raise UsageError(f"a judging store must have labels (got none) in {path}; build it with --labels")
    for column, what in (("image_id", "image ids"), ("pixel_hash", "pixels"), ("content_hash", "volumes")):
        theirs, ours = (one.slices if column in one.slices else one.series for one in (judge, trained_on))
        shared = theirs[theirs[column].isin(set(ours[column]) - {0, ""})]
        if len(shared):
            first = shared.iloc[0]
            example = f"image {first['image_id']}" if "image_id" in shared else f"series {first['series_id']}"
            raise UsageError(
                f"a judging store may hold nothing that is trained on (got {len(shared)} of the same {what} as in "
                f"{trained_on.root}, as {example}) in {path}; build either without the other's patients"
            )
    return name, judge
