"""Files of a learned codec: what goes in comes out, and nothing else passes for one."""

import pytest

from fpray.data.bitstream import Header, pack, unpack
from fpray.errors import UserError

KEY, OTHER = '0123456789abcdef', 'f' * 16
HEADER, STRINGS, SHAPE = Header(KEY, 70_000, 61, 3), [b'first', b'', b'\x00' * 9], (1094, 1)
DATA = pack(HEADER, STRINGS, SHAPE)


def test_what_goes_in_comes_out():
    assert unpack(DATA, 'a.fpc') == (HEADER, STRINGS, SHAPE)
    assert unpack(DATA, 'a.fpc', KEY) == (HEADER, STRINGS, SHAPE)
    assert len(DATA) == sum(map(len, STRINGS)) + 26 + 3 * 4 + 4


@pytest.mark.parametrize('length', range(len(DATA)))
def test_a_truncated_file_is_refused_at_every_length(length):
    with pytest.raises(UserError, match='a.fpc is (truncated|no file of a learned codec)'):
        unpack(DATA[:length], 'a.fpc')


@pytest.mark.parametrize('place', range(len(DATA)))
def test_a_changed_byte_is_seen(place):
    changed = DATA[:place] + bytes([DATA[place] ^ 0x41]) + DATA[place + 1:]
    with pytest.raises(UserError, match='a.fpc'):
        unpack(changed, 'a.fpc')


def test_more_than_the_file_is_damage():
    with pytest.raises(UserError, match='damaged'):
        unpack(DATA + b'\x00', 'a.fpc')


@pytest.mark.parametrize('data', [b'', b'\x89PNG\r\n\x1a\n' + b'\x00' * 60])
def test_a_foreign_file_is_refused(data):
    with pytest.raises(UserError, match='picture.png is no file of a learned codec'):
        unpack(data, 'picture.png')


def test_another_models_file_is_refused():
    with pytest.raises(UserError, match=f'another model, {KEY}, not by {OTHER}'):
        unpack(DATA, 'a.fpc', OTHER)
