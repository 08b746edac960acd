"""The whole walk on toy heads, once: DICOM, store, CNN, sequence model, sample submission."""

import pytest
from toy_walk import N_SLICES, SIZE, Walk, write_sample, write_series

from ich25d.config import EncoderConfig, FeaturesConfig, Recipe, SequenceConfig, SlabConfig, TrainConfig
from ich25d.encoder.train import train_cnn
from ich25d.labels import row_ids
from ich25d.recipes import write_recipe
from ich25d.sequence.train import train_rnn
from ich25d.studies.build import build_studies


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Build, train and leave everything in place; nobody changes it."""
    root = tmp_path_factory.mktemp("walk")
    rows = []
    for number in range(10):
        for index, image in enumerate(write_series(root / "train", number)):
            positive = number % 2 and index == N_SLICES // 2
            rows += [f"{row},{int(bool(positive) and row.endswith(('l', 'y')))}" for row in row_ids([image])]
    labels = root / "labels.csv"
    labels.write_text("ID,Label\n" + "\n".join(rows) + "\n")
    store = root / "studies"
    build_studies((root / "train",), store, labels=labels, size=SIZE, folds=2, workers=1)
    recipe = Recipe(
        slab=SlabConfig(windows=("brain",), size=SIZE),
        encoder=EncoderConfig(name="test_resnet", weights="none"),
        train=TrainConfig(epochs=1, batch_size=8, precision="fp32"),
        features=FeaturesConfig(views=("plain", "flip")),
        sequence=SequenceConfig(epochs=1, hidden=8, project=8, layers=1),
    )
    cnn = root / "cnn"
    train_cnn(store, recipe, cnn, fold="all", device="cpu")
    (root / "recipe.toml").write_text(write_recipe(recipe))
    train_rnn(store, cnn, root / "rnn", config=root / "recipe.toml", device="cpu")
    ids = {number: write_series(root / "test", number) for number in (21, 22, 23)}
    shuffled = sorted(image for group in ids.values() for image in group)
    return Walk(
        test=root / "test",
        ids=ids,
        sample=write_sample(root / "sample.csv", shuffled),
        store=store,
        labels=labels,
        cnn=cnn,
        rnn=root / "rnn",
    )
