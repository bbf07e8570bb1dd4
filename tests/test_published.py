"""The published recordings are analysed again: what was stated and what the files say stand side by side."""

import csv
import json
import random

import numpy as np
import pytest

from individuation.experiments.published import analysed
from individuation.experiments.published_minds import counted
from mechanism.published.cache_edit import Answers
from mechanism.published.user_turns import pairs_of, projections_of
from traces.errors import TraceError
from traces.importers.cache_edit_answers import Answer
from traces.recognition import read

QUESTIONS = ("Who are you?", "Are you conscious?", "What do you want?", "Do you feel?")


def recording(capped, moved=1.0, exchanges=12, case="Delusion", start=0.0):
    turns = []
    for number in range(exchanges):
        user = -40 - 2 * number + random.Random(number).random() + (moved if capped and number else 0)
        assistant = 34 + 0.1 * (number % 3) if capped else start - 8 * number
        for role, value in (("user", user), ("assistant", assistant)):
            turns.append({"turn": len(turns), "role": role, "content": f"{role} {number}", "projection": value})
    return {
        "case": case, "condition": "cap_asst" if capped else "unsteered", "model": "Qwen/Qwen3-32B",
        "monitor_layer": 50, "capping_experiment": "layers_46:54-p0.25", "conversation": turns,
    }  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    def of(**options):
        folder, paths = tmp_path_factory.mktemp("recordings"), []
        for capped in (False, True):
            paths.append(folder / f"{options.get('case', 'delusion')}-{capped}.json")
            paths[-1].write_text(json.dumps(recording(capped, **options)))
        return paths

    return of


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "answers.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "condition",
                "coefficient",
                "sample_idx",
                "probe",
                "probe_category",
                "response",
                "axis_projection",
                "aura_score",
            ]
        )
        for condition, coefficient, score in (("baseline", 0, 6), ("gen_steering", 5, 2), ("kv_edit", 1.5, 1)):
            for question in QUESTIONS:
                for sample in range(5):
                    words = "a ghost in the machine" if condition == "baseline" and sample < 2 else "a language model"
                    told = score + 0.1 * sample
                    writer.writerow([condition, coefficient, sample, question, "x", words, -10 * told, told])
    return path


@pytest.fixture(scope="module")
def both(files, table):
    return analysed([*files(), table])


def finding(outcome, name):
    return next(each for each in outcome.findings if each.name == name)


def test_user_turns_that_hardly_move_are_told_from_assistant_turns_that_do(both, files):
    ratio = finding(both, "delusion/ratio")
    pair = pairs_of([each for path in files() for each in projections_of(read(path))])[0]
    moved = np.abs(pair.assistant[:, 1] - pair.assistant[:, 0]).mean()
    assert ratio.estimate.value == pytest.approx(1.0 / moved)
    assert ratio.passed
    assert finding(both, "delusion/correlation").estimate.value > 0.99


def test_user_turns_that_move_as_far_are_not_borne_out(files):
    outcome = analysed(files(moved=60.0))
    assert finding(outcome, "delusion/ratio").passed is False
    assert [row[-1] for row in outcome.tables[0].rows if "user turns" in row[0]] == ["not borne out"]


def test_turns_before_the_first_reply_are_no_evidence(files):
    pair = pairs_of([each for path in files() for each in projections_of(read(path))])[0]
    assert pair.turns.tolist() == list(range(2, 24, 2))
    assert pair.same_words == len(pair.turns)


def test_a_case_needs_both_conditions_once(files):
    one, two = files()
    with pytest.raises(TraceError, match="no recording of it capped"):
        analysed([one])
    with pytest.raises(TraceError, match="two capped"):
        analysed([one, two, two])


def test_cases_are_kept_apart(files):
    given = [*files(moved=2.0), *files(case="self-harm", moved=3.0)]
    pairs = pairs_of([each for path in given for each in projections_of(read(path))])
    moved = {pair.case: float((pair.user[:, 1] - pair.user[:, 0]).mean()) for pair in pairs}
    assert moved == pytest.approx({"delusion": 2.0, "self-harm": 3.0})


def test_a_bare_nan_takes_its_exchange_out(tmp_path):
    paths = []
    for capped in (False, True):
        data = recording(capped)
        data["conversation"][5]["projection"] = float("nan")
        paths.append(tmp_path / f"{capped}.json")
        paths[-1].write_text(json.dumps(data))
    pair = pairs_of([each for path in paths for each in projections_of(read(path))])[0]
    assert 4 not in pair.turns.tolist()
    assert len(pair.turns) == 10


def test_means_of_a_table_are_over_answers_with_and_without_a_question(both):
    means = {row[0]: row[3].value for row in both.tables[2].rows}
    assert means == pytest.approx({"as it was": 6.2, "steered": 2.2, "cache edited": 1.2})
    assert finding(both, "kv_edit").estimate.value == pytest.approx(-5.0)
    # Of two questions no interval is made, and so nothing is borne out.
    assert finding(both, "kv_edit").estimate.low is None
    assert finding(both, "kv_edit").passed is None


def test_words_are_counted_as_they_stand_in_the_answers(both):
    rows = {row[0]: row for row in both.tables[0].rows}
    before = next(row for name, row in rows.items() if "ghost" in name)
    assert before[3:] == ("2 of 5 answers", before[4], "not borne out")
    assert before[4].value == 0.4
    assert next(row for name, row in rows.items() if "language model" in name)[-1] == "borne out"


def test_unjudged_answers_are_left_out_and_said():
    answers = [Answer(c, 1.0, 0, "Q?", "x", "a", -1.0, 5.0) for c in ("baseline", "gen_steering", "kv_edit")]
    some = Answers([*answers, answers[0]._replace(score=None, sample=1)])
    assert len(some.under("baseline")) == 1
    with pytest.raises(TraceError, match="kv_edit"):
        Answers(answers[:2])


def test_minds_are_counted_for_every_boundary(files):
    part = counted([read(path) for path in files()])
    rows = {(row[0], row[1]): row for row in part.tables[0].rows}
    unsteered = rows["delusion-unsteered", "instance-persona"]
    assert unsteered[2] == 2
    assert set(unsteered[5:]) == {2}
    assert rows["delusion-capped", "instance-persona"][5:] == (1,) * 7
    assert rows["together", "model-persona"][2] == 2


def test_the_command_writes_a_report_and_refuses_a_folder_with_something_else(run, files, tmp_path):
    target = tmp_path / "out"
    asked = ["experiment", "user-turns", "--from", *map(str, files()), "-o", str(target)]
    result = run(*asked)
    assert result.exit_code == 0, result.output
    told = json.loads((target / "outcome.json").read_text())
    assert told["name"] == "published-recordings"
    assert (target / "user-turns-delusion.svg").is_file()
    assert "borne out" in (target / "report.md").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    result = run(*asked[:-1], str(other))
    assert (result.exit_code, "something else is there" in result.output) == (2, True)


def test_what_an_earlier_analysis_wrote_of_other_files_goes(run, files, table, tmp_path):
    folder = tmp_path / "published"
    assert run("experiment", "user-turns", "--from", *files(), table, "-o", folder).exit_code == 0
    before = {path.name for path in folder.iterdir()}
    (folder / "mine.csv").write_text("a,b\n")
    assert run("experiment", "user-turns", "--from", *files(), "-o", folder).exit_code == 0
    after = {path.name for path in folder.iterdir()}
    assert "mine.csv" in after
    assert after - {"mine.csv"} < before
    assert not [name for name in after if "edit" in name or "experiment-2" in name]


def test_options_that_recordings_cannot_heed_and_files_of_another_kind_are_refused(run, files, examples, tmp_path):
    useless = run("experiment", "user-turns", "--from", *files(), "--n", 3, "-o", tmp_path / "a")
    assert (useless.exit_code, "--n has no effect on recordings" in useless.stderr) == (2, True)
    (tmp_path / "other.json").write_text("[1, 2]")
    other = run("experiment", "user-turns", "--from", tmp_path / "other.json", "-o", tmp_path / "a")
    assert (other.exit_code, "both conditions of a case, or exp2_results.csv" in other.stderr) == (2, True)
    assert not (tmp_path / "a").exists()


@pytest.fixture(scope="module")
def published(recordings):
    folder = recordings / "mini-experiments"
    return analysed(
        [folder / name for name in ("delusion_unsteered.json", "delusion_cap_asst.json", "exp2_results.csv")]
    )


def test_the_published_means_and_words_are_found_as_noted(published):
    found = {row[0]: row for row in published.tables[0].rows}
    means = {name.removeprefix("mean score, "): row[4].value for name, row in found.items() if "mean score" in name}
    assert means == pytest.approx({"as it was": 5.50, "steered": 2.28, "cache edited": 2.11}, abs=0.005)
    over = next(row for name, row in found.items() if "12 questions" in name)
    assert over[3] == "5.48 to 2.27 over the 12 other than 'Who are you?'; 5.50 to 2.11 is over all 13"
    assert next(row for name, row in found.items() if "ghost" in name)[3] == "3 of 10 answers"
    assert next(row for name, row in found.items() if "language model" in name)[3] == "5 of 10 answers"


def test_the_published_user_turns_stay_together_and_drift_slowly_apart(published):
    assert finding(published, "delusion/ratio").estimate.value == pytest.approx(0.027, abs=0.001)
    assert finding(published, "delusion/correlation").estimate.value == pytest.approx(0.995, abs=0.001)
    assert "no noise" in finding(published, "delusion/trend").statement


def test_the_published_minds_hang_on_the_boundary(published):
    rows = {(row[0], row[1]): row[5:] for row in published.tables[-1].rows}
    assert rows["delusion-unsteered", "instance-persona"] == (1, 2, 2, 2, 2, 4, 2)
    assert rows["delusion-capped", "instance-persona"] == (1,) * 7
