"""Failing writes, kills, flipped bits, races and changing sources: the short form of what `scripts/endurance` does."""

import errno
import os

import pytest
from hard_to_break import broken_off, damage
from hard_to_break.runner import BUILD, KILL, has_compiler, running
from hard_to_break.scenes import prepare

absent = "no C compiler: apt-get install gcc"
if not has_compiler() and os.environ.get("ICH25D_REQUIRE_CC"):
    pytest.fail(absent, pytrace=False)
needs_compiler = pytest.mark.skipif(not has_compiler(), reason=absent)


@needs_compiler
@pytest.mark.slow
def test_failing_writes_and_kills_of_a_build_do_no_harm() -> None:
    """Some of its writes fail, some of its moments are its last: the next call makes the store that one call makes."""
    with broken_off.workplace() as place, running(BUILD) as runner:
        prepare(place, runner, ["build"])
        trials = broken_off.Trials("build", place, runner)
        assert trials.count > 100
        assert len(trials.expected) == 10
        for k in (2, 13, trials.count // 2, trials.count - 3):
            assert trials.failing(k, errno.ENOSPC) == "", k
        for k in (3, trials.count // 3, trials.count - 1):
            assert trials.run(broken_off.removed(trials.out), k=k, fault=KILL).code == KILL
            assert trials.unsound() == ""
            assert trials.repeated(can_resume=True) == ""
        assert trials.kinds["none"] == 0

        volume = next(trials.out.rglob("*.b2nd"))  # and harm would be seen
        volume.write_bytes(volume.read_bytes()[:-1] + b"x")
        assert "isn't what was written" in trials.unsound()
        assert trials.difference() == [volume.relative_to(trials.out).as_posix()]


@needs_compiler
@pytest.mark.slow
def test_races_and_changing_sources_do_no_harm() -> None:
    """Two builders at once; files that are cut, replaced and removed under a builder, and a clock that jumps."""
    assert damage.races(1, 0, 0).faults == []
    assert damage.changes(2, 0, 0).faults == []


def test_flipped_bits_are_found() -> None:
    """By `info --verify`; those of volumes also where a prediction reads them."""
    assert damage.flips(60, 0, 0).faults == []
