"""Pictures that a table names with another machine's folders, or spells another way, are found; others are not."""

import unicodedata

import pytest

from ich25d.studies.pictures.names import PictureNames


@pytest.fixture
def names(tmp_path):
    """Make pictures of these relative paths, and index their folder."""

    def make(*paths: str) -> PictureNames:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return PictureNames(tmp_path)

    return make


@pytest.mark.parametrize(
    "path", ["C:/data/ct/im_01.png", "../input/x/im_01.png", "/home/me/ct/im_01.png", "IM_01.PNG", "data/im_01.png"]
)
def test_folders_of_another_machine_do_not_count(names, path):
    """The picture is the one whose path ends alike."""
    assert names("im_01.png", "im_02.png").found(path, is_only=True) == "im_01.png"


def test_decomposed_names_are_the_same_names(names):
    """MacOS and some archives write accents as letters of their own."""
    composed = "Schädel/01_é.png"
    decomposed = unicodedata.normalize("NFD", composed)
    for stored, named in ((decomposed, composed), (composed, decomposed)):
        assert unicodedata.normalize("NFC", names(stored).found(named, is_only=True)) == composed


def test_of_several_the_one_with_the_longest_common_end_is_it(names):
    """Series number their slices alike."""
    index = names("a/brain/1.png", "b/brain/1.png", "b/bone/1.png")

    assert index.found("/other/b/brain/1.png", is_only=True) == "b/brain/1.png"
    assert index.found("/other/c/brain/1.png", is_only=True) == "/other/c/brain/1.png"


def test_no_picture_stands_in_for_another(names):
    """One that its own folder lacks is absent, and so is one window's where only another window's has the name."""
    index = names("brain/1.png", "bone/1.png", "bone/2.png")

    assert index.found("brain/2.png", is_only=True) == "brain/2.png"
    assert index.found("/other/brain/2.png", is_only=False) == "/other/brain/2.png"
    assert index.found("/other/brain/1.jpg", is_only=True) == "/other/brain/1.jpg"


def test_a_name_without_folder_and_suffix_is_found_once(names):
    """`a.dcm` may be `a.dcm.png` or `a.png`; of two, none."""
    index = names("x/a.dcm.png", "x/b.png", "x/c.png", "y/c.jpg")

    assert [index.called(name) for name in ("a.dcm", "b.dcm", "b", "c", "d")] == [
        "x/a.dcm.png", "x/b.png", "x/b.png", "", "",
    ]  # fmt: skip
