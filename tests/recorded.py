"""What recordings are compared by, and the command in a process of its own that starts at once."""

import multiprocessing
import os
from pathlib import Path

import numpy as np

from traces.rendering import document_data
from traces.store import load

# Takes seconds to import, once; its processes begin with all of it.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "individuation.recording.job", "individuation.cli.main", "rich.progress", "sqlalchemy.dialects.sqlite",
        "traces.file", "transformers.models.qwen3.modeling_qwen3", "accelerate", "transformers.integrations",
    ]
)  # fmt: skip


def begin(arguments, *, output=None, largest_file=None):
    """`individuate ARGUMENTS` as a process of its own."""
    process = FORKS.Process(target=_command, args=([str(a) for a in arguments], output, largest_file))
    process.start()
    return process


def _command(arguments, output, largest_file):
    import resource
    import sys

    import torch

    from individuation.cli.main import cli

    torch.set_num_threads(1)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    target = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8") for stream in (1, 2))
    try:
        cli(arguments, prog_name="individuate")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def content(trace):
    """All that a trace says, but when: by names, so that the order in which it was written plays no part."""
    return _timeless(document_data(load(Path(trace))))


def _timeless(data):
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key != "time"}
    return [_timeless(value) for value in data] if isinstance(data, list) else data


def assert_same(found, expected, where="trace"):
    """Equal, numbers up to what a pass over other rows at once rounds otherwise."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert abs(found - expected) <= 1e-4 * max(1.0, abs(expected)), where
    elif where.endswith(".float32"):
        import base64

        one, other = (np.frombuffer(base64.b64decode(text), "<f4") for text in (found, expected))
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=where)
    else:
        assert found == expected, where
