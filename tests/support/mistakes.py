"""The mistakes that a beginner makes, by their numbers, and what has to be said about each.

Those with a letter are siblings: another mistake of the same kind, that the same code has to find. What no command on
a laptop can show is in ELSEWHERE, with the test that shows it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.desk import FIELDS, KEY, TRAINING, Desk, as_csv, workbook

Change = Callable[[Desk], Any]


@dataclass(frozen=True)
class Mistake:
    """A mistake, and the message that it gets.

    Attributes:
        number: that of the list, with a letter for a sibling.
        name: what was done wrong.
        change: makes the mistake at a desk.
        code: exit code.
        says: words in the first line of the message, in this order.
        further: words in any line.
        asked: requests that the teacher may get at most.
    """

    number: str
    name: str
    change: Change
    code: int
    says: tuple[str, ...]
    further: tuple[str, ...] = ()
    asked: int = 1


def field(path: str, value: Any) -> Change:
    return lambda desk: desk.set(path, value)


def fields(**values: Any) -> Change:
    return lambda desk: [desk.set(path.replace("__", "."), value) for path, value in values.items()]


def text(old: str, new: str) -> Change:
    return lambda desk: desk.replace(old, new)


def row(line: int, *cells: str) -> Change:
    """Replaces the row in a line of the CSV, where the header is line 1."""
    return lambda desk: desk.rows.__setitem__(line - 1, cells)


def content(of: Callable[[Desk], bytes]) -> Change:
    return lambda desk: setattr(desk, "data", of(desk))


def model(change: Callable[[Any], object]) -> Change:
    return lambda desk: change(desk.model)


def secret(option: str) -> Change:
    return lambda desk: setattr(desk, "arguments", [*desk.arguments[:2], *(["--secret", option] if option else [])])


def teacher(status: int, answer: Any) -> Change:
    return lambda desk: setattr(desk.teacher, "answer", lambda _: (status, answer))


def error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "code": code}}


def sized(rows: int, held_out: int) -> Change:
    def change(desk: Desk) -> None:
        desk.rows = desk.rows[: rows + 1]
        desk.set("data.evaluation.fromSeed.count", held_out)

    return change


NO_VENDOR = "names must be cpu, memory, ephemeral-storage, or those of a device with its vendor, such as nvidia.com/gpu"
IN_THE_MANIFEST = (
    Mistake("3", "the template asks for another field", field("task.promptTemplate", "{{ text }}"), 64,
            ("spec.task.promptTemplate: 'text' is not a field of the row", "(the fields are 'body', 'subject')")),
    Mistake("3b", "a field in another case", field("task.promptTemplate", "{{ Subject }}"), 64,
            ("'Subject' is not a field of the row: did you mean 'subject'?",)),
    Mistake("4", "a brace is missing", field("task.promptTemplate", "a\n{{ body }"), 64,
            ("spec.task.promptTemplate: ", "in line 2", "two braces on each side, as in '{{ prompt }}'")),
    Mistake("4b", "a filter that there is not", field("task.promptTemplate", "{{ body|shorten }}"), 64,
            ("spec.task.promptTemplate: No filter named 'shorten' in line 1",)),
    Mistake("10", "Choice without labels", field("task.labels", None), 64,
            ("spec.task.labels: must not be empty if grader.type is Choice",)),
    Mistake("11", "macroF1 without labels", fields(task__grader=None, task__labels=None, objective={"metric": "macroF1"}),
            64, ("spec.objective: metric macroF1 needs a task with labels",)),
    Mistake("12", "snake_case", field("max_iterations", 2), 64, ("spec.max_iterations: unknown field: did you mean maxIterations?",)),
    Mistake("13", "another trainer's name", field("train.hyperparameters.epochs", 2), 64,
            ("spec.train.hyperparameters.epochs: unknown field: use numTrainEpochs",)),
    Mistake("14", "a size for each device", field("train.batchSize", 8), 64,
            ("spec.train.batchSize: unknown field: use spec.train.hyperparameters.effectiveBatchSize",)),
    Mistake("14b", "the key in the manifest", field("generate.teacher.apiKey", KEY), 64,
            ("spec.generate.teacher.apiKey: unknown field: use apiKeySecretRef: {name, key}",)),
    Mistake("14c", "the key in place of its Secret", field("generate.teacher.apiKeySecretRef.name", KEY), 64,
            ("spec.generate.teacher.apiKeySecretRef.name: must be the name of an object",)),
    Mistake("14d", "a field in the wrong block", field("learningRate", "1e-4"), 64,
            ("spec.learningRate: unknown field: did you mean spec.train.hyperparameters.learningRate?",)),
    Mistake("15", "another apiVersion", text("llm2llm.dev/v1alpha1", "v1"), 64,
            ("apiVersion: must be llm2llm.dev/v1alpha1, not 'v1'",)),
    Mistake("16", "another kind", text("kind: AugmentationRun", "kind: Job"), 64,
            ("run.yaml: found no document of kind AugmentationRun, only Job",)),
    Mistake("16b", "a kind with a typo", text("kind: AugmentationRun", "kind: AugmentRun"), 64,
            ("found no document of kind AugmentationRun, only AugmentRun: did you mean 'AugmentationRun'?",)),
    Mistake("17", "a tab", text("  maxIterations", "\tmaxIterations"), 64, ("run.yaml, line 6, column 1: a tab",)),
    Mistake("18", "a wrong indentation", text("  task:", "    task:"), 64,
            ("run.yaml, line 7, column 9: this line is indented further",)),
    Mistake("18b", "an indentation between two others", text("  task:", " task:"), 64,
            ("run.yaml, line 7, column 2: the indentation of this line fits none of the lines before it",)),
    Mistake("18c", "a quote that is not closed", text("maxIterations: 2", "maxIterations: '2"), 64, ("run.yaml, line", "a quote before it is not closed")),
    Mistake("19", "a decimal without quotes", text("maxIterations: 2", "train: {hyperparameters: {learningRate: 2e-3}}"), 64,
            ('spec.train.hyperparameters.learningRate: must be a string: write "0.002"',)),
    Mistake("20", "a whole number in quotes", field("maxIterations", "2"), 64,
            ("spec.maxIterations: must be a whole number, not '2': write 2",)),
    Mistake("21", "a percentage", field("data.evaluation.fromSeed", {"fraction": "20%"}), 64,
            ('fromSeed.fraction: must be a decimal number from 0 to 1 in quotes, such as "0.2", not \'20%\': write "0.2"',)),
    Mistake("21b", "a decimal comma", field("data.evaluation.fromSeed", {"fraction": "0,2"}), 64, ("not '0,2': write \"0.2\"",)),
    Mistake("21c", "one per cent", field("data.evaluation.fromSeed", {"fraction": "1 %"}), 64, ("not '1 %': write \"0.01\"",)),
    Mistake("21d", "no digit before the point", field("train.lora", {"dropout": ".1"}), 64, ("not '.1': write \"0.1\"",)),
    Mistake("22", "a currency", field("budget", {"maxCost": "$5", "prices": {}}), 64,
            ("spec.budget.maxCost: must be a decimal number without a sign, a unit or an exponent", "not '$5': write \"5\"")),
    Mistake("22b", "hours with a unit", field("budget", {"maxGPUHours": "2h"}), 64, ("spec.budget.maxGPUHours: ", "not '2h': write \"2\"")),
    Mistake("22c", "millions", field("budget", {"maxTeacherTokens": "2M"}), 64, ("must be a whole number, not '2M': write 2000000",)),
    Mistake("22d", "thousands with commas", field("budget", {"maxCost": "1,500.50 EUR", "prices": {}}), 64, ('write "1500.50"',)),
    Mistake("23", "gigabytes", field("train.resources", {"limits": {"memory": "16GB"}}), 64,
            ("spec.train.resources.limits.memory: must be a quantity as Kubernetes writes it", "not '16GB': write \"16Gi\"")),
    Mistake("24", "a GPU without its vendor", field("train.resources", {"limits": {"gpu": "1"}}), 64,
            (f"spec.train.resources.limits: {NO_VENDOR}, not gpu",)),
    Mistake("25", "a cost without prices", field("budget", {"maxCost": "5"}), 64, ("spec.budget: maxCost requires prices",)),
    Mistake("26", "a model of the Hub without its scheme", field("student.model.uri", "Qwen/Qwen2.5-0.5B"), 64,
            ("spec.student.model.uri: must be a URI that begins with hf://", "did you mean hf://Qwen/Qwen2.5-0.5B?")),
    Mistake("26b", "a path without its scheme", field("data.seed.uri", "/me/tickets.csv"), 64, ("did you mean file:///me/tickets.csv?",)),
    Mistake("26c", "a relative path", field("data.seed.uri", "tickets.csv"), 64, ("did you mean file:///", "/tickets.csv?")),
    Mistake("26d", "an address without its scheme", field("generate.teacher.baseUrl", "127.0.0.1:8555/v1"), 64,
            ("spec.generate.teacher.baseUrl: must be a URL that begins with https://", "did you mean http://127.0.0.1:8555/v1?")),
    Mistake("26e", "the address of a page on the Hub", field("student.model.uri", "https://huggingface.co/Qwen/Qwen2.5-0.5B"), 64,
            ("did you mean hf://Qwen/Qwen2.5-0.5B?",)),
    Mistake("27", "file:// and a relative path", field("data.seed.uri", "file://tickets.csv"), 64,
            ("spec.data.seed.uri: the path in file://tickets.csv must be absolute: did you mean file:///", "/tickets.csv?")),
    Mistake("27b", "file:// and a relative folder", field("student.model.uri", "file://./model"), 64,
            ("spec.student.model.uri: the path in file://./model must be absolute: did you mean file:///", "/model?")),
)  # fmt: skip
"""Shown by `llm2llm validate`."""

IN_THE_ROWS = (
    Mistake("1", "a column in another case", field("data.seed.fields.body", "message"), 65,
            ("tickets.csv: no column 'message': did you mean 'Message'?", "(the columns are 'ticket_id', 'Subject', 'Message', 'Queue')")),
    Mistake("2", "the fields the wrong way round", field("data.seed.fields", {column: name for name, column in FIELDS.items()}), 64,
            ("spec.data.seed.fields: the names of the task stand on the left", "write {subject: Subject, body: Message, completion: Queue}"), asked=0),
    Mistake("2b", "no field for the answer", field("data.seed.fields", {"subject": "Subject", "body": "Message"}), 64,
            ("spec.data.seed.fields: 'completion' is missing", "add completion: COLUMN"), asked=0),
    Mistake("5", "braces as Python has them", field("task.promptTemplate", "{body}"), 64,
            ("spec.task.promptTemplate: uses no field of the row", "two braces, as in '{{ prompt }}'")),
    Mistake("6", "labels in another case", content(lambda desk: as_csv(desk.rows).replace(b",Billing", b", bILLING ")), 143, (TRAINING,)),
    Mistake("7", "a label is left out", field("task.labels", ["Billing", "Delivery", "Returns"]), 65,
            ("tickets.csv has 30 broken rows: lines 5, 9, 13, 17, 21 and 25 more: the completion 'Technical' is none of spec.task.labels",)),
    Mistake("8", "a label with a typo", row(6, "T-1", "Invoice", "text", "Biling"), 65,
            ("has 1 broken row: line 6: the completion 'Biling' is none of spec.task.labels: did you mean 'Billing'?",)),
    Mistake("9", "an empty row", row(6, "", "", "", ""), 65,
            ("has 1 broken row: line 6: the prompt is empty but for the template's words (blank: body, subject)",)),
    Mistake("42", "semicolons", content(lambda desk: as_csv(desk.rows, ";")), 65,
            ("tickets.csv: is separated by semicolons instead of commas", "save it separated by commas")),
    Mistake("42b", "tabs in a .csv", content(lambda desk: as_csv(desk.rows, "\t")), 65,
            ("tickets.csv: is separated by tabs instead of commas", "rename it to .tsv")),
    Mistake("42c", "semicolons and the line that Excel reads", content(lambda desk: b"sep=;\n" + as_csv(desk.rows, ";")), 65,
            ("begins with the line 'sep=;', which only Excel reads: remove it, and separate by commas",)),
    Mistake("42d", "vertical bars and a wrong name",
            lambda desk: desk.set("data.seed.fields.body", "text").has(as_csv(desk.rows, "|")), 65,
            ("is separated by vertical bars instead of commas",)),
    Mistake("43", "an Excel workbook", content(lambda _: workbook("xl/workbook.xml")), 65,
            ("tickets.csv: is an Excel workbook: save it there as CSV (UTF-8, separated by commas)",)),
    Mistake("43b", "an old Excel workbook", content(lambda _: b"\xd0\xcf\x11\xe0" + bytes(99)), 65, ("is an Excel workbook",)),
    Mistake("43c", "a zip archive", content(lambda _: workbook("tickets.csv")), 65, ("is compressed with zip: decompress it",)),
    Mistake("43d", "a page in place of the file", content(lambda _: b"<!DOCTYPE html><html></html>"), 65,
            ("is a web page: download the file itself",)),
    Mistake("44", "Latin-1", content(lambda desk: as_csv(desk.rows).replace(b"amount", "B\u00e4r".encode("latin-1"))), 65,
            ("tickets.csv: invalid UTF-8 in lines 2, 6,", "save the file as UTF-8")),
    Mistake("44b", "UTF-16", content(lambda desk: as_csv(desk.rows).decode().encode("utf-16")), 65, ("is in UTF-16: save it as UTF-8",)),
    Mistake("45", "a byte order mark", content(lambda desk: b"\xef\xbb\xbf" + as_csv(desk.rows)), 143, (TRAINING,)),
    Mistake("46", "no header", lambda desk: desk.rows.pop(0), 65,
            ("no column 'Subject'; no column 'Message'", "The first line must name the columns")),
    Mistake("47", "blanks in the header", row(1, "ticket_id", "Subject ", "Message", "Queue"), 65,
            ("no column 'Subject': did you mean 'Subject '?",)),
    Mistake("47b", "a column twice", row(1, "Subject", "Subject", "Message", "Queue"), 65, ("two columns have the same name: 'Subject', 'Subject'",)),
    Mistake("47c", "a stray quote", content(lambda desk: as_csv(desk.rows).replace(b"Login 7", b'"Login 7')), 65,
            ("invalid CSV in the record that starts in line 9", "the quote is written twice")),
    Mistake("47d", "a cell too many", row(6, "T-1", "a", "b", "Billing", "c"), 65,
            ("has 1 broken row: line 6: 5 cells, but the header has 4: a cell with a comma in it is put in quotes",)),
    Mistake("47e", "a JSON array", lambda desk: (desk.set("data.seed.uri", desk.csv.with_suffix(".json").as_uri()),
            desk.csv.with_suffix(".json").write_text(json.dumps([{"Subject": "a"}]))), 65,
            ("tickets.json: is a single JSON document", "jq -c '.[]' converts an array")),
    Mistake("47f", "JSON Lines by the name of a CSV", content(lambda _: b'{"Subject": "a"}\n'), 65,
            ("tickets.csv: holds JSON, unlike its name says: rename it to .jsonl",)),
    Mistake("48", "a seed set of five rows", sized(6, 1), 143,
            (TRAINING,), ("warning: data.seed has only 5 rows, which the student memorizes", "warning: data.evaluation has only 1 row,")),
    Mistake("49", "an evaluation set of two rows", sized(120, 2), 143, (TRAINING,),
            ("warning: data.evaluation has only 2 rows, so one row more or less is 0.5 of the score",)),
    Mistake("50", "the whole seed set is held out", field("data.evaluation.fromSeed", {"fraction": "1"}), 65,
            ("spec.data.evaluation.fromSeed: cannot hold out 120 of the 120 rows of data.seed",)),
    Mistake("50b", "more than the seed set is held out", field("data.evaluation.fromSeed.count", 500), 65,
            ("cannot hold out 500 of the 120 rows of data.seed",)),
    Mistake("51", "answers of one token", field("evaluate", {"sampling": {"maxTokens": 1}}), 64,
            ("spec.evaluate.sampling.maxTokens: 1 cuts every right answer off", "the shortest has 2 tokens", "set 2 or more, or leave it out")),
    Mistake("52", "rows of eight tokens", field("train.hyperparameters.maxLength", 8), 65,
            ("has 120 broken rows", "more tokens than spec.train.hyperparameters.maxLength 8: the longest row needs 16")),
    Mistake("53", "a budget of 1,000 tokens", field("budget", {"maxTeacherTokens": 1000}), 143, (TRAINING,),
            ("warning: spec.budget.maxTeacherTokens (1000) pays for about 7 of the teacher's rows, and the run may ask for 60",)),
)  # fmt: skip
"""Shown by `llm2llm run`, most of them by Prepare, before anything is trained."""

AROUND_THE_RUN = (
    Mistake("28", "a model without its config", model(lambda folder: (folder / "config.json").unlink()), 64,
            ("/model has no config.json: check spec.student.model.uri",)),
    Mistake("28b", "no such folder", model(shutil.rmtree), 64, ("/model does not exist or is empty: check spec.student.model.uri",)),
    Mistake("29", "a model without weights", model(lambda folder: (folder / "model.safetensors").unlink()), 64,
            ("/model has no *.safetensors weights",)),
    Mistake("30", "a model without its tokenizer", model(lambda folder: [path.unlink() for path in folder.glob("tokenizer*")]), 64,
            ("spec.student.model: the tokenizer is missing: the model's folder has neither tokenizer.json nor tokenizer.model",)),
    Mistake("31", "a Git LFS pointer", model(lambda folder: (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")), 64,
            ("spec.student.model: model.safetensors is a Git LFS pointer and not the weights: fetch them with `git lfs pull`",)),
    Mistake("31b", "truncated weights", model(lambda folder: (folder / "model.safetensors").write_bytes(b"\x40" + bytes(7) + b'{"a":')), 64,
            ("spec.student.model: model.safetensors is no safetensors file, or was cut: it has 13 bytes",)),
    Mistake("32", "the Hub without a network", lambda desk: (desk.set("student.model.uri", "hf://Qwen/Qwen2.5-0.5B")), 75,
            ("hf://Qwen/Qwen2.5-0.5B at revision main: the Hugging Face Hub cannot be reached: ", "HF_ENDPOINT"), asked=4),
    Mistake("33", "no Secret", secret(""), 66, ("Secret teacher, key api-key is missing: add --secret teacher/api-key=ENVVAR",), asked=0),
    Mistake("34", "a typo in a Secret's name", secret("teecher/api-key=MY_KEY"), 66,
            ("Secret teacher, key api-key is missing",), ("--secret teecher/api-key: no field of the spec names", "did you mean teacher/api-key?"), asked=0),
    Mistake("34b", "a typo in a Secret's key", secret("teacher/apikey=MY_KEY"), 66,
            ("Secret teacher, key api-key is missing",), ("did you mean teacher/api-key?",), asked=0),
    Mistake("34c", "a Secret that nothing uses", lambda desk: desk.arguments.extend(["--secret", "other/key=MY_KEY"]), 143,
            ("warning: --secret other/key: no field of the spec names this Secret and key",)),
    Mistake("35", "the key in place of its variable", secret(f"teacher/api-key={KEY}"), 64,
            ("--secret teacher/api-key: no environment variable has the name that follows the =", "if that is the key itself"), asked=0),
    Mistake("35b", "the key alone", secret(KEY), 64, ("--secret ...: must be NAME/KEY=ENVVAR",), asked=0),
    Mistake("35c", "a typo in the variable's name", secret("teacher/api-key=MY_KEYS"), 64, ("did you mean MY_KEY?",), asked=0),
    Mistake("36", "a wrong key", lambda desk: setattr(desk.teacher, "key", "another"), 66,
            ("refused the key (401): check Secret teacher, key api-key (spec.generate.teacher.apiKeySecretRef)",), ("run the same command again",)),
    Mistake("37", "an address without /v1", lambda desk: desk.set("generate.teacher.baseUrl", desk.teacher.base_url.removesuffix("/v1")), 64,
            ("(404): check spec.generate.teacher.model and baseUrl, which mostly ends in /v1",)),
    Mistake("37b", "the address of a request", lambda desk: desk.set("generate.teacher.baseUrl", desk.teacher.base_url + "/chat/completions"), 64,
            ("(404): remove /chat/completions from the end of baseUrl, which the client adds",)),
    Mistake("38", "a port where nothing listens", field("generate.teacher.baseUrl", "http://127.0.0.1:9/v1"), 75,
            ("the teacher http://127.0.0.1:9/v1 cannot be reached: nothing listens there (connection refused)",)),
    Mistake("38b", "a host that there is not", field("generate.teacher.baseUrl", "http://no-such-host.invalid/v1"), 75,
            ("cannot be reached: its name is unknown here: check its spelling",)),
    Mistake("38c", "https where http is spoken", lambda desk: desk.set("generate.teacher.baseUrl", desk.teacher.base_url.replace("http", "https")), 75,
            ("cannot be reached: it speaks no TLS: write http:// instead of https://",)),
    Mistake("39", "a wrong model", teacher(404, error("The model `my-teacher` does not exist", "model_not_found")), 64,
            ("does not know the model 'my-teacher' (404): check spec.generate.teacher.model",)),
    Mistake("40", "an empty account", teacher(429, error("You exceeded your current quota.", "insufficient_quota")), 67,
            ("the account is out of credit, or its key has expired (429 You exceeded your current quota.): renew it",)),
    Mistake("41", "a teacher that writes prose", teacher(200, "Sure, here is a ticket: my bill is too high."), 64,
            ("gave 3 answers that generation could not use: there is no JSON object in it: it wrote 'Sure, here is a ticket",), asked=3),
    Mistake("41b", "a teacher that writes one row again and again", teacher(200, json.dumps({"subject": "Invoice 0", "body": "the amount on my invoice is wrong by 0"})),
            143, (TRAINING,), ("warning: the filters reject all 3 rows that the teacher", "wrote as a trial ("), asked=3),
    Mistake("56", "rows that were edited after the run began", lambda desk: (desk.prepare(), desk.rows.pop()), 70,
            ("tickets.csv (spec.data.seed) has changed since this run began: restore it, or use another --workdir",)),
    Mistake("57", "another experiment in the same folder", lambda desk: (desk.prepare(), desk.set("train.hyperparameters", {"learningRate": "0.001"})), 70,
            ('belongs to another experiment (spec.train.hyperparameters.learningRate was "2e-4", is now "0.001"): use another --workdir',)),
    Mistake("60", "a file as work folder", lambda desk: (desk.folder / "out").write_text(""), 64, ("/out is a file: name a folder",), asked=0),
    Mistake("61", "no work folder", lambda desk: setattr(desk, "arguments", desk.arguments[2:]), 66,
            ("there are no credentials for bucket unused at AWS",), ("spec.artifacts.uri is s3://unused/runs: pass --workdir FOLDER",), asked=0),
    Mistake("62", "a path without spec", lambda desk: desk.arguments.extend(["--set", "maxIterations=2"]), 64,
            ("maxIterations: unknown field: did you mean spec.maxIterations?",), asked=0),
)  # fmt: skip
"""Shown by `llm2llm run`: models, keys, endpoints, and work folders."""

ELSEWHERE = {
    "54": ("tests/integration/local/test_run.py", "test_interrupted_it_goes_on_and_ends_with_the_same_bytes"),
    "55": ("tests/integration/local/test_run.py", "test_the_same_command_again_does_nothing_and_tells_the_same"),
    "58": ("tests/integration/local/test_hold.py", "test_fault_66_of_two_commands_in_one_folder_one_says_who_works_there"),
    "59": ("tests/integration/data_plane/test_on_s3.py", "test_fault_47_a_full_disk_is_transient_and_leaves_the_bucket_as_it_was"),
    "63": ("tests/unit/cli/test_start.py", "test_a_library_that_is_missing_is_named_with_what_to_install"),
    "64": ("tests/e2e/test_bad_input.py", "test_fault_28_a_missing_secret_is_told_and_the_run_goes_on_once_it_exists"),
    "65": ("tests/integration/data_plane/test_s3.py", "test_a_bucket_that_is_not_there_is_a_mistake_in_the_spec"),
    "66": ("tests/e2e/test_bad_input.py", "test_fault_23_a_run_that_asks_for_more_gpus_than_there_are_says_so_in_the_schedulers_words"),
    "67": ("tests/unit/control_plane/decide/policies/test_edits.py", "test_fault_65_an_edit_replaces_a_job_that_has_not_started_and_costs_no_retry"),
    "68": ("tests/integration/control_plane/test_transitions.py", "test_fault_16_an_identity_field_cannot_get_another_value"),
    "69": ("tests/unit/control_plane/decide/test_attempt.py", "test_fault_17_a_job_that_somebody_deleted_is_collected_first_and_then_done_again"),
}  # fmt: skip
"""Mistakes that need more than a command on a laptop, and the test that shows what is said."""
