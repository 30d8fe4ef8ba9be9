"""The class that serves: its rule, its batches, and what it says of a folder that is no model folder."""

import itertools
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tagging.decision import suggest
from tagging.explain import explain_tags
from tagging.model_folder import ModelFolderError
from tagging.settings import Settings, parse_settings
from tagging.tagger import Tagger
from tests.tiny_model import MAX_LENGTH, TAGS, THRESHOLDS, WORDS, build_model_folder, write_json


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return Tagger(build_model_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture
def folder(tmp_path):
    """A model folder that a test may damage."""
    return build_model_folder(tmp_path / "model")


def names(tagged):
    return [tag for tag, _ in tagged]


def shown(logit, tag):
    """The probability shown for a model's logit: where the tag's own threshold cuts, it is the one of all tags, 0.5."""
    cut = THRESHOLDS[tag]
    return pytest.approx(1 / (1 + np.exp(-logit + np.log(cut / (1 - cut)))), abs=1e-6)


def test_tags_come_most_probable_first_with_their_probabilities(tagger):
    assert tagger.tag("Python", "read a csv into a dataframe") == [
        ("python", shown(WORDS["python"]["python"], "python")),
        ("pandas", shown(WORDS["dataframe"]["pandas"], "pandas")),
    ]


@pytest.mark.parametrize("title, description", [("layers", ""), ("", "layers"), ("  ", "layers"), ("layers", "\n")])
def test_title_or_description_is_enough(tagger, title, description):
    assert names(tagger.tag(title, description)) == ["neural-network", "deep-learning"]


def test_the_thresholds_of_the_folder_decide(tagger):
    """The model gives pandas 0.38 for csv, above its own 0.3, and optimization 0.45 for gradient, below 0.5."""
    assert names(tagger.tag("csv", "")) == ["pandas"]
    assert names(tagger.tag("gradient", "")) == ["deep-learning"]


def test_at_least_one_tag(tagger):
    """No word is known, so every tag has the same probability: pandas comes nearest its lower threshold."""
    assert names(tagger.tag("words", "that the model never met")) == ["pandas"]


def test_at_most_five_tags(tagger):
    """Of the six above their thresholds, python clears its own by the least."""
    assert names(tagger.tag("everything", "")) == ["pandas", "c++", "optimization", "neural-network", "deep-learning"]


def test_suggest_gives_one_to_five_tags_on_random_scores():
    random = np.random.default_rng(0)
    chosen = suggest(random.uniform(0, 1, size=(500, 40)) ** 20, 0.5)
    assert set(chosen.sum(axis=1)) == {1, 2, 3, 4, 5}
    assert (suggest(np.zeros((3, 40)), 0.5).sum(axis=1) == 1).all()


def test_no_runner_up_shows_more_than_a_suggested_tag(tagger):
    """To the model, optimization (0.45, threshold 0.5) is more probable here than pandas (0.38, threshold 0.3)."""
    answer = tagger.answer("gradient", "csv")
    assert [row["tag"] for row in answer["suggested"]] == ["deep-learning", "pandas"]
    for words in itertools.chain.from_iterable(itertools.combinations(WORDS, size) for size in range(3)):
        answer = tagger.answer("x", " ".join(words))
        figures = [row["probability"] for row in answer["suggested"] + answer["others"]]
        assert figures == sorted(figures, reverse=True)
        best = [row["tag"] for row in answer["suggested"]]
        assert best == names(tagger.tag("x", " ".join(words))) == names(tagger.tag("x", " ".join(words), len(best)))


def test_the_shown_probabilities_follow_the_line_of_the_folder(folder):
    thresholds = json.loads((folder / "thresholds.json").read_text())
    write_json(folder / "thresholds.json", thresholds | {"calibration": {"slope": 2.0, "threshold": 0.2}})
    tagger = Tagger(folder)
    expected = 1 / (1 + 4 * np.exp(-2 * WORDS["python"]["python"]))
    assert tagger.tag("python", "") == [("python", pytest.approx(expected, abs=1e-6))]
    assert names(tagger.tag("gradient", "csv")) == ["deep-learning", "pandas"], "the suggestions stay"


def test_a_field_alone_has_a_calibration_of_its_own(folder):
    write_json(folder / "tagger.json", {"alone": {"title": [0.5, -1.5], "description": [2.0, 1.0]}})
    tagger = Tagger(folder)
    logit = WORDS["python"]["python"]
    expected = {("python", ""): 0.5 * logit - 1.5, (" ", "python"): 2 * logit + 1, ("python", "x"): logit}
    for (title, description), calibrated in expected.items():
        probability = pytest.approx(1 / (1 + np.exp(-calibrated)), abs=1e-4)
        assert tagger.tag(title, description)[0] == ("python", probability)
        assert tagger.answer(title, description)["suggested"][0] == {"tag": "python", "probability": probability}
    batch = tagger.tag_batch(*zip(*expected, strict=True), batch_size=3)
    assert batch == [tagger.tag(*question) for question in expected]
    assert tagger.tag_batch([], []) == []


def test_an_explanation_names_the_tags_that_the_calibrated_answer_has(folder):
    title = "layers gradient everything"
    assert len(Tagger(folder).tag(title, "")) == 5
    write_json(folder / "tagger.json", {"alone": {"title": [1.0, -3.0]}})
    tagger = Tagger(folder)
    assert names(tagger.tag(title, "")) == ["deep-learning"]
    assert {piece["tag"] for piece in explain_tags(tagger, title, "")["title"]} == {"deep-learning", None}


def test_top_k_ignores_the_threshold(tagger):
    assert names(tagger.tag("gradient", "", top_k=2)) == ["deep-learning", "optimization"]
    assert len(tagger.tag("gradient", "", top_k=100)) == len(TAGS)
    with pytest.raises(ValueError, match="top_k is 0"):
        tagger.tag("gradient", "", top_k=0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_batch_gives_each_question_its_own_tags_in_order(tagger, batch_size):
    titles = ["python", "gradient", "a much longer title that is all about layers", "csv", "everything"]
    descriptions = ["", "of a function", "", "and a dataframe", ""]
    expected = [tagger.tag(title, text) for title, text in zip(titles, descriptions, strict=True)]
    assert tagger.tag_batch(titles, descriptions, batch_size=batch_size) == expected
    assert tagger.tag_batch([], []) == []


def test_threads_may_share_a_tagger(tagger):
    questions = [("python", "csv"), ("gradient", "layers " * 40)] * 200
    alone = [tagger.tag(*question) for question in questions]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda question: tagger.tag(*question), questions)) == alone


def test_long_text_is_truncated_not_refused(tagger):
    words_that_fit = MAX_LENGTH - 3 - 1  # [CLS] title [SEP] description [SEP]
    assert names(tagger.tag("python", "and " * (words_that_fit - 1) + "gradient")) == ["python", "deep-learning"]
    assert names(tagger.tag("python", "and " * 100_000 + "gradient")) == ["python"]


@pytest.mark.parametrize("text", ["\0", "\U0001f600", "‮ abc", "e\u0301", "<b>", "\ufeff"])
def test_unusual_characters_are_accepted(tagger, text):
    assert names(tagger.tag("python", text)) == ["python"]


def test_an_empty_question_is_a_value_error_that_names_it(tagger):
    with pytest.raises(ValueError, match="the question is empty"):
        tagger.tag(" ", "\n\t")
    with pytest.raises(ValueError, match="question 1 is empty"):
        tagger.tag_batch(["python", ""], ["", ""])


@pytest.mark.parametrize(
    "name", ["model_quantized.onnx", "tokenizer.json", "tag_types_encoded.json", "thresholds.json"]
)
def test_a_missing_file_is_reported(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"{name} missing.*TAGGER_MODEL"):
        Tagger(folder)


@pytest.mark.parametrize(
    "name, content",
    [
        ("model_quantized.onnx", "no graph"),
        ("model_quantized.onnx", ""),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "{"),
        ("tag_types_encoded.json", "["),
        ("tag_types_encoded.json", "[]"),
        ("tag_types_encoded.json", "{}"),
        ("tag_types_encoded.json", '{"python": 1}'),
        ("tag_types_encoded.json", '{"python": "zero"}'),
        ("thresholds.json", "nonsense"),
        ("thresholds.json", '{"global": 0.5}'),
        ("thresholds.json", json.dumps({"per_tag": {"python": 0.5}})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS | {"python": 0}})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS | {"python": 1.5}})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS, "global": "half"})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS, "calibration": None})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS, "calibration": {"slope": 1}})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS, "calibration": {"slope": 0, "threshold": 0.5}})),
        ("thresholds.json", json.dumps({"per_tag": THRESHOLDS, "calibration": {"slope": 1, "threshold": 1}})),
    ],
)
def test_a_damaged_file_is_reported_in_one_line(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=name) as caught:
        Tagger(folder)
    assert "\n" not in str(caught.value)


def test_a_tag_list_of_another_model_is_rejected(folder):
    write_json(folder / "tag_types_encoded.json", {tag: index for index, tag in enumerate(TAGS[:-1])})
    write_json(folder / "thresholds.json", {"per_tag": dict.fromkeys(TAGS[:-1], 0.5)})
    with pytest.raises(ModelFolderError, match=f"gives {len(TAGS)} labels.*names {len(TAGS) - 1} tags"):
        Tagger(folder)


def test_an_answer_splits_the_tags_and_says_whether_they_fit(tagger):
    answer = tagger.answer("python csv", "")
    suggested, others = ({row["tag"] for row in answer[part]} for part in ("suggested", "others"))
    assert suggested == set(names(tagger.tag("python csv", ""))) and not suggested & others
    assert answer["fits"]


def test_below_min_confidence_no_tag_fits(tagger, folder):
    write_json(folder / "tagger.json", {"min_confidence": 1.0})
    assert not Tagger(folder).answer("python csv", "")["fits"]


@pytest.mark.parametrize(
    "title, description",
    [("python", ""), ("", "  gradient\n\nin layers "), ("my python", "word " * 200), ("\u202e \U0001f600", "x")],
)
def test_an_explanation_returns_the_texts_with_the_weights_of_their_words(tagger, title, description):
    explanation = explain_tags(tagger, title, description)
    assert "".join(piece["text"] for piece in explanation["title"]) == title.strip()
    assert "".join(piece["text"] for piece in explanation["description"]) == description.strip()
    suggested = names(tagger.tag(title, description))
    for piece in explanation["title"] + explanation["description"]:
        assert (piece["tag"] is None and piece["weight"] == 0) or (
            piece["tag"] in suggested and 0 < piece["weight"] <= 1
        )


def carried(pieces):
    return [(piece["text"], piece["tag"], piece["weight"]) for piece in pieces]


def test_an_explanation_names_the_words_that_led_to_each_tag(tagger):
    explanation = explain_tags(tagger, "my python", "gradient in a csv")
    assert carried(explanation["title"]) == [("my ", None, 0), ("python", "python", 1)]
    assert carried(explanation["description"]) == [
        ("gradient", "deep-learning", 1),
        (" in a ", None, 0),
        ("csv", "pandas", 1),
    ]


def test_the_decisive_words_of_a_long_text_are_found(tagger):
    explanation = explain_tags(tagger, "python", "and so on " * 8 + "gradient")
    assert carried(explanation["title"]) == [("python", "python", 1)]
    assert carried(explanation["description"])[-1] == ("gradient", "deep-learning", 1)


def read_descriptions_only(folder):
    write_json(folder / "tagger.json", {"fields": ["description"]})


def test_no_tag_fits_a_question_without_what_the_model_reads(folder):
    read_descriptions_only(folder)
    assert not Tagger(folder).answer("python", "")["fits"]
    assert Tagger(folder).answer("", "python")["fits"]


def test_fields_that_the_model_does_not_read_get_no_weight(folder):
    read_descriptions_only(folder)
    explanation = explain_tags(Tagger(folder), "python", "gradient")
    assert carried(explanation["title"]) == [("python", None, 0)]
    assert carried(explanation["description"]) == [("gradient", "deep-learning", 1)]


def test_the_onnx_file_may_be_in_a_folder_of_its_own(folder):
    (folder / "onnx").mkdir()
    (folder / "model_quantized.onnx").rename(folder / "onnx" / "model_quantized.onnx")
    assert names(Tagger(folder).tag("python", "")) == ["python"]


def test_the_folder_of_a_trained_model_stands_for_its_onnx_folder(folder):
    """The thresholds beside the weights are not those of the int8 model."""
    exported = build_model_folder(folder / "onnx", max_tags=1)
    (folder / "model_quantized.onnx").unlink()
    assert names(Tagger(folder).tag("everything", "")) == names(Tagger(exported).tag("everything", "")) == ["pandas"]


# ---- settings ----


def test_each_setting_of_the_folder_takes_effect(folder):
    write_json(folder / "tagger.json", {"max_tags": 2, "max_length": 8, "site": "https://bread.example/"})
    tagger = Tagger(folder)
    assert names(tagger.tag("everything", "")) == ["pandas", "c++"]
    assert [row["tag"] for row in tagger.answer("everything", "")["suggested"]] == ["pandas", "c++"]
    assert names(tagger.tag("and so on it goes layers", "")) == ["neural-network", "deep-learning"]
    assert names(tagger.tag("and so on it goes on layers", "")) == ["pandas"], "the eighth token is [SEP]"
    assert len(tagger.model.encode(["word " * 50], [""])[0].ids) == 8
    assert tagger.settings.site == "https://bread.example"
    explained = explain_tags(tagger, "everything", "")["title"]
    assert {piece["tag"] for piece in explained} <= {"pandas", "c++"}


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("format", 2, "1; another one is of another version of this software"),
        ("version", 3, "a string"),
        ("site", "javascript:alert(1)", "the URL of a site"),
        ("site", "cooking.stackexchange.com", "the URL of a site"),
        ("site", "https://[", "the URL of a site"),
        ("language", "", "the code of a language, such as en"),
        ("language", "plain English", "the code of a language, such as en"),
        ("title", " ", "a line of text"),
        ("title", "two\nlines", "a line of text"),
        ("fields", [], "one or both of title, description"),
        ("fields", "title", "one or both of title, description"),
        ("fields", ["title", "body"], "one or both of title, description"),
        ("fields", ["title", "title"], "one or both of title, description"),
        ("max_length", 3, "a whole number of tokens from 8"),
        ("max_length", "128", "a whole number of tokens from 8"),
        ("max_title", 0, "a whole number of characters from 1"),
        ("max_description", 1.5, "a whole number of characters from 1"),
        ("max_tags", 0, "a whole number from 1 to 100"),
        ("max_tags", True, "a whole number from 1 to 100"),
        ("min_confidence", 1.5, "a number from 0 to 1"),
        ("min_confidence", None, "a number from 0 to 1"),
        ("alone", [1, 0], "{field: [slope above 0, intercept]}"),
        ("alone", {"body": [1, 0]}, "{field: [slope above 0, intercept]}"),
        ("alone", {"title": [0, 1]}, "{field: [slope above 0, intercept]}"),
        ("alone", {"title": [1]}, "{field: [slope above 0, intercept]}"),
        ("alone", {"title": [1, float("nan")]}, "{field: [slope above 0, intercept]}"),
        ("examples", {}, "a list of objects with the strings label, title and description"),
        ("examples", [{"label": "x", "title": "y"}], "a list of objects with the strings"),
        ("examples", [{"label": "x", "title": " ", "description": ""}], "a list of objects with the strings"),
    ],
)
def test_an_invalid_setting_is_reported_with_file_key_and_what_is_expected(folder, key, value, expected):
    write_json(folder / "tagger.json", {key: value})
    with pytest.raises(ModelFolderError) as caught:
        Tagger(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'tagger.json'}: {key!r} is {value!r}, expected {expected}")
    assert "\n" not in message


def test_every_invalid_setting_is_reported(folder):
    write_json(folder / "tagger.json", {"max_tags": 0, "title": "x" * 1000 + "\n", "language": "en"})
    with pytest.raises(ModelFolderError, match=r"'title' is .*, expected.*; 'max_tags' is 0, expected") as caught:
        Tagger(folder)
    assert "language" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), True, "1"])
def test_a_line_has_finite_numbers(number):
    with pytest.raises(ValueError, match=r"'alone' is .*, expected \{field"):
        parse_settings({"alone": {"title": [1, number]}})


def test_unknown_settings_are_kept_and_ignored(folder):
    content = {"max_tags": 3, "colour": {"dark": "#000"}}
    write_json(folder / "tagger.json", content)
    settings = Tagger(folder).settings
    assert content.items() <= settings.as_json().items()
    assert parse_settings(settings.as_json()) == settings


def test_an_older_folder_loads_with_its_own_settings_and_defaults_for_the_others(folder):
    """Older folders have no tagger.json, but two of its keys in thresholds.json and one in tokenizer.json."""
    thresholds = json.loads((folder / "thresholds.json").read_text())
    write_json(folder / "thresholds.json", thresholds | {"fields": ["description"], "min_confidence": 0.9})
    own = {"fields": ("description",), "min_confidence": 0.9, "max_length": MAX_LENGTH}
    (folder / "tagger.json").unlink()
    assert Tagger(folder).settings == Settings(**own)
    write_json(folder / "tagger.json", {"title": "Kitchen tags", "min_confidence": 0.5})
    assert Tagger(folder).settings == Settings(**own | {"title": "Kitchen tags", "min_confidence": 0.5})
    write_json(folder / "thresholds.json", thresholds | {"fields": ["body"]})
    with pytest.raises(ModelFolderError, match=r"thresholds\.json: 'fields' is .*, expected one or both of"):
        Tagger(folder)


# ---- telemetry ----

ROOT = Path(__file__).parents[1]
STARTS = {
    "tagger": "from tagging.tagger import Tagger; Tagger({model!r}).answer('python', '')",
    "form": "from webapp.answers import LocalTagger; from pathlib import Path; LocalTagger(Path({model!r})).tags()",
    "quantize": "import onnx; from onnx_export.int8 import observe; "
    "observe(onnx.load({model!r} + '/model_quantized.onnx'), [], [])",
    "benchmark": "from benchmarks.matrix_rates import gigaflops; gigaflops('fp32', 1)",
}


@pytest.mark.parametrize("start", STARTS)
def test_onnxruntime_leaves_nothing_in_the_home_folder(start, folder, tmp_path):
    """Without it, onnxruntime writes an id of the device and a store of events there."""
    home = tmp_path / "home"
    home.mkdir()
    code = STARTS[start].format(model=str(folder))
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean_environment(home), check=True)
    assert list(home.rglob("*")) == []


def test_a_users_own_setting_of_the_telemetry_is_left_alone(tmp_path):
    code = (
        "import os; from tagging.tagger import import_onnxruntime; import_onnxruntime(); "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = clean_environment(tmp_path) | {"ORT_DISABLE_TELEMETRY": "0"}
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.stdout == "0\n", shown.stderr


def clean_environment(home: Path) -> dict[str, str]:
    """Return the environment with a home folder of its own and without settings of caches and telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "ORT_"))}
    return kept | {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deployment")]),
    }


def test_onnxruntime_is_imported_in_one_place():
    """Elsewhere, its import could come before the variable that switches its telemetry off."""
    imports = re.compile(r"(?<!    import_onnxruntime\(\)\n)^\s*(?:import|from) onnxruntime\b", re.MULTILINE)
    sources = [path for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")]
    found = [path for path in sources if imports.search(path.read_text(encoding="utf-8"))]
    assert {str(path.relative_to(ROOT)) for path in found} <= {"deployment/tagging/tagger.py", "benchmarks/session.py"}
    session = (ROOT / "benchmarks" / "session.py").read_text(encoding="utf-8")
    assert len(imports.findall(session)) == 1, "only for the type checker"
