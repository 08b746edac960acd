"""Headers first: everything is known before a pixel is read, in little memory, and nobody's name."""

import pickle
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ich25d.dicom.header import Header, Remark
from ich25d.predict.series import plan_array
from ich25d.studies import plan as plan_module
from ich25d.studies.headers.notebook import Notebook
from ich25d.studies.headers.packed import Privacy, pack, pseudonym
from ich25d.studies.pictures.series import PlannedImages
from ich25d.studies.plan import make_plan
from ich25d.studies.sources.listing import Entry
from ich25d.studies.volumes.volume import read_series

PRIVACY = Privacy(b"0123456789abcdef", 1000.5)
ENTRY = Entry(0, "a.dcm", 100, "1")

numbers = st.floats(-1e4, 1e4)
text = st.text(max_size=20)
headers = st.builds(
    Header,
    image_id=text, series_id=text, study_id=text, patient_id=text,
    image_type=st.tuples(text, text), rows=st.integers(1, 2048), columns=st.integers(1, 2048),
    bits_allocated=st.just(16), bits_stored=st.just(12), high_bit=st.just(11), is_signed=st.booleans(),
    photometric=text, n_frames=st.just(1), slope=st.none() | numbers,
    intercept=st.none() | numbers, padding=st.none() | st.integers(0, 65535), padding_limit=st.none(),
    origin_mm=st.none() | st.tuples(numbers, numbers, numbers),
    directions=st.none() | st.tuples(*[numbers] * 6), pixel_spacing_mm=st.none() | st.tuples(numbers, numbers),
    slice_location=st.none() | numbers, instance_number=st.none() | st.integers(), acquisition_number=st.none(),
    series_number=st.none() | st.integers(0, 999), kernel=text, thickness_mm=st.none() | numbers,
    contrast=st.booleans(), kvp=st.none() | numbers, acquisition_time=st.none(),
    temporal_position=st.none() | st.integers(0, 99), frame_of_reference=text, transfer_syntax=text,
    window=st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple), pixel_offset=st.integers(0, 10**6),
    pixel_length=st.integers(-1, 10**7), description_flags=st.sampled_from([(), ("contrast", "bone")]),
    is_lossy=st.booleans(), remarks=st.lists(st.builds(Remark, text, text), max_size=2).map(tuple),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(header=headers)
def test_headers_come_out_of_the_index_as_they_went_in_but_for_the_patient(header):
    """Also after a stay in the notebook: series are ordered alike in every call."""
    indexed = pack(ENTRY, header, PRIVACY)
    expected = pseudonym(header.patient_id, PRIVACY.key)
    with TemporaryDirectory() as folder:
        notebook = Notebook(Path(folder) / "build.sqlite")
        notebook.note_seen(ENTRY, [indexed])
        notebook.close()
        notebook = Notebook(Path(folder) / "build.sqlite")
        (kept,) = notebook.seen(ENTRY)
        notebook.close()
    for image in (indexed, kept):
        out = image.header()
        assert out.patient_id == expected
        for name in Header._fields:
            if name != "patient_id":
                assert getattr(out, name) == getattr(header, name)
        assert image.identity() == (header.image_id, header.study_id)


def test_times_of_day_are_shifted_and_keep_their_order():
    """The order of passes is needed, the time of day would tell of the patient."""
    (first, second) = (
        pack(ENTRY, Header("a", "b", "c", 8, 8, 16, 12, 11, False, acquisition_time=time_s), PRIVACY)
        .header()
        .acquisition_time
        for time_s in (36000.0, 36001.5)
    )
    assert (first, second) == (37000.5, 37002.0)


@pytest.mark.parametrize(
    ("patient", "is_kept"),
    [("ID_0123abcd", True), ("", True), ("ID_0123ABCD", False), ("4711", False), ("ID_1", False)],
)
def test_only_ids_of_rsnas_form_stay(patient, is_kept):
    """Patient ids stay when they have RSNA's form; others become pseudonyms of their store."""
    hidden = pseudonym(patient, b"key")
    assert (hidden == patient) == is_kept
    assert hidden == pseudonym(patient, b"key")
    assert is_kept or hidden != pseudonym(patient, b"other key")


def test_index_takes_less_than_a_kilobyte_a_slice(tmp_path, write_scan):
    """Entry, header and plan of a slice take less than 1 kB."""
    for number in range(1, 9):
        write_scan(
            tmp_path / "in", number, hu=np.random.default_rng(number).integers(0, 99, (40, 8, 8)).astype(np.int16)
        )
    make_plan([tmp_path / "in"])
    tracemalloc.start()
    plan = make_plan([tmp_path / "in"])
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(map(len, plan.series)) == 320
    assert size / 320 < 1000
    assert len(pickle.dumps(plan.series[0])) / 40 < 1000


def test_order_is_that_in_space_whatever_files_are_called(tmp_path, write_scan):
    """Slices are ordered by position, for any names and any depth of folders."""
    paths = write_scan(tmp_path / "in", 3, n=7)
    expected = [path.stem for path in paths]
    for index, path in enumerate(np.random.default_rng(0).permutation(np.array(paths, dtype=object))):
        folder = tmp_path / "mixed" / str(index % 3)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{index}.bin")
    (plan,) = make_plan([tmp_path / "mixed"]).series
    assert list(plan.image_ids) == expected
    assert list(plan.slice_position_mm) == [10.0 + 5 * index for index in range(7)]


def test_a_copy_is_named_and_an_impostor_refuses_both(tmp_path, write_scan):
    """Of equal files one is used; files of one id with different pixels are both refused."""
    paths = write_scan(tmp_path / "in", n=3)
    shutil.copy(paths[0], tmp_path / "in/copy.dcm")
    content = bytearray(paths[1].read_bytes())
    content[-40] ^= 1
    (tmp_path / "in/impostor.dcm").write_bytes(content)
    plan = make_plan([tmp_path / "in"])
    assert plan.n_seen == 5
    assert plan.n_refused == 2
    (series,) = plan.series
    read = read_series(series, size=32)
    assert read.slices["image_id"] == [paths[0].stem, paths[2].stem]
    assert [(row.image_id, row.code) for row in read.qc if row.level == "slice"] == [(paths[1].stem, "DUP_UID_DIFF")]


def test_an_id_in_two_studies_is_seen(tmp_path, write_scan):
    """Studies are planned one by one, and still an id that two of them use is a double."""
    write_scan(tmp_path / "a", n=3)
    write_scan(tmp_path / "b", n=3, study_id="ID_0000009999", series_id="ID_0000009998")
    plan = make_plan([tmp_path / "a", tmp_path / "b"])
    assert sum(map(len, plan.series)) == 3
    assert plan.n_refused == 3
    assert {row.code for row in plan.qc if row.image_id} == {"DUP_UID_SAME"}


def test_a_table_adds_the_images_that_are_new(tmp_path, write_scan, monkeypatch):
    """One image of its series is in a folder too: the others are planned under a name of their own."""
    paths = write_scan(tmp_path / "in", n=3)
    (known,) = make_plan([tmp_path / "in"]).series
    ids = [paths[1].stem, "b", "c"]
    new = replace(plan_array(np.zeros((3, 8, 8), int), [0.0, 5, 10], image_ids=ids), series_id=known.series_id)
    monkeypatch.setattr(plan_module, "plan_images", lambda *_: PlannedImages([new], [], 3, 0))
    plan = make_plan([tmp_path / "in"], images=[tmp_path / "images.csv"])

    assert [series.image_ids for series in plan.series] == [known.image_ids, ("b", "c")]
    assert plan.series[1].series_id == f"{known.series_id}@2"
    assert [(row.code, row.image_id) for row in plan.qc if row.level == "slice"] == [("DUP_UID_SAME", ids[0])]
    assert (plan.n_seen, plan.n_refused) == (6, 1)


def test_a_plan_changes_with_its_files(tmp_path, write_scan):
    """The hash of a series' sources holds still while files do, and changes with any of them."""
    paths = write_scan(tmp_path / "in", n=3)

    def source_hash() -> str:
        return make_plan([tmp_path / "in"]).series[0].source_hash()

    before = source_hash()
    assert source_hash() == before
    paths[1].touch()
    changed = source_hash()
    assert changed != before
    paths[2].unlink()
    assert source_hash() not in {before, changed}
