"""The engine agrees with an independent oracle (logic programs, tests/oracle.py) on every view and every combination of
readings.
"""

import random

import pytest
from oracle import expected_all
from worlds import random_world

from individuation import individuate, open_trace

WORLDS = 60


def found(result):
    minds = frozenset(frozenset(mind.stages) for mind in result.minds if mind.stages)
    return minds, frozenset(result.unassigned), result.count


@pytest.mark.parametrize("seed", range(WORLDS))
def test_engine_and_oracle_agree_on_every_view_and_combination_of_readings(seed):
    world = random_world(random.Random(seed))
    trace = open_trace(world)
    answers = expected_all(world)
    assert len({view for view, _ in answers}) == 8
    for (view, readings), expected in answers.items():
        result = individuate(trace, view, **dict(readings))
        minds, unassigned, count = found(result)
        if view == "forward-pass":
            assert count == expected.count, (view, readings)
            continue
        described = (view, readings, world)
        assert minds == frozenset(mind for mind in expected.minds if mind), described
        assert unassigned == expected.unassigned, described
        assert count == expected.count, described
