"""Files of a learned codec's bitstreams, `.fpc`: one picture each, told from anything else and from damage.

A file is a header (magic and version, channels, key of the codec, height and width of the picture, height and width of
the hyperlatent, number of strings and the length of each), the strings, and the CRC-32 of all before it. Numbers are
little-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fpray.errors import UserError

SUFFIX = '.fpc'
MAGIC = b'FPC1'
_HEAD = struct.Struct('<4sB8sIIHHB')
_NUMBER = struct.Struct('<I')
_MEND = 'compress the picture again'


@dataclass(frozen=True)
class Header:
    """What a file says before its strings."""

    model_key: str
    """16 hexadecimal digits: which codec wrote it."""
    height: int
    """Of the picture, px."""
    width: int
    """Of the picture, px."""
    channels: int
    """1 gray, 3 colour."""


def pack(header: Header, strings: Sequence[bytes], shape: tuple[int, int]) -> bytes:
    """One picture's file.

    Args:
        header: the picture's size and the codec's key.
        strings: the codec's bitstreams of the picture.
        shape: height and width of the hyperlatent.

    Returns:
        The file's content.
    """
    head = _HEAD.pack(MAGIC, header.channels, bytes.fromhex(header.model_key), header.height, header.width, *shape, len(strings))
    body = head + b''.join(_NUMBER.pack(len(one)) for one in strings) + b''.join(strings)
    return body + _NUMBER.pack(zlib.crc32(body))


def unpack(data: bytes, name: str, model_key: str = '') -> tuple[Header, list[bytes], tuple[int, int]]:
    """What `pack` was given.

    Args:
        data: the file's content.
        name: what to call it in messages.
        model_key: the codec's that is to read it; empty: any.

    Raises:
        UserError: a file of another kind, of another codec, truncated or damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise UserError(f'{name} is no file of a learned codec', f'give a {SUFFIX} file')
    try:
        _, channels, key, height, width, *shape, count = _HEAD.unpack_from(data)
        lengths = [_NUMBER.unpack_from(data, _HEAD.size + number * _NUMBER.size)[0] for number in range(count)]
    except struct.error:
        raise UserError(f'{name} is truncated: {len(data)} bytes', _MEND) from None
    start = _HEAD.size + count * _NUMBER.size
    whole = start + sum(lengths) + _NUMBER.size
    if len(data) < whole:
        raise UserError(f'{name} is truncated: {len(data)} of {whole} bytes', _MEND)
    if len(data) > whole or zlib.crc32(data[: -_NUMBER.size]) != _NUMBER.unpack(data[-_NUMBER.size :])[0]:
        raise UserError(f'{name} is damaged: its checksum does not fit', _MEND)
    if model_key and key.hex() != model_key:
        raise UserError(f'{name} was compressed by another model, {key.hex()}, not by {model_key}', 'name that model')
    strings = []
    for length in lengths:
        strings.append(data[start : start + length])
        start += length
    return Header(key.hex(), height, width, channels), strings, (shape[0], shape[1])
