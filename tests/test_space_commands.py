"""`individuate space fit`, `show` and `draw`: what they print, write and refuse."""

import csv
import json

import pytest
import torch
from click.testing import CliRunner

from individuation.cli.main import cli
from mechanism.organism import path_of
from mechanism.space import PersonaSpace

ROLES = {"roles": {"bard": ["You are a bard."], "ghost": ["You are a ghost."], "judge": ["You are a lawyer."]},
         "questions": ["Who are you?", "What is the capital of France?"]}  # fmt: skip


def run(*arguments, status=0):
    result = CliRunner().invoke(cli, ["space", *map(str, arguments)])
    assert result.exit_code == status, result.output + result.stderr
    return result


def test_with_a_file_of_scores_the_replies_that_have_none_are_written_to_be_judged(tmp_path):
    roles, scores, out = tmp_path / "roles.json", tmp_path / "scores.csv", tmp_path / "space.safetensors"
    roles.write_text(json.dumps(ROLES))
    asked = [
        "fit",
        "--roles",
        roles,
        "--per-role",
        "2",
        "--tokens",
        "24",
        "--judge",
        scores,
        "--components",
        "2",
        "-o",
        out,
    ]
    assert "6 replies have no score yet" in " ".join(run(*asked, status=2).stderr.split())
    assert not out.exists()
    rows = list(csv.DictReader((tmp_path / "space-to-be-judged.csv").read_text().splitlines()))
    assert {row["target"] for row in rows} == {"bard", "ghost", "judge"}
    with scores.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "score": "9"} for row in rows)
    printed = " ".join(run(*asked).stdout.split())
    assert "14 of 14 replies were kept, of 3 roles and the default" in printed
    assert "no evidence about large models" in printed
    assert "Next: individuate space show" in printed
    assert not (tmp_path / "space.safetensors.parts").exists()
    space = PersonaSpace.load(out)
    assert (space.axes, space.name) == (("assistant", "pc1", "pc2"), "space")
    assert space.made["judge"] == "the scores in scores.csv"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A space as a fit leaves it, without a model."""
    from mechanism.role_cloud import RoleCloud

    torch.manual_seed(0)
    names = ("default", "bard", "ghost", "judge", "nurse", "oracle")
    means = torch.randn(6, 8)
    points = torch.cat([torch.randn(20, 2) + 4, torch.randn(20, 2) - 4])
    space = PersonaSpace(
        "mine", ("assistant", "calm"), torch.randn(2, 4, 8), 2, model_name="tiny", signs={"assistant": "+ is assistant"},
        regions={"A": {"assistant": (0.0, None)}, "B": {"assistant": (None, -0.5), "calm": (-9.0, 0.0)}},
        cloud=RoleCloud(names, means.numpy(), "default"), points=points, point_roles=("a",) * 20 + ("b",) * 20,
        made={"format": "individuate space fit", "seed": 3},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("shown") / "mine.safetensors"
    space.save(path)
    return path


def test_show_says_what_the_axes_mean_what_the_roles_do_and_what_counts_as_a_persona(shown):
    text = " ".join(run("show", shown).stdout.split())
    assert "Persona space mine For tiny (4 blocks, 8 numbers wide), read after block 2" in text
    assert "+ is assistant" in text
    assert "the file does not say" in text
    assert "The 5 roles differ mostly in" in text
    assert "Nearest to the default (L2)" in text
    assert "assistant at least 0" in text
    assert "Not tested whether the regions are separate basins" in text
    assert "seed: 3" in text


def test_show_as_json_has_every_number(shown):
    told = json.loads(run("show", shown, "--format", "json").stdout)
    space = PersonaSpace.load(shown)
    assert told["digest"] == space.digest
    assert told["cloud"]["explained"] == pytest.approx(space.cloud.explained.tolist())
    assert told["in_regions"] == {"A": 20, "B": 20, "(none)": 0}
    assert told["axes"][0]["length"] == pytest.approx(float(space.vector("assistant").norm()))
    assert told["regions"]["B"] == {"assistant": [None, -0.5], "calm": [-9.0, 0.0]}
    elsewhere = json.loads(run("show", shown, "--format", "json", "--layer", "1").stdout)
    assert (elsewhere["layer"], elsewhere["regions"], elsewhere["cloud"]) == (1, {}, None)


def test_what_a_test_found_is_said_where_the_regions_are(shown, tmp_path):
    space = PersonaSpace.load(shown)
    for discrete, words in ((True, "the regions are separate"), (False, "a cut through a continuum")):
        path = tmp_path / f"{discrete}.safetensors"
        space.replaced(discrete=discrete).save(path)
        assert words in " ".join(run("show", path).stdout.split())


def test_vectors_of_others_are_shown_and_drawn(tmp_path):
    torch.manual_seed(1)
    torch.save(torch.randn(6, 128), tmp_path / "assistant_axis.pt")
    text = " ".join(run("show", tmp_path / "assistant_axis.pt", "-m", "organism").stdout.split())
    assert "format: assistant axis" in text
    assert "None yet" in text
    (tmp_path / "role_vectors").mkdir()
    for role in ("bard", "ghost", "judge", "nurse"):
        torch.save(torch.randn(6, 128), tmp_path / "role_vectors" / f"{role}.pt")
    torch.save(torch.randn(6, 128), tmp_path / "default_vector.pt")
    text = run("show", tmp_path / "role_vectors", "-m", "organism").stdout
    assert "The 4 roles" in text
    out = tmp_path / "a.svg"
    assert "layers" in run("draw", tmp_path / "assistant_axis.pt", "-m", "organism", "-o", out).stdout
    assert out.read_bytes().startswith(b"<?xml")
    assert "cloud" in run("draw", tmp_path / "role_vectors", "-m", "organism", "-o", tmp_path / "r.svg").stdout
    torch.save(torch.randn(7, 128), tmp_path / "calm.pt")
    assert "no known model" in run("show", tmp_path / "calm.pt", status=2).stderr


def test_pictures_are_the_same_every_time_and_of_each_kind(shown, tmp_path):
    for name in ("one.svg", "two.svg"):
        assert "cloud, variance, regions" in run("draw", shown, "-o", tmp_path / name).stdout
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    for name, magic in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        run("draw", shown, "--panel", "variance", "-o", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_picture_of_a_space_with_a_mixture_has_its_clusters(shown, tmp_path):
    from individuation.spaces.region_picture import regions_of_replies

    out = tmp_path / "mixed.safetensors"
    run("regions", shown, "-o", out)
    space = PersonaSpace.load(out)
    assert space.mixture is not None
    assert len(regions_of_replies(space)) == 40
    run("draw", out, "--panel", "regions", "--axes", "calm,assistant", "-o", tmp_path / "m.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["draw", "{}", "-o", "a.gif"], 'its ending is ".gif"'),
        (["draw", "{}", "-o", "a.svg", "--axes", "calm"], "two different axes"),
        (["draw", "{}", "-o", "a.svg", "--axes", "calm,x"], 'no axis "x"'),
        (["show", "missing.pt"], "no such file"),
        (["show", "{}", "--layer", "9"], "a block's number, 0 to 3"),
        (["fit", "--roles", "organism", "-o", "a.pt"], "a name that ends in .safetensors"),
        (["fit", "--roles", "organism", "-o", "{}"], "it is there already"),
        (["fit", "--roles", "missing.json", "-o", "a.safetensors"], "no such file"),
        (["fit", "--roles", "organism", "--judge", "taste", "-o", "a.safetensors"], 'it is "taste"'),
    ],
)
def test_what_cannot_be_done_is_refused_with_status_2(shown, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.format(shown) for argument in arguments), status=2)
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_help_with_examples():
    listed = run("--help").stdout
    for name in ("fit", "show", "draw"):
        assert name in listed
        assert "Examples:" in run(name, "--help").stdout


def test_the_organisms_own_space_is_shown_with_its_caveat():
    text = " ".join(run("show", path_of("organism") / "space.safetensors").stdout.split())
    assert "no evidence about large models" in text
    assert "evil at least" in text
