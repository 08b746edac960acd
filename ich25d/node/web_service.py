"""A DICOMweb service as source and destination: QIDO-RS, WADO-RS and STOW-RS.

References:
    DICOM PS3.18, 10.4 (retrieve), 10.5 (store), 10.6 (search).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pydicom
import requests
from dicomweb_client import DICOMwebClient

from ich25d.node.delivery import UndeliveredError
from ich25d.node.settings import is_loopback

_TIMES_S = (10.0, 60.0)
"""Longest wait for a connection, and for a word."""
_PAGE = 100
_STUDY, _SERIES, _INSTANCE, _DATE = "0020000D", "0020000E", "00080018", "00080020"
_N_IN_STUDY, _N_IN_SERIES = "00201208", "00201209"
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class WebError(Exception):
    """The service doesn't give one instance."""


class WebService:
    """A DICOMweb service; a password, where it wants one, is that of `~/.netrc`.

    Args:
        root: Its address.
        most_bytes: Largest instance that is taken.
    """

    def __init__(self, root: str, most_bytes: int) -> None:
        self._root, self._most_bytes = root, most_bytes
        self._session = requests.Session()
        host = urlsplit(root).hostname or ""
        if is_loopback(host):  # no proxy leads to this machine
            self._session.trust_env = False
            self._session.auth = requests.utils.get_netrc_auth(root)
        self._client = DICOMwebClient(root, session=self._session, permissive_uid=True, timeout=_TIMES_S)
        self._client.set_http_retry_params(retry=False)  # who calls tries again

    def studies(self, since: str) -> Iterator[tuple[str, int]]:
        """Yield the studies with CT from a date on, `YYYYMMDD`, with the number of their instances; 0 where unknown."""
        wanted = {"ModalitiesInStudy": "CT", "StudyDate": f"{since}-"}
        for found in self._pages(
            lambda **page: self._client.search_for_studies(search_filters=wanted, fields=[_N_IN_STUDY], **page), _STUDY
        ):
            yield str(_value(found, _STUDY)), int(_value(found, _N_IN_STUDY) or 0)

    def series(self, study: str) -> dict[str, int]:
        """Return the number of instances of each CT series of a study."""
        found = self._client.search_for_series(study, search_filters={"Modality": "CT"}, fields=[_N_IN_SERIES])
        return {str(_value(one, _SERIES)): int(_value(one, _N_IN_SERIES) or 0) for one in found}

    def instances(self, study: str, series: str) -> Iterator[str]:
        """Yield the SOP Instance UIDs of a series."""
        for found in self._pages(lambda **page: self._client.search_for_instances(study, series, **page), _INSTANCE):
            yield str(_value(found, _INSTANCE))

    def _pages(self, search: Any, key: str) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401  # a method with options
        """Go through all pages of a search; a service that knows no pages gives the same one again."""
        seen: set[object] = set()
        while True:
            page = search(limit=_PAGE, offset=len(seen))
            new = [one for one in page if _value(one, key) and _value(one, key) not in seen]
            yield from new
            seen.update(_value(one, key) for one in new)
            if len(page) < _PAGE or not new:
                return

    def instance(self, study: str, series: str, instance: str) -> bytes:
        """Return a DICOM file as it is stored.

        Raises:
            WebError: The service doesn't give it, or it is too large.
            requests.RequestException: There is no connection.
        """
        names = (("studies", study), ("series", series), ("instances", instance))
        url = "/".join((self._root, *(f"{kind}/{quote(uid, safe='')}" for kind, uid in names)))
        with self._session.get(url, headers={"Accept": _ACCEPT}, timeout=_TIMES_S, stream=True) as answer:
            if answer.status_code != requests.codes.ok:
                raise WebError(f"status {answer.status_code}")
            content = bytearray()
            for part in answer.iter_content(1 << 20):
                content += part
                if len(content) > self._most_bytes:
                    raise WebError(f"more than {self._most_bytes} bytes")
            return only_part(bytes(content), answer.headers.get("Content-Type", ""))

    def deliver(self, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Send objects; see `Destination`."""
        for path in paths:
            made = pydicom.dcmread(path)
            try:
                said = self._client.store_instances([made])
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status >= 500:
                    raise UndeliveredError(f"status {status} from {self._root}") from error
                yield path, f"status {status} from {self._root}"
                continue
            except requests.RequestException as error:
                raise UndeliveredError(f"no connection with {self._root}") from error
            failed = [str(one.get("ReferencedSOPInstanceUID")) for one in said.get("FailedSOPSequence") or ()]
            yield path, f"{self._root} doesn't store it" if str(made.SOPInstanceUID) in failed else ""


def only_part(body: bytes, content_type: str) -> bytes:
    """Return the first part of a multipart message; a body that is none is the part itself.

    Raises:
        WebError: The message is cut.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/") or found is None:
        return body
    mark = b"--" + found[1].encode("latin-1")
    _, begins, rest = body.partition(mark)
    _, has_head, rest = rest.partition(b"\r\n\r\n")
    part, ends, _ = rest.rpartition(b"\r\n" + mark)
    if b"\r\n" + mark in part:  # further parts follow
        part, _, _ = part.partition(b"\r\n" + mark)
    if not (begins and has_head and ends):
        raise WebError("a message that isn't whole")
    return part


def _value(found: Mapping[str, Any], tag: str) -> Any:  # noqa: ANN401  # of JSON
    values = found.get(tag, {}).get("Value") or [None]
    return values[0]
