"""Results on their way out."""

import threading
from pathlib import Path

from ich25d.node import delivery
from ich25d.node.delivery import Outbox

N_STUDIES = 400


def test_an_outbox_is_looked_at_while_it_empties(tmp_path: Path) -> None:
    """The page counts what waits while another thread sends it and removes its folders."""
    folder = tmp_path / "outbox"
    outbox = Outbox(folder)
    for number in range(N_STUDIES):
        path = folder / f"2.25.{number}-{number}" / "series" / "report.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(10))
    assert len(outbox.waiting()) == N_STUDIES
    assert outbox.n_bytes == 10 * N_STUDIES

    def send() -> None:
        for path in outbox.waiting():
            outbox.arrived(path)

    sender = threading.Thread(target=send)
    sender.start()
    seen = []
    while sender.is_alive():
        seen.append(len(outbox.waiting()))
        outbox._counted = (-delivery._COUNTED_S, 0)
        assert 0 <= outbox.n_bytes <= 10 * N_STUDIES
    sender.join()
    assert seen == sorted(seen, reverse=True)
    assert outbox.waiting() == []
    assert list(folder.iterdir()) == []
