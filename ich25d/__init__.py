"""2.5D, sequence-aware, study-level detection of intracranial haemorrhage on head CT.

Research software, not a medical device.

    from ich25d import load_model

    model = load_model("runs/rnn")
    prediction = model.predict("study/")
    explanations = model.explain("study/")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ich25d.api import load_model

__version__ = "0.1.0"

__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562: torch is imported on the first use, not with the package
    if name == "load_model":
        from ich25d.api import load_model

        return load_model
    raise AttributeError(f"module 'ich25d' has no attribute {name!r}")
