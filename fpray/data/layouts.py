"""Known layouts of picture folders: what a relative path says about person, finger and impression.

Every layout is a function from a relative path (of a picture, any extension) to a `Place`, or to None where
the name does not fit. Folders above the part that a layout reads are free, so that a set may be read from any
folder above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Place:
    """Whose picture it is.

    Attributes:
        subject: the person; where the layout knows none, the identity stands for the person.
        identity: the finger (or face, or eye), unique over the whole set.
        impression: which picture of that identity.
        position: 'left_index' and the like, or '' where the layout does not say.
        subject_known: False where the identity stands for the person.
        altered: the picture is an artificial alteration of another one of the set.
    """

    subject: str
    identity: str
    impression: str
    position: str = ''
    subject_known: bool = True
    altered: bool = False


_CASIA = re.compile(r'(?P<subject>\d+)_(?P<hand>[LR])(?P<finger>\d)_(?P<impression>\d+)', re.IGNORECASE)
_CASIA_HAND = {'L': 'left', 'R': 'right'}
_CASIA_FINGER = {'0': 'thumb', '1': 'index', '2': 'middle', '3': 'ring'}
_SOCOFING = re.compile(r'(?P<subject>\d+)__(?P<sex>[MF])_(?P<hand>left|right)_'
                       r'(?P<finger>thumb|index|middle|ring|little)_finger(?:_(?P<alteration>Obl|CR|Zcut))?',
                       re.IGNORECASE)
_NUMBERS = re.compile(r'(\d+)_(\d+)')
_POLYU = re.compile(r'(?P<identity>[A-Za-z]*\d+)_(?P<impression>\d+)')

_ORL = re.compile(r's\d+')
_LFW = re.compile(r'(?P<subject>.+)_(?P<impression>\d+)')


def casia_v5(path: PurePosixPath) -> Place | None:
    """CASIA-FingerprintV5: `<subject>/<L|R>/<subject>_<L|R><finger>_<n>`; 0-3: thumb to ring finger."""
    match = _CASIA.fullmatch(path.stem)
    if match is None or len(path.parts) < 3:
        return None
    subject, hand, finger = match['subject'], match['hand'].upper(), match['finger']
    if path.parts[-3] != subject or path.parts[-2].upper() != hand:
        return None  # a file in another person's folder: either name may be the wrong one
    position = f'{_CASIA_HAND[hand]}_{_CASIA_FINGER[finger]}' if finger in _CASIA_FINGER else ''
    return Place(subject, f'{subject}/{hand}{finger}', match['impression'], position)


def fvc(path: PurePosixPath) -> Place | None:
    """FVC2000-2006: `<finger>_<impression>`. No person is known; folders share no finger."""
    match = _NUMBERS.fullmatch(path.stem)
    if match is None:
        return None
    finger = str(path.parent / match[1])
    return Place(finger, finger, match[2], subject_known=False)


def socofing(path: PurePosixPath) -> Place | None:
    """SOCOFing, Real and Altered: `<subject>__<sex>_<hand>_<finger>_finger[_<Obl|CR|Zcut>]`
    (arXiv:1807.10609).

    The alteration is the impression ('Obl', 'CR', 'Zcut'); a picture that is not altered is impression
    'real'.
    """
    match = _SOCOFING.fullmatch(path.stem)
    if match is None:
        return None
    position = f'{match["hand"]}_{match["finger"]}'.lower()
    alteration = match['alteration']
    return Place(match['subject'], f'{match["subject"]}/{position}', alteration or 'real', position,
                 altered=alteration is not None)


def polyu(path: PurePosixPath) -> Place | None:
    """PolyU: `<identity>_<n>` in session folders. An identity is one in all sessions; no person is known."""
    match = _POLYU.fullmatch(path.stem)
    if match is None:
        return None
    return Place(match['identity'], match['identity'], match['impression'], subject_known=False)


def orl(path: PurePosixPath) -> Place | None:
    """AT&T / ORL faces: `s<person>/<n>`. A person has one face; unlike layout `folder`, it is known whose."""
    if len(path.parts) < 2 or not _ORL.fullmatch(path.parts[-2]) or not path.stem.isdecimal():
        return None
    return Place(path.parts[-2], path.parts[-2], path.stem)


def lfw(path: PurePosixPath) -> Place | None:
    """Labeled Faces in the Wild: `<Name>/<Name>_<n>`. A person has one face."""
    match = _LFW.fullmatch(path.stem)
    if match is None or len(path.parts) < 2 or path.parts[-2] != match['subject']:
        return None  # a file in another person's folder: either name may be the wrong one
    return Place(match['subject'], match['subject'], match['impression'])


def folder(path: PurePosixPath) -> Place | None:
    """One folder an identity. A folder in a folder is one finger of that person; else it is a person."""
    if len(path.parts) < 2:
        return None
    identity = path.parent
    nested = len(identity.parts) > 1
    subject = identity.parent if nested else identity
    return Place(str(subject), str(identity), path.stem, subject_known=nested)


def pattern(path: PurePosixPath, expression: str) -> Place | None:
    """A regular expression, searched in the relative path, with the named groups subject, finger and
    impression.

    A match that begins or ends inside a word does not count: `(?P<subject>\\d)` must not read 12 as person 2.
    """
    text = str(path)
    match = re.search(expression, text)
    if match is None or not all(match[group] for group in ('subject', 'finger', 'impression')):
        return None
    if any(0 < cut < len(text) and text[cut - 1:cut + 1].isalnum() for cut in match.span()):
        return None
    return Place(match['subject'], f'{match["subject"]}/{match["finger"]}', match['impression'])
