"""Mutants: a number in, a damaged DICOM file out, the same each time.

Two kinds. `headers` damages uncompressed files: values, lengths, order and presence of elements, and plain bytes.
`frames` damages compressed pixels, the fragments around them, and what the header says of them.
"""

import random
import struct
from collections.abc import Callable
from functools import lru_cache

from hard_to_break.scan import (
    BIG_ENDIAN,
    COMPRESSED,
    DEFLATED,
    SLICES,
    compressed,
    element_spans,
    rewritten,
    sound_file,
)
from ich25d.phantom.dicom import FAMILIES

Mutation = Callable[[random.Random, bytes], bytes]

_TEXTS = (
    b"", b" ", b"\0", b"nan", b"inf", b"-inf", b"1e9", b"1e999", b"-1", b"0", b"1,5", b"1.5.2", b"abc", b"\\",
    b"\\\\\\", b"1\\2\\3", b"1\\2\\3\\4\\5\\6", b"0\\0\\0\\0\\0\\0", b"9" * 400, b"../../../x", b"C:\\x",
    b"\xff\xfe\xfa", b"=1+1", b"<script>", b"\x1b[31m", b"YES", b"NO", b"MR", b"CT", b"ORIGINAL\\PRIMARY\\LOCALIZER",
    b"DERIVED\\SECONDARY\\AXIAL",
    b"1.2.840.10008.5.1.4.1.1.2.1", b"1.2.840.10008.5.1.4.1.1.7", b"1.2.840.10008.1.3.10", b"MONOCHROME1", b"RGB",
    b"ISO_IR 192", b"ISO 2022 IR 149", b"CT ANGIO HEAD", b"PERFUSION", b"00010203", b"250000.999999", b"01",
    *(b"1.2.840.10008.1.2" + end for end in (b"", b".1", b".2", b".5", b".1.99", b".4.50", b".4.70", b".4.90")),
)  # fmt: skip
_NUMBERS = (0, 1, 2, 7, 8, 12, 15, 16, 31, 32, 64, 255, 256, 2047, 2048, 2049, 4096, 32767, 32768, 65535)
_LENGTHS = (0, 1, 2, 3, 5, 7, 254, 4095, 65534, 65535, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1)
_VRS = (b"UN", b"SQ", b"OB", b"OW", b"US", b"SS", b"UL", b"DS", b"IS", b"LO", b"UI", b"UT", b"XX", b"\0\0", b"??")
_TAGS = tuple(
    struct.pack("<HH", *tag)
    for tag in (
        (0x0008, 0x0005), (0x0008, 0x0008), (0x0008, 0x0016), (0x0008, 0x0018), (0x0008, 0x0060), (0x0008, 0x103E),
        (0x0009, 0x0010), (0x0018, 0x0010), (0x0018, 0x0050), (0x0018, 0x0060), (0x0018, 0x1210), (0x0020, 0x000D),
        (0x0020, 0x000E), (0x0020, 0x0011), (0x0020, 0x0012), (0x0020, 0x0013), (0x0020, 0x0032), (0x0020, 0x0037),
        (0x0020, 0x0052), (0x0020, 0x1041), (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008), (0x0028, 0x0010),
        (0x0028, 0x0011), (0x0028, 0x0030), (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102), (0x0028, 0x0103),
        (0x0028, 0x0120), (0x0028, 0x0121), (0x0028, 0x0301), (0x0028, 0x1050), (0x0028, 0x1051), (0x0028, 0x1052),
        (0x0028, 0x1053), (0x0028, 0x1054), (0x0028, 0x2110), (0x0028, 0x3000), (0x5200, 0x9229), (0x5200, 0x9230),
        (0x7FE0, 0x0008), (0x7FE0, 0x0010), (0xFFFC, 0xFFFC), (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD),
    )
)  # fmt: skip


def mutant(kind: str, seed: int, index: int) -> bytes:
    """Return a damaged file.

    Args:
        kind: `headers` or `frames`.
        seed: Of the whole run.
        index: Which mutant; ten after each other are slices of one series.
    """
    rng = random.Random((seed << 40) + index)
    content, mutations = (_uncompressed(index), HEADER) if kind == "headers" else (_compressed(index), FRAME)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(mutations)(rng, content)
    return content


def _uncompressed(index: int) -> bytes:
    """Return the sound file: RSNA's three families, and of every tenth series big endian or deflated."""
    series = index // SLICES
    content = sound_file(index, series % len(FAMILIES))
    if series % 20 in {7, 13}:
        content = rewritten(sound_file(index, 0), DEFLATED if series % 20 == 7 else BIG_ENDIAN)
    return content


def _compressed(index: int) -> bytes:
    """Return the sound compressed file; the four codecs in turn, with ids of its own."""
    series, rank = divmod(index, SLICES)
    content = _packed(tuple(COMPRESSED)[series % len(COMPRESSED)], rank)
    old, new = sound_file(rank), sound_file(index)
    for tag in (b"\x08\0\x18\0", b"\x10\0\x20\0", b"\x20\0\x0d\0", b"\x20\0\x0e\0"):
        (before,), (after,) = ([span for span in element_spans(file) if file[span[0] :].startswith(tag)]
                               for file in (old, new))  # fmt: skip
        content = content.replace(old[before[0] : before[2]], new[after[0] : after[2]])
    return content


@lru_cache(maxsize=64)
def _packed(syntax: str, rank: int) -> bytes:
    return compressed(sound_file(rank), syntax)


def _at(rng: random.Random, content: bytes) -> int:
    """Return a place, nine times of ten in the header."""
    end = len(content) if rng.random() < 0.1 else min(len(content), 900)
    return rng.randrange(max(1, end))


def flip_bit(rng: random.Random, content: bytes) -> bytes:
    """Flip a bit."""
    return _one_byte_changed(content, _at(rng, content), 1 << rng.randrange(8))


def _one_byte_changed(content: bytes, at: int, mask: int) -> bytes:
    if not content:
        return content
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def overwrite(rng: random.Random, content: bytes) -> bytes:
    """Write noise, zeros or all ones over a few bytes."""
    at, n = _at(rng, content), rng.choice((1, 2, 4, 8, 64))
    return content[:at] + rng.choice((rng.randbytes(n), bytes(n), b"\xff" * n)) + content[at + n :]


def insert(rng: random.Random, content: bytes) -> bytes:
    """Push bytes in."""
    at = _at(rng, content)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 3, 8, 200))) + content[at:]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    """Take bytes out."""
    at = _at(rng, content)
    return content[:at] + content[at + rng.choice((1, 2, 3, 8, 200)) :]


def end_early(rng: random.Random, content: bytes) -> bytes:
    """Cut the file off, anywhere."""
    return content[: rng.randrange(len(content) + 1)]


def _span(rng: random.Random, content: bytes) -> tuple[int, int, int] | None:
    try:
        spans = element_spans(content)
    except (struct.error, IndexError):  # a second mutation of a file that isn't sound any more
        return None
    return rng.choice(spans) if spans else None


def other_value(rng: random.Random, content: bytes) -> bytes:
    """Give an element another value, with a length that fits it."""
    span = _span(rng, content)
    if span is None:
        return flip_bit(rng, content)
    start, value, end = span
    if end - value in {2, 4} and rng.random() < 0.7:
        new = struct.pack("<H", rng.choice(_NUMBERS)) * ((end - value) // 2)
    else:
        new = rng.choice(_TEXTS)
        new += b" " * (len(new) % 2)
    head = content[start:value]
    if len(head) == 12 or content[start + 4 : start + 6].isalpha() is False:
        head = head[:-4] + struct.pack("<I", len(new))
    else:
        head = head[:-2] + struct.pack("<H", len(new))
    return content[:start] + head + new + content[end:]


def other_length(rng: random.Random, content: bytes) -> bytes:
    """Let an element's length lie."""
    span = _span(rng, content)
    if span is None:
        return flip_bit(rng, content)
    _, value, _ = span
    size = rng.choice((2, 4))
    length = struct.pack("<I", rng.choice(_LENGTHS))[:size]
    return content[: value - size] + length + content[value:]


def other_vr(rng: random.Random, content: bytes) -> bytes:
    """Give an element another value representation."""
    span = _span(rng, content)
    if span is None:
        return flip_bit(rng, content)
    return content[: span[0] + 4] + rng.choice(_VRS) + content[span[0] + 6 :]


def other_tag(rng: random.Random, content: bytes) -> bytes:
    """Make an element another one."""
    span = _span(rng, content)
    if span is None:
        return flip_bit(rng, content)
    return content[: span[0]] + rng.choice(_TAGS) + content[span[0] + 4 :]


def drop(rng: random.Random, content: bytes) -> bytes:
    """Leave an element out."""
    span = _span(rng, content)
    return flip_bit(rng, content) if span is None else content[: span[0]] + content[span[2] :]


def move(rng: random.Random, content: bytes) -> bytes:
    """Copy an element to where another one begins."""
    one, other = _span(rng, content), _span(rng, content)
    if one is None or other is None:
        return flip_bit(rng, content)
    return content[: other[0]] + content[one[0] : one[2]] + content[other[0] :]


def new_element(rng: random.Random, content: bytes) -> bytes:
    """Put in an element that the file hasn't, or a sequence nested as deep as it likes."""
    span = _span(rng, content)
    if span is None:
        return flip_bit(rng, content)
    tag = rng.choice(_TAGS)
    if rng.random() < 0.3:
        depth = rng.choice((1, 3, 40, 400))
        item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        start = tag + rng.choice((b"SQ\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"))
        ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" if rng.random() < 0.8 else b""
        new = (start + item) * depth + ends * depth
    else:
        value = rng.choice((rng.choice(_TEXTS), struct.pack("<H", rng.choice(_NUMBERS)), rng.randbytes(6)))
        value += b" " * (len(value) % 2)
        vr = rng.choice((b"US", b"DS", b"LO", b"CS", b"IS", b"SH", b"UI"))
        new = tag + vr + struct.pack("<H", len(value)) + value
    return content[: span[0]] + new + content[span[0] :]


def in_pixels(rng: random.Random, content: bytes) -> bytes:
    """Damage the compressed stream, or the fragments' own frame: bytes flipped, cut, pushed in, lengths that lie."""
    start = content.rfind(b"\xe0\x7f\x10\0")
    if start < 0 or start + 12 >= len(content):
        return flip_bit(rng, content)
    at = rng.randrange(start + 12, len(content))
    in_head = min(len(content) - 1, start + 12 + rng.randrange(160))  # where a stream says its size
    frame = start + rng.choice((8, 16, 24))
    return rng.choice(
        (
            _one_byte_changed(content, at, 1 << rng.randrange(8)),
            content[:at] + rng.randbytes(rng.choice((1, 2, 16))) + content[at + rng.choice((0, 1, 2, 16)) :],
            content[:at],
            content[:at] + content[at + rng.choice((1, 2, 30)) :],
            content[:in_head] + bytes([rng.choice((0, 1, 2, 127, 128, 255))]) + content[in_head + 1 :],
            content[:frame] + struct.pack("<I", rng.choice(_LENGTHS)) + content[frame + 4 :],
        )
    )


def lie_of_pixels(rng: random.Random, content: bytes) -> bytes:
    """Let the header say something else of the pixels than the stream: size, bits, sign, frames, syntax."""
    tags = {b"\x28\0" + low for low in (b"\x10\0", b"\x11\0", b"\x00\x01", b"\x01\x01", b"\x02\x01", b"\x03\x01")}
    spans = [span for span in _safe_spans(content) if content[span[0] : span[0] + 4] in tags]
    if not spans:
        return flip_bit(rng, content)
    _, value, end = rng.choice(spans)
    old = int.from_bytes(content[value:end][:2], "little")
    new = rng.choice((old + 1, max(0, old - 1), 2 * old, old // 2, rng.choice(_NUMBERS))) & 0xFFFF
    return content[:value] + struct.pack("<H", new) + content[value + 2 :]


def _safe_spans(content: bytes) -> list[tuple[int, int, int]]:
    try:
        return element_spans(content)
    except (struct.error, IndexError):
        return []


HEADER: tuple[Mutation, ...] = (
    flip_bit, overwrite, insert, cut_out, end_early, other_value, other_value, other_value, other_length, other_vr,
    other_tag, drop, move, new_element,
)  # fmt: skip
FRAME: tuple[Mutation, ...] = (in_pixels, in_pixels, in_pixels, lie_of_pixels)
