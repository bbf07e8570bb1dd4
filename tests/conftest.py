import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import settings

from individuation.cli.main import cli

# Nothing is fetched from a hub, by the tests and by the programs that they start. As many tests run at once as there are
# cores, so more threads in each would only be in each other's way.
os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

ROOT = Path(__file__).resolve().parent.parent
NO_SKIPS = os.environ.get("INDIVIDUATE_NO_SKIPS") == "1"

# As many examples as the suite has time for; `make test-slow` takes more.
settings.register_profile("here", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))


def _refuse_skip(report):
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"INDIVIDUATE_NO_SKIPS=1, and this was to be skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _refuse_skip((yield))


@pytest.fixture(scope="session")
def recordings():
    """The published recordings, which are not part of this repository."""
    folder = Path(os.environ.get("INDIVIDUATE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"there are no published recordings in {folder}; name their folder with INDIVIDUATE_DATA")
    return folder


@pytest.fixture(scope="session")
def examples():
    return ROOT / "examples"


@pytest.fixture(scope="session")
def cases():
    return ROOT / "individuation" / "cases"


@pytest.fixture(autouse=True)
def _width_of_a_pipe(monkeypatch):
    """xdist gives its workers the width of the terminal that it runs in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def organism():
    """The shipped model, loaded once. Whoever changes it puts it back."""
    import torch

    from mechanism.host import Host

    torch.set_num_threads(1)
    return Host.load("organism", dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def run():
    """The command, in this process. What it does not catch itself, it does not hide from the test either."""

    def invoke(*arguments):
        return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="individuate", catch_exceptions=False)

    return invoke


def _words(*arguments):
    return [sys.executable, "-m", "individuation.cli.main", *(str(a) for a in arguments)]


@pytest.fixture(scope="session")
def command():
    """The command, as the words that start it in a process of its own."""
    return _words


@pytest.fixture(scope="session")
def start():
    """The command, as a second process that runs by itself."""

    def begin(*arguments, **options):
        return subprocess.Popen(
            _words(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
        )

    return begin


# Root passes every permission; without these two capabilities it is bound by them like any other user.
_BOUND = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
        raise OSError(ctypes.get_errno(), "prctl")
os.execv(sys.executable, sys.argv[1:])
"""


@pytest.fixture(scope="session")
def bound():
    """Words to put before those of a process that file permissions are to bind, even where the tests run as root."""
    return [sys.executable, "-c", _BOUND] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def run_bound(bound):
    """The command, in a process of its own that file permissions bind."""

    def invoke(*arguments):
        words = [*bound, *_words(*arguments)]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60, check=False)
        return SimpleNamespace(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    return invoke


@pytest.fixture(scope="session")
def snapshot():
    """A folder's files by name, with all their bytes."""

    def taken(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    return taken
