"""The windows that recipes, tables of images and pages know by name: a new one is one line here."""

Window = tuple[float, float]
"""Level and width in HU."""

NAMED_WINDOWS: dict[str, Window] = {
    "brain": (40, 80),
    "subdural": (80, 200),
    "soft": (40, 380),
    "bone": (600, 2800),
}
"""By name; the viewer of a report offers all of them."""

FILE_WINDOW = "dicom"
"""Name of the window that each file gives for itself."""
