"""The table of reason codes is complete, and says one thing about each."""

import re
from pathlib import Path

import ich25d
from ich25d.dicom.codes import CODES

_RAISED = re.compile(r'(?:DicomError|Remark|Refusal)\(\s*(?:\w+,\s*)?"([A-Z][A-Z0-9_]+\??)"')


def test_codes_that_are_raised_are_those_of_the_table() -> None:
    """And every code of the table is raised or remarked somewhere: the sources of the whole package are searched."""
    root = Path(ich25d.__file__).parent
    raised = {code for path in root.rglob("*.py") for code in _RAISED.findall(path.read_text(encoding="utf-8"))}

    assert raised - CODES.keys() == set()
    text = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py") if path.name != "codes.py")
    assert [code for code in CODES if f'"{code}"' not in text] == []
    assert len(raised) > 30


def test_codes_and_meanings_are_plain() -> None:
    """A code is a short word in capitals, its meaning one line without a stop."""
    for code, reason in CODES.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,19}\??", code)
        assert reason.meaning
        assert not reason.meaning.endswith(".")
        assert "\n" not in reason.meaning
