"""A learned codec as a tool: train one on a folder of pictures, compress folders to files and back. No torch at import.

Every input is checked before the first file is written; a file gets its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from fpray.data.config import DataConfig
from fpray.errors import EXIT_CODE, UserError, whole
from fpray.store import write_atomically
from fpray.studies.cli import one_line
from fpray.training.config import LoopConfig, RateDistortionConfig

if TYPE_CHECKING:
    from fpray.data.bitstream import Header
    from fpray.data.imageset import ImageSet
    from fpray.distributed.train import Trainable
    from fpray.models.codec import Codec

MULTIPLE = 64  # px; a codec's hyperlatent has a value a so large square


@dataclass(frozen=True)
class Train:
    """Trains a codec on a folder of pictures, or on synthetic fingerprints without one."""

    out: str
    """Folder for the model, which must not exist."""
    model: Annotated[RateDistortionConfig, tyro.conf.arg(name='')] = field(default_factory=RateDistortionConfig)
    """The codec and its loss."""
    data: DataConfig = field(default_factory=DataConfig)
    """The pictures; --data.resize brings them to one size."""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(batch=16, snapshot_every=1_600))
    """How long and how."""
    people: int = 100
    """Synthetic people, where --data.root names no folder."""
    seed: int = 0
    """Of weights, order and noise; of the synthetic people."""

    def __post_init__(self) -> None:
        for name, low in (('people', 1), ('seed', 0)):
            whole(f'--{name}', getattr(self, name), low)


@dataclass(frozen=True)
class Compress:
    """Compresses every picture of a folder to a .fpc file under the same relative name."""

    model: str
    """Folder of a trained codec."""
    input: str
    """Folder of pictures, of any sizes."""
    output: str
    """Folder for the files; made where it is missing."""
    threads: int = 1
    """CPU threads; a file is decompressed exactly only with as many."""


@dataclass(frozen=True)
class Decompress:
    """Decompresses every .fpc file of a folder to a PNG under the same relative name."""

    model: str
    """Folder of the codec that wrote the files."""
    input: str
    """Folder of .fpc files."""
    output: str
    """Folder for the pictures; made where it is missing."""
    threads: int = 1
    """CPU threads; as many as at compression."""


@dataclass(frozen=True)
class Fidelity:
    """Compares two folders of prints, before and after compression: ridges, singular points, minutiae, a matcher."""

    before: str
    """Folder of original prints."""
    after: str
    """Folder of the same pictures after compression, under the same names; with --no-paired any generated prints."""
    out: str
    """File for the figures (.json), which must not exist."""
    layout: str = 'fvc'
    """Layout of both folders: who and which finger a picture shows, see README."""
    dpi: float = 500.0
    """Dots an inch of the prints; 0: unknown, then minutiae and matcher are left out."""
    paired: bool = True
    """Whether picture n of both folders is the same picture; generated ones are not."""
    seed: int = 0
    """Of bootstraps, permutations and the draw of comparisons."""


def run_command(arguments: Sequence[str], description: str) -> str:
    """Runs one of `COMMANDS` from a command line; prints the help and exits for --help.

    Args:
        arguments: without the script's name.
        description: first lines of the help.

    Returns:
        One line that says what was done.

    Raises:
        UserError: an unknown flag, a value out of range, input that the command cannot use.
    """
    kinds: dict[str, Callable[..., Any]] = {name: kind for name, (kind, _) in COMMANDS.items()}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.extras.subcommand_cli_from_dict(kinds, args=list(arguments), description=description,
                                                           prog='codec.py')
    except SystemExit as end:
        if end.code != EXIT_CODE:
            raise
        raise UserError(one_line(said.getvalue()), 'see --help') from None
    return next(run for kind, run in COMMANDS.values() if kind is type(options))(options)


# Training

def train(options: Train) -> str:
    """Trains a codec; the same command, killed and given again, goes on from its last checkpoint.

    Raises:
        UserError: the folder of the model exists; pictures that cannot be used; pictures in colour for a gray model.
    """
    from fpray.distributed.cluster import connect, require_absolute
    from fpray.distributed.train import fit
    from fpray.store import Context

    for flag, path in (('--out', options.out), ('--data.root', options.data.root)):
        require_absolute(path, flag)
    out = Path(os.path.abspath(options.out))
    _refuse_present([out])
    if options.loop.workers > 1:
        connect()
    key = _training_key(options)
    scratch = out.parent / f'.{out.name}.training-{key}'
    (scratch / 'out').mkdir(parents=True, exist_ok=True)
    pictures = _pictures(options, scratch / 'pictures')
    with _Bar('training', 'images') as bar:
        context = Context('codec', key, {}, {}, scratch / 'out', scratch, bar)
        task = FolderTask(str(scratch / 'pictures'), options.model, options.loop, options.seed)
        end = fit(task, options.loop, options.seed, context).metrics
    os.replace(scratch / 'out', out)
    shutil.rmtree(scratch)
    return (f'{out}: a codec trained on {len(pictures):,} pictures, at the end {end["bpp"]:.3f} bits a pixel and '
            f'MSE {end["mse"]:.1f}')


@dataclass(frozen=True)
class FolderTask:
    """Trains a codec on a saved set of pictures; a `fpray.distributed.train.Task`."""

    pictures: str
    config: RateDistortionConfig
    loop: LoopConfig
    seed: int

    def build(self, rank: int, world: int, device: str) -> Trainable:
        """See `fpray.distributed.train.Task`."""
        import torch

        from fpray.data.imageset import ImageSet
        from fpray.distributed.train import Trainable
        from fpray.studies.codec_tasks import CodecWatch
        from fpray.training.loop import Pictures
        from fpray.training.rate_distortion import CodecLearner

        learner = CodecLearner(self.config, self.loop, self.seed, device=torch.device(device))
        return Trainable(learner, Pictures(ImageSet.load(self.pictures).pixels), CodecWatch(learner))


def _training_key(options: Train) -> str:
    """Equal for equal trainings on equal files, so that a scratch folder is taken up by its own command alone."""
    import hashlib

    from fpray.data.imageset import fingerprint
    from fpray.store import canonical_json

    data = fingerprint(options.data.root) if options.data.root else ''
    values = asdict(options)
    return hashlib.sha256(canonical_json([values, data]).encode()).hexdigest()[:20]


def _pictures(options: Train, folder: Path) -> ImageSet:
    from fpray.data.imageset import ImageSet, read_folder

    if not (folder / 'meta.json').exists():  # written last
        with _Bar('reading', 'pictures') as bar:
            if options.data.root:
                found = read_folder(options.data.root, options.data, folder, lambda done, total: bar(done, total, ''))
            else:
                found = _stand_in(options)
        found.save(folder)
    found = ImageSet.load(folder)
    channels, wanted = found.pixels.shape[1], options.model.codec.channels
    if channels != wanted:
        shutil.rmtree(folder.parent)
        raise UserError(f'the pictures have {channels} channels, the codec {wanted}', f'give --codec.channels {channels}')
    return found


def _stand_in(options: Train) -> ImageSet:
    import pandas as pd

    from fpray.data.imageset import ImageSet
    from fpray.data.synthetic import generate

    data = options.data
    pixels, records = generate(options.seed, range(options.people), data.fingers, data.impressions, data.size, data.ppi)
    return ImageSet(pixels, pd.DataFrame(records), {'name': 'synthetic stand-in', 'synthetic': True})


# Compression

def compress(options: Compress) -> str:
    """Compresses a folder.

    Raises:
        UserError: no codec; a picture that cannot be read, in 16 bits, with alpha, of other channels than the codec's;
            a file in the way.
    """
    from fpray.data.bitstream import SUFFIX
    from fpray.data.images import EXTENSIONS

    sources = _files(options.input, EXTENSIONS, 'picture')
    targets = _targets(sources, options, SUFFIX)
    from fpray.training.loop import asked  # seconds of imports, after what can be refused at once
    from fpray.training.rate_distortion import codec_key, load_codec

    codec, key = load_codec(options.model), codec_key(options.model)
    for source in _progress(sources, 'checking'):
        _picture(source, options.input, codec)
    pixels = written = 0
    with asked(codec, _threads(options.threads)):
        for source, target in zip(_progress(sources, 'compressing'), targets, strict=True):
            picture = _picture(source, options.input, codec)
            data = encode(codec, key, picture)
            _write(target, data)
            pixels, written = pixels + picture[0].size, written + len(data)
    before = sum(source.stat().st_size for source in sources)
    return (f'{len(sources):,} pictures compressed to {options.output}: {written:,} bytes of {before:,}, '
            f'{8 * written / pixels:.3f} bits a pixel')


def decompress(options: Decompress) -> str:
    """Decompresses a folder.

    Raises:
        UserError: no codec; a foreign, truncated or damaged file, or one of another codec; a file in the way.
    """
    from fpray.data.bitstream import SUFFIX

    sources = _files(options.input, {SUFFIX}, f'{SUFFIX} file')
    targets = _targets(sources, options, '.png')
    from fpray.training.loop import asked
    from fpray.training.rate_distortion import codec_key, load_codec

    codec, key = load_codec(options.model), codec_key(options.model)
    for source in _progress(sources, 'checking'):
        _unpacked(source.read_bytes(), str(source.relative_to(options.input)), key)
    with asked(codec, _threads(options.threads)):
        for source, target in zip(_progress(sources, 'decompressing'), targets, strict=True):
            _write(target, _png(decode(codec, key, source.read_bytes(), source.name)))
    return f'{len(sources):,} files decompressed to {options.output}'


def encode(codec: Codec, key: str, picture: np.ndarray) -> bytes:
    """A picture, (C, H, W) uint8, as the content of a .fpc file; `key`: the codec's, see `codec_key`."""
    import torch

    from fpray.data.bitstream import Header, pack
    from fpray.data.images import to_float

    channels, height, width = picture.shape
    packed = codec.compress(to_float(torch.from_numpy(np.array(picture[None]))))
    return pack(Header(key, height, width, channels), [one[0] for one in packed['strings']], packed['shape'])


def decode(codec: Codec, key: str, data: bytes, name: str) -> np.ndarray:
    """The picture, (C, H, W) uint8, of a .fpc file's content.

    Raises:
        UserError: see `fpray.data.bitstream.unpack`.
    """
    from fpray.data.images import to_uint8

    header, strings, shape = _unpacked(data, name, key)
    found = codec.decompress([[one] for one in strings], shape, (header.height, header.width))
    return to_uint8(found['x_hat'])[0].numpy()


def _unpacked(data: bytes, name: str, key: str) -> tuple[Header, list[bytes], tuple[int, int]]:
    """As `unpack`; a size that no picture has, or that is not the hyperlatent's, is refused before memory is taken."""
    from fpray.data.bitstream import unpack
    from fpray.data.images import MAX_PIXELS

    header, strings, shape = unpack(data, name, key)
    expected = (-(-header.height // MULTIPLE), -(-header.width // MULTIPLE))
    if header.height * header.width > MAX_PIXELS or shape != expected or len(strings) != 2:
        raise UserError(f'{name} is damaged: {header.height} x {header.width} px in {shape}', 'compress the picture again')
    return header, strings, shape


def _picture(source: Path, root: str, codec: Codec) -> np.ndarray:
    """(C, H, W) uint8 with the codec's channels; gray saved as RGB counts as gray."""
    from fpray.data.images import decode as read
    from fpray.data.images import is_gray

    name = str(source.relative_to(root))
    picture, wanted = read(source, name), codec.config.channels
    if wanted == 1 and is_gray(picture):
        return np.ascontiguousarray(picture[:1])
    if len(picture) != wanted:
        kinds = {1: 'gray', 3: 'in colour'}
        raise UserError(f'{name} is {kinds[len(picture)]}, the model compresses pictures {kinds[wanted]}',
                        'convert it, or use another model')
    return picture


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(content, format='PNG')
    return content.getvalue()


# Files

def _files(folder: str, suffixes: Iterable[str], what: str) -> list[Path]:
    """The files under a folder with these suffixes, sorted; hidden ones do not count."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'--input {folder} is no folder', 'give an existing folder')
    wanted = frozenset(suffixes)
    found = sorted(path for path in root.rglob('*') if path.suffix.lower() in wanted and path.is_file()
                   and not any(part.startswith('.') for part in path.relative_to(root).parts))
    if not found:
        raise UserError(f'no {what} found in {folder}', f'names end in {", ".join(sorted(wanted))}')
    return found


def _targets(sources: Sequence[Path], options: Compress | Decompress, suffix: str) -> list[Path]:
    """Where each file goes; none may be there, no two may be one."""
    targets = [Path(options.output) / source.relative_to(options.input).with_suffix(suffix) for source in sources]
    taken: dict[Path, Path] = {}
    for source, target in zip(sources, targets, strict=True):
        if target in taken:
            raise UserError(f'{taken[target].name} and {source.name} would both become {target}', 'rename one of them')
        taken[target] = source
    _refuse_present(targets)
    return targets


def _refuse_present(targets: Iterable[Path]) -> None:
    for target in targets:
        if target.exists():
            raise UserError(f'{target} exists', 'remove it, or name another folder')


def _write(target: Path, content: bytes) -> None:
    """A file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f'.{target.name}.part')
    try:
        draft.write_bytes(content)
        os.replace(draft, target)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise UserError(f'{target} cannot be written: {fault.strerror}', 'make room, or name another folder') from None


def _threads(threads: int) -> int:
    whole('--threads', threads, 1)
    return threads


def _progress(files: Sequence[Path], what: str) -> Iterator[Path]:
    from tqdm import tqdm

    yield from tqdm(files, desc=what, unit=' files')


# Fidelity

def fidelity(options: Fidelity) -> str:
    """Writes what compression or generation left of prints, as Ray tasks over the set; see `study_fidelity`.

    Raises:
        UserError: a folder that cannot be read, pictures that are missing on one side, an extra that is not installed.
    """
    import json
    import tempfile

    from fpray.distributed.cluster import connect
    from fpray.studies.fidelity import study_fidelity

    out = Path(os.path.abspath(options.out))
    _refuse_present([out])
    with tempfile.TemporaryDirectory(prefix='fpray-') as scratch, _Bar('comparing', '') as bar:
        before, after = (_prints(folder, options.layout, Path(scratch, name))
                         for name, folder in (('before', options.before), ('after', options.after)))
        rows = _paired(before, after) if options.paired else np.arange(len(after))
        connect()
        found = study_fidelity(before, np.asarray(after.pixels[rows]), before.records, seed=options.seed, progress=bar,
                               dpi=options.dpi or None, paired=options.paired)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps(found, indent=1, default=float) + '\n')
    return f'{out}: {len(before):,} prints before, {len(after):,} after'


def _prints(folder: str, layout: str, into: Path) -> ImageSet:
    from fpray.data.imageset import read_folder

    return read_folder(folder, DataConfig(root=folder, layout=layout), into)


def _paired(before: ImageSet, after: ImageSet) -> np.ndarray:
    """The rows of `after` in the order of `before`, by relative path without suffix.

    Raises:
        UserError: a picture has no partner.
    """
    names, others = ([os.path.splitext(path)[0] for path in each.records['path']] for each in (before, after))
    place = {name: row for row, name in enumerate(others)}
    if alone := sorted(set(names) ^ set(others)):
        raise UserError(f'{alone[0]} is in one folder alone ({len(alone):,} such pictures)',
                        'give both folders the same pictures, or --no-paired for generated ones')
    return np.array([place[name] for name in names])


class _Bar:
    """Progress on stderr as a stage reports it: (done, in all, unit)."""

    def __init__(self, what: str, unit: str) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=what, unit=f' {unit}')

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *fault: object) -> None:
        self.bar.close()

    def __call__(self, done: int, total: int, unit: str) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)


COMMANDS: dict[str, tuple[type, Callable[[Any], str]]] = {
    'train': (Train, train),
    'compress': (Compress, compress),
    'decompress': (Decompress, decompress),
    'fidelity': (Fidelity, fidelity),
}
