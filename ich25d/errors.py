"""What can go wrong because of a user, a file or a machine.

Every error's message names the rule, the value, the place and the cure. On the command line it is exit code 2.
"""


class Ich25dError(Exception):
    """Anything that `ich25d` refuses with a sentence instead of a traceback."""


class UsageError(Ich25dError):
    """Options or sources that don't fit together."""


class ConfigError(Ich25dError):
    """A recipe that holds unknown keys or values out of range; the message names all of them."""


class TableError(UsageError, ValueError):
    """A parquet file that is damaged; a ValueError too, for those who say whose it is in words of their own."""


class DicomError(Ich25dError):
    """A DICOM file that is refused, with the reason code of `qc.csv`.

    Args:
        code: A key of `CODES`, as `PIXEL_SHORT`.
        detail: One sentence without identifying values.
        image_id: SOPInstanceUID, where the header still gave one.
        series_id: SeriesInstanceUID, where the header still gave one.
        study_id: StudyInstanceUID, likewise.
        patient_id: Patient ID as it stands; whoever writes it down hashes it.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        image_id: str = "",
        series_id: str = "",
        study_id: str = "",
        patient_id: str = "",
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.image_id = image_id
        self.series_id = series_id
        self.study_id = study_id
        self.patient_id = patient_id

    def ids(self) -> dict[str, str]:
        """Return the ids by the names of the arguments."""
        return {name: getattr(self, name) for name in ("image_id", "series_id", "study_id", "patient_id")}

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes whole: the default would call the class with the joined text alone."""
        return (_dicom_error, (self.code, self.detail, self.ids()))


def _dicom_error(code: str, detail: str, ids: dict[str, str]) -> DicomError:
    return DicomError(code, detail, **ids)


class LabelError(Ich25dError):
    """A label table that can't be read as one."""


class StoreError(Ich25dError):
    """A study store or feature store that is damaged or of another form."""


class ModelError(Ich25dError):
    """A model directory that is damaged, foreign or of another form."""


class WeightsError(Ich25dError):
    """Pretrained weights that can't be had or don't fit."""


class TrainingError(Ich25dError):
    """A training that can't go on: numbers that aren't finite, or no data left."""


class ClusterError(Ich25dError):
    """A cluster that isn't there, or nodes that don't see the files or have other versions."""


class SubmissionError(Ich25dError):
    """A CSV that isn't what the competition takes."""


def cause_of(error: Exception) -> str:
    """Return in words for users why a file couldn't be read, without the error's class."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are no UTF-8"
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}" if error.args else "something missing"
    return str(error).partition("\n")[0][:200] or type(error).__name__
