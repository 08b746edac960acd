"""Ctrl-C."""

import os
import signal

import pytest

from ich25d.training.interrupt import asked_to_stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_second_stops(number: signal.Signals) -> None:
    """And afterwards signals are as they were."""
    before = signal.getsignal(number)

    with asked_to_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)

    assert signal.getsignal(number) is before
