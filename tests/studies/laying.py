"""What every study's tests ask of a plan, and small sets to plan on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fpray.studies.plan import Plan


def keys(laid: Plan) -> dict[str, str]:
    """Name of every stage -> its key."""
    return {stage.name: stage.key for stage in laid.stages}


def changed(plan: Callable[[Any], Plan], config: Any, other: Any) -> set[str]:
    """Names of the stages of `config` whose key is not the same under `other`."""
    before, after = keys(plan(config)), keys(plan(other))
    return {name for name, key in before.items() if after.get(name) != key}


def with_part(config: Any, part: str, **fields: object) -> Any:
    """The configuration with some fields of one part changed."""
    return replace(config, **{part: replace(getattr(config, part), **fields)})


def assert_graph(laid: Plan) -> None:
    """Every stage once, after all that it reads, from the pictures to the numbers, which all of them serve."""
    names = [stage.name for stage in laid.stages]
    assert len(set(names)) == len(names) and names[0] == 'pictures' and laid.numbers.name == 'numbers'
    assert len({stage.key for stage in laid.stages}) == len(names), 'no two stages have one key'
    done: set[str] = set()
    for stage in laid.stages:
        assert {each.name for each in stage.inputs.values()} <= done, f'{stage.name} stands before its inputs'
        done.add(stage.name)
    reached, waiting = set(), [laid.numbers]
    while waiting:
        stage = waiting.pop()
        if stage.name not in reached:
            reached.add(stage.name)
            waiting += stage.inputs.values()
    assert reached == set(names), f'nobody needs {sorted(set(names) - reached)}'
    assert laid.hash == laid.numbers.key and all(stage.weight > 0 for stage in laid.stages)


def write_faces(folder: Path, people: int = 40, pictures: int = 10, size: int = 16) -> Path:
    """A folder in the layout orl, its pictures noise."""
    for person in range(1, people + 1):
        (folder / f's{person}').mkdir(parents=True)
        for number in range(1, pictures + 1):
            rng = np.random.default_rng([person, number])
            Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).save(folder / f's{person}' / f'{number}.pgm')
    return folder


def write_set(folder: Path, fingers: range, impressions: int = 3, size: int = 16, shade: int = 0,
              suffix: str = 'png') -> Path:
    """A folder of small pictures in the layout fvc, all different, the same for the same arguments."""
    folder.mkdir(parents=True)
    for finger in fingers:
        for impression in range(1, impressions + 1):
            rng = np.random.default_rng([finger, impression, shade])
            Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).save(folder / f'{finger}_{impression}.{suffix}')
    return folder
