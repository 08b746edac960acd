"""Results to a PACS by C-STORE.

References:
    DICOM PS3.4, annex B (Storage Service Class).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ich25d.node.delivery import UndeliveredError
from ich25d.node.settings import Peer

_WAIT_S = 30.0
_SUCCESS, _WARNINGS = 0x0000, range(0xB000, 0xC000)


class StoreSender:
    """Sends to another application.

    Args:
        peer: Where to.
        title: This one's application entity title.
    """

    def __init__(self, peer: Peer, title: str) -> None:
        self._peer, self._title = peer, title

    def deliver(self, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Send objects; see `Destination`."""
        entity = AE(ae_title=self._title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _WAIT_S
        entity.add_requested_context(Verification)
        for sop_class, syntax in sorted({_kind(path) for path in paths}):
            entity.add_requested_context(sop_class, syntax)
        association = entity.associate(self._peer.host, self._peer.port, ae_title=self._peer.title)
        if not association.is_established:
            why = "the association is rejected" if association.is_rejected else "no association"
            raise UndeliveredError(f"{why} with {self._peer}")
        try:
            for path in paths:
                if not association.is_established:
                    raise UndeliveredError(f"the association with {self._peer} ended")
                made = pydicom.dcmread(path)
                try:
                    status = association.send_c_store(made)
                except ValueError:  # no presentation context was accepted for it
                    yield path, f"{self._peer} takes no objects of class {made.SOPClassUID.name}"
                    continue
                if "Status" not in status:
                    raise UndeliveredError(f"no answer from {self._peer}")
                took = status.Status == _SUCCESS or status.Status in _WARNINGS
                yield path, "" if took else f"status 0x{status.Status:04X} from {self._peer}"
        finally:
            if association.is_established:
                association.release()


def _kind(path: Path) -> tuple[str, str]:
    meta = pydicom.filereader.read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
