"""A stranger's scan through all commands: what names somebody or does harm is in nothing that they write or print."""

import pytest
from hard_to_break import stranger
from hard_to_break.runner import has_compiler

from ich25d.cli.app import app

UNWALKED = {"node", "cq500", "demo", "pseudo-labels", "train-joint"}
"""These have walks of their own: they listen, want another cohort, or do what the others do."""


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C compiler: apt-get install gcc")
def test_what_names_somebody_or_does_harm_gets_nowhere_and_no_command_needs_a_network() -> None:
    """Ninety attributes, hostile ids, descriptions and file names, the texts of a NIfTI header; sockets fail."""
    found = stranger.stranger()
    assert found.faults == []
    assert int(found.figure.split()[0]) >= 60


def test_every_command_is_walked() -> None:
    """A new command joins the walk, or the list of those that have their own."""
    source = stranger.__loader__.get_source(stranger.__name__)
    commands = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert {command for command in commands if f'"{command}"' not in source} == UNWALKED
