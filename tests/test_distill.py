"""Training on more than the site's own questions: extra questions, one field alone, and the answers of a teacher."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data.files import read_questions, write_json, write_questions
from tagging.decision import sigmoid
from tests.tiny_backbones import save_backbone
from training import distill, extra_questions, filter_tags, finetune
from training.dataset import read_part
from training.model import QuestionTagger, pytorch_scorer
from training.provenance import file_hash
from training.soft_labels import soft_labels, teacher_probabilities
from training.trainers import make_trainer

WORDS = {"plot": "matplotlib", "tensor": "pytorch", "frame": "pandas", "query": "sql"}
# All epochs: on few validation questions F1 stands still for some epochs while the loss falls.
QUICK = ["--epochs", "24", "--patience", "24", "--batch-size", "8", "--learning-rate", "0.002", "--max-length", "32",
         "--consistency", "0"]  # fmt: skip


def questions_about(words, count, site, seed):
    """Return ``count`` questions of a site, whose tag follows from a word that title and description have.

    One in four has a further tag at random, so that the validation F1 does not reach 1 before both fields are learned.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        word = rng.choice(list(words))
        filler = " ".join(rng.choice(["how", "do", "the", "with", "some", "data"], 3))
        tags = {words[word], *(rng.choice(list(words.values()), 1).tolist() if number % 4 == 0 else [])}
        rows.append([f"{word} {number} {seed}", f"{filler} {word} a{number}", sorted(tags), f"{site}/{number}"])
    return pd.DataFrame(rows, columns=["title", "description", "tags", "url"])


@pytest.fixture
def folder(tmp_path):
    """A data folder of 240 questions, and a backbone."""
    write_questions(tmp_path / "ques_details.csv", questions_about(WORDS, 240, "https://site.example/questions", 0))
    filter_tags.main(["--data-dir", str(tmp_path)])
    texts = [f"{text} select" for text in read_questions(tmp_path / "ques_filtered.csv")["description"]]
    save_backbone("bert-base-uncased", texts, tmp_path)
    return tmp_path


def add(folder, questions, *options):
    write_questions(folder / "other.csv", questions)
    extra_questions.main(["--data-dir", str(folder), "--input", str(folder / "other.csv"), *options])


def where(folder):
    return ["--data-dir", str(folder), "--models-dir", str(folder / "models")]


def answers(model_folder, word):
    """Return the most probable tags of a title and of a description that have the word."""
    questions = (word, ""), ("", f"how the data {word}")  # no number, which may have been seen with another word
    return [most_probable_tag(model_folder, *question) for question in questions]


def most_probable_tag(model_folder, title, description=""):
    tags = list(json.loads((model_folder / "tag_types_encoded.json").read_text()))
    return tags[int(pytorch_scorer(model_folder)(title, description).argmax())]


def test_extra_questions_get_the_tags_of_the_site_and_tell_nothing_of_validation_and_test(folder, capsys):
    test, train = read_part(folder, "test"), read_part(folder, "train")
    other = questions_about({"select": "database", "canvas": "drawing"}, 40, "https://other.example/questions", 7)
    copies = pd.DataFrame(
        [
            [test.titles[0].upper(), "something else", ["sql"], "https://other.example/questions/100"],
            ["", test.titles[1] + " " + test.descriptions[1], ["sql"], "https://other.example/questions/101"],
            ["a new title", "of an old question", ["sql"], train.urls[0]],
        ],
        columns=other.columns,
    )
    (folder / "map.json").write_text('{"database": "sql"}')
    options = ["--tag-map", str(folder / "map.json"), "--weight", "0.5"]
    add(folder, pd.concat([other, copies]), *options)
    said = capsys.readouterr().out
    selects = sum("database" in tags for tags in other["tags"])
    assert f"https://other.example: 40 questions, {selects} of them with tags of the site" in said
    assert "left out: 2 that resemble a question of validation or test, 1 that are there already" in said

    written = read_questions(folder / "extra_questions.csv", further=["source"])
    assert sorted(written["url"]) == sorted(other["url"])
    assert Counter(map(tuple, written["tags"])) == {("sql",): selects, (): 40 - selects}
    record = json.loads((folder / "extra_questions.json").read_text())["sources"]
    assert record["https://other.example"]["weight"] == 0.5 and record["https://other.example"]["tagged"] == selects

    with pytest.raises(SystemExit, match=r"holds the source https://other.example: give --force to replace it"):
        add(folder, other, *options)
    with pytest.raises(SystemExit, match="no question is left of 5: 5 are there already, 0 resemble"):
        add(folder, other[:5], "--name", "more")
    add(folder, other[:5], *options, "--force")
    assert len(read_questions(folder / "extra_questions.csv")) == 5


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "map.json: cannot be read as JSON"),
        ("[]", "map.json: expected an object of tags"),
        ('{"a": ["sql"]}', "map.json: expected an object of tags"),
        ('{"a": "sqlite"}', "map.json: the site has no tag sqlite: correct the tag map"),
    ],
)
def test_a_faulty_tag_map_is_reported_in_one_line(content, complaint, folder):
    (folder / "map.json").write_text(content)
    with pytest.raises(SystemExit, match=complaint) as stop:
        add(folder, questions_about(WORDS, 3, "https://other.example", 1), "--tag-map", str(folder / "map.json"))
    assert "\n" not in str(stop.value)
    assert not (folder / "extra_questions.csv").exists()


def test_extra_questions_of_another_split_are_refused(folder):
    add(folder, questions_about(WORDS, 3, "https://other.example", 1))
    filter_tags.main(["--data-dir", str(folder), "--seed", "1", "--force"])
    command = ["--model", str(folder / "bert-base-uncased"), *where(folder), "--extra-questions"]
    for call in (
        lambda: finetune.main(command),
        lambda: add(folder, questions_about(WORDS, 3, "https://third.example", 1)),
    ):
        with pytest.raises(SystemExit, match=r"was made for other questions than those of .*: remove it, and make it"):
            call()
    (folder / "extra_questions.csv").unlink()
    with pytest.raises(SystemExit, match=r"extra_questions.csv not found: run  python training/extra_questions.py"):
        finetune.main(command)


def test_a_tagger_learns_from_extra_questions_and_reads_either_field(folder):
    """Only the extra questions have the word select."""
    extra = questions_about({"select": "sql"}, 80, "https://other.example/questions", 3)
    extra.loc[60:, "tags"] = pd.Series([[]] * 20, index=range(60, 80))
    add(folder, extra)
    finetune.main(["--model", str(folder / "bert-base-uncased"), *where(folder), *QUICK, "--extra-questions"])
    model_folder = folder / "models" / "bert-base-uncased"
    run = json.loads((model_folder / "run.json").read_text())
    assert run["arguments"]["extra_questions"] is True
    assert run["extra_questions"]["sha256"] == file_hash(folder / "extra_questions.csv")
    for word, tag in (WORDS | {"select": "sql"}).items():
        assert answers(model_folder, word) == [tag, tag]
    assert json.loads((model_folder / "tagger.json").read_text())["site"] == "https://site.example"


def test_a_question_of_weight_nought_does_not_count(folder):
    settings = finetune.settings_of(finetune.parse_args(["--model", str(folder / "bert-base-uncased")]))
    train, validation = read_part(folder, "train"), read_part(folder, "validation")
    weights = np.ones(len(train))
    weights[1::2] = 0
    losses = []
    for questions in (replace(train, weights=weights), train.take(np.arange(0, len(train), 2))):
        trainer = make_trainer(
            settings, 42, folder / "checkpoints", folder / "bert-base-uncased", questions, validation
        )
        trainer.args.group_by_length = False
        model = trainer.model.eval()
        batch = trainer.data_collator.collate(
            [
                {name: values for name, values in question.items() if name not in ("title", "description")}
                for question in trainer.train_dataset
            ]
        )
        losses.append(model(**batch).loss.item())
    assert isinstance(model, QuestionTagger)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_batch_is_read_by_title_by_description_or_by_both(folder):
    settings = finetune.settings_of(finetune.parse_args(["--model", str(folder / "bert-base-uncased")]))
    train, validation = read_part(folder, "train"), read_part(folder, "validation")
    trainer = make_trainer(settings, 42, folder / "checkpoints", folder / "bert-base-uncased", train, validation)
    tokenizer, questions = trainer.processing_class.backend_tokenizer, trainer.train_dataset[:2]
    titles = tokenizer.encode(train.titles[0]).ids
    descriptions = tokenizer.encode(train.descriptions[0]).ids
    both = tokenizer.encode(train.titles[0], train.descriptions[0]).ids
    torch.manual_seed(0)
    ways = Counter()
    for _ in range(60):
        batch = trainer.data_collator(questions)
        ways[tuple(batch["input_ids"][0][: int(batch["attention_mask"][0].sum())].tolist())] += 1
        assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert set(ways) == {tuple(titles), tuple(descriptions), tuple(both)}
    assert min(ways.values()) > 8
    validated = trainer.data_collator(trainer.eval_dataset[:1])["input_ids"][0]
    assert validated.tolist() == tokenizer.encode(validation.titles[0], validation.descriptions[0]).ids


def test_soft_labels_are_the_mean_of_tags_and_teacher():
    part = read_only_part([[1, 0], [1, 0], [0, 0], [0, 0]], titles=["a", "", "c", ""])
    labelled = soft_labels(part, np.full((4, 2), 0.4), ["title"], 0.25)
    assert labelled.targets == pytest.approx(np.array([[0.85, 0.1], [1, 0], [0.4, 0.4]]))
    assert labelled.titles == ["a", "", "c"]


def read_only_part(targets, titles):
    from training.dataset import Part

    return Part(titles, ["text"] * len(titles), np.array(targets, dtype=bool), ["x", "y"], titles)


@pytest.mark.parametrize("fields", [["title"], ["title", "description"]])
def test_a_teacher_answers_as_it_is_served(folder, fields):
    finetune.main(["--model", str(folder / "bert-base-uncased"), *where(folder), "--freeze-encoder"])
    teacher = folder / "models" / "bert-base-uncased-frozen-encoder"
    settings = json.loads((teacher / "tagger.json").read_text())
    write_json(teacher / "tagger.json", settings | {"alone": {"title": [0.5, -1.0]}})
    part, score = read_part(folder, "validation"), pytorch_scorer(teacher)
    descriptions = part.descriptions if "description" in fields else [""] * len(part)
    served = sigmoid(np.array(list(map(score, part.titles, descriptions))))
    assert teacher_probabilities(teacher, part, fields, 8) == pytest.approx(served, abs=0.02)  # bf16, then float16


def test_a_student_learns_what_its_teacher_knows(folder, capsys):
    """The student's own questions have tags at random, as has no question that the teacher saw."""
    backbone = folder / "bert-base-uncased"
    finetune.main(["--model", str(backbone), *where(folder), *QUICK])
    teacher = (folder / "models" / "bert-base-uncased").rename(folder / "teacher")

    filtered = read_questions(folder / "ques_filtered.csv")
    splits = pd.read_csv(folder / "split.csv")
    training = filtered["url"].isin(splits["url"][splits["split"] == "train"]).to_numpy()
    rng = np.random.default_rng(0)
    at_random = [[str(rng.choice(list(WORDS.values())))] for _ in range(len(filtered))]
    tags = [
        drawn if is_training else own
        for is_training, drawn, own in zip(training, at_random, filtered["tags"], strict=True)
    ]
    write_questions(folder / "ques_filtered.csv", filtered.assign(tags=tags))
    untagged = questions_about(WORDS, 40, "https://other.example/questions", 5)
    add(folder, untagged.assign(tags=[[]] * len(untagged)))

    command = ["--student", str(backbone), *where(folder), *QUICK, "--patience", "16", "--extra-questions"]
    distill.main([*command, "--teacher", str(teacher), "--teacher-weight", "1"])
    student = folder / "models" / "bert-base-uncased-distilled"
    assert "answers of the teacher to 232 questions" in capsys.readouterr().out
    run = json.loads((student / "run.json").read_text())
    assert run["f1_micro_validation"] > 0.75
    assert run["teachers"][0]["sha256"] == file_hash(teacher / "model.safetensors")
    assert run["teacher_weight"] == 1 and run["arguments"]["recipe"] == "distilled"

    with pytest.raises(SystemExit, match="already there: give --force"):
        distill.main([*command, "--teacher", str(teacher)])
    (teacher / "tag_types_encoded.json").write_text('{"sql": 0, "pandas": 1}')
    with pytest.raises(SystemExit, match="its tags are not those of the data"):
        distill.main([*command, "--teacher", str(teacher), "--force"])
    with pytest.raises(SystemExit, match=r"run.json not found; train it with"):
        distill.main([*command, "--teacher", str(folder), "--force"])
    assert run == json.loads((student / "run.json").read_text())


def test_a_teacher_whose_tags_cannot_be_read_is_reported_in_one_line(folder):
    for name in ("run.json", "model.safetensors", "tag_types_encoded.json"):
        (folder / "teacher").mkdir(exist_ok=True)
        (folder / "teacher" / name).write_text("[]")
    command = ["--student", str(folder / "bert-base-uncased"), *where(folder), "--teacher", str(folder / "teacher")]
    with pytest.raises(SystemExit, match=r"tag_types_encoded.json") as stop:
        distill.main(command)
    assert "\n" not in str(stop.value)
