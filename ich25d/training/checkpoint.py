"""The state of a training on disk: all that the next step depends on."""

from pathlib import Path
from typing import Any

import torch

from ich25d.errors import TrainingError
from ich25d.files import replacing

FORMAT = 1


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all.

    Args:
        path: `last.pt`.
        state: Tensors, numbers, texts and containers of them, so that it loads with `weights_only`.
    """
    with replacing(path) as part:
        torch.save({"format": FORMAT, **state}, part)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state back to the CPU; nothing in it is executed.

    From there model and optimiser copy it to wherever they are: some devices lack a number format that others save.

    Raises:
        TrainingError: It isn't one, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, ImportError) as error:
        raise TrainingError(f"a checkpoint must be readable (got {error}) in {path}; train this fold anew") from error
    except Exception as error:  # border around one foreign file: unpickling raises what the file makes it raise
        raise TrainingError(
            f"a checkpoint must hold tensors and plain values in {path}; train this fold anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"a checkpoint must be of format {FORMAT} in {path}; train this fold anew")
    return state
