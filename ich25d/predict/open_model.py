"""The model in the box: what predicts where no other model is named.

`ich25d/open_model/` is a model directory of `train-cnn`, made by `scripts/train_open_model` from CT-ICH and painted
bleeds alone (CT-ICH: Hssayeni et al., Data 2020, 5(1):14, CC BY 4.0). Its card says what it reaches and where it fails.
"""

from pathlib import Path

from ich25d.errors import ModelError
from ich25d.training.model_file import MODEL_FILE

OPEN_MODEL = Path(__file__).parents[1] / "open_model"


def model_folder(model: Path | None) -> Path:
    """Return the model directory to use: the one named, else the model in the box.

    Raises:
        ModelError: None is named, and this installation has none.
    """
    if model is not None:
        return model
    if not (OPEN_MODEL / MODEL_FILE).is_file():
        raise ModelError(
            f"without --model there must be a model in the box (got none in {OPEN_MODEL}); install ich25d again, or "
            "name a model directory of train-rnn or train-cnn"
        )
    return OPEN_MODEL


def named_model(model: Path) -> Path:
    """Return the model directory that a --from names: `open` is the model in the box.

    A folder that is called `open` is named by its absolute path.

    Raises:
        ModelError: This installation has none in the box.
    """
    return model_folder(None if str(model) == "open" else model)
