"""What students really write, and how each grader takes it: at least 40 awkward answers a type.

`ok` right, `no` another answer, `--` none that counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from llm2llm.api.data import Task
from llm2llm.tasks import task_of
from llm2llm.tasks.grading import CORRECT, NO_ANSWER, WRONG

VERDICTS = {"ok": CORRECT, "no": WRONG, "--": NO_ANSWER}
LEAST = 40

# GSM8K, where the row's answer is "12 * 6 = 72\n#### 72"
MARKED = [
    ("#### 72", "ok"), ("####72", "ok"), ("####    72", "ok"), ("#### 72\n", "ok"), ("#### 72.", "ok"), ("#### 72.0", "ok"),
    ("#### 72.00", "ok"), ("#### +72", "ok"), ("#### $72", "ok"), ("#### 72$", "ok"), ("#### \u20ac72", "ok"), ("#### 72%", "ok"),
    ("#### 72 pens", "ok"), ("#### 72pens", "ok"), ("#### **72**", "ok"), ("#### 144/2", "ok"), ("#### 72/1", "ok"), ("#### 7.2e1", "ok"),
    ("#### The answer is 72", "ok"), ("#### = 72", "ok"), ("#### 72 (72 pens)", "ok"), ("12 * 6 = 70\n#### 72", "ok"),
    ("#### 70\n#### 72", "ok"), ("#### 72\nIs that right? 71", "ok"), ("#### 72\n\nQuestion: What is 3 + 4?", "ok"),
    ("##### 72", "ok"), ("Question: 12 * 6?\nAnswer: 12 * 6 = 72\n#### 72", "ok"), ("\u2212\n#### 72", "ok"),
    ("#### 72\n#### 70", "no"), ("#### -72", "no"), ("#### \u221272", "no"), ("#### - 72", "no"), ("#### 7.2", "no"), ("#### 0.72", "no"),
    ("#### 720", "no"), ("#### 7,200", "no"), ("#### 72,000", "no"), ("#### 72 1/2", "no"), ("#### 1/72", "no"), ("#### 0", "no"),
    ("72", "--"), ("The answer is 72.", "--"), ("12 * 6 = 72", "--"), ("### 72", "--"), ("# # # # 72", "--"), ("####", "--"), ("####\n72", "ok"),
    ("#### seventy-two", "--"), ("#### 72 or 73", "--"), ("#### 12 * 6", "--"), ("#### 12 * 6 = 72", "--"), ("#### 7 2", "--"), ("#### 7,2", "--"),
    ("#### x72", "--"), ("#### 72:1", "--"), ("#### 8^2", "--"), ("", "--"), ("#### NaN", "--"), ("#### inf", "--"), ("#### 72/0", "--"),
]  # fmt: skip
# GSM8K: the row's number, and what students make of it
CALCULATED = {
    "126": [("#### 12*6", "--"), ("#### 12 * 6", "--"), ("#### 12$6", "--"), ("#### 12_6", "--"), ("#### *126*", "ok"), ("#### ____126____", "ok"), ("#### __126__", "ok"), ("#### _126_ pens", "ok"),
            ("#### $126$", "ok"), ("#### ***126***", "ok"), ("#### `126`", "ok"), ("#### \\$126", "ok"), ("#### **$126**", "ok"), ("#### **The answer is 126**", "ok")],
    "23": [("#### 2**3", "--"), ("#### 2*3", "--"), ("#### 2**3**", "--"), ("#### **2**3", "--")],
    "8": [("#### 2**3", "--")],
    "1": [("#### 1\u00bd cups", "no"), ("#### 1e9999", "--"), ("#### 1e5", "no"), ("#### 1 x 1", "--"), ("#### 1/1", "ok")],
    "2": [("#### 2\u00bd", "no"), ("#### -2\u00bd", "no"), ("#### 2 or so", "ok")],
    "1.5": [("#### 1\u00bd cups", "ok"), ("#### 1 \u00bd", "ok"), ("#### 3/2", "ok"), ("#### 1 1/2", "ok"), ("#### 6\u20444", "ok"), ("#### \u00bd", "no")],
    "3/2": [("#### 1\u00bd", "ok"), ("#### 1.5", "ok")],
    "1250.75": [("#### 1,250\u00be", "ok"), ("#### $1,250\u00be", "ok")],
    "-1/3": [("#### -\u2153", "ok"), ("#### \u2153", "no"), ("#### -\u2154", "no"), ("#### -\u00bc", "no")],
    "10": [("#### 10\u00b2", "--"), ("#### 10 m\u00b2", "ok"), ("#### 10\u207b\u00b9", "--"), ("#### \u221a10", "--"), ("#### 10m2", "ok")],
    "6": [("#### 6 * 6", "--"), ("#### 6*6", "--"), ("#### 6+6", "--"), ("#### 6 + 6", "--"), ("#### 6 \u00d7 6", "--"), ("#### 6x6", "--"), ("#### 6 x 6", "--"),
          ("#### 6 \\times 6", "--"), ("#### 6 \u00f7 6", "--"), ("#### 6 pens * 6", "--"), ("#### 6kg-6kg", "--"), ("#### \\frac{6}{6}", "--"), ("#### 6 * 1 = 6", "--"),
          ("#### 6 = 6", "ok"), ("#### 6 (that is 6)", "ok"), ("#### 6 - that is 6", "ok"), ("#### **6** pens, so *6*", "ok"), ("#### \\boxed{6}", "ok")],
    "50": [("#### 50-50", "--"), ("#### 50\u201350", "--"), ("#### 50%-50%", "--"), ("#### 50 - 50", "--"), ("#### 50%", "ok")],
    "72000": [("#### 72_000", "ok"), ("#### 7_2000", "--"), ("#### 72", "no")],
}  # fmt: skip
# Numeric without a marker, where the row's answer is -1,250.5
NUMBERS = [
    ("-1250.5", "ok"), ("-1,250.5", "ok"), ("-1,250.50", "ok"), ("\u22121250.5", "ok"), ("- 1250.5", "ok"), (" -1250.5 \n", "ok"),
    ("-2501/2", "ok"), ("-1250 1/2", "ok"), ("-$1,250.50", "ok"), ("$-1250.50", "ok"), ("-1250.5 \u20ac", "ok"), ("-1250.5%", "ok"),
    ("-1250.5 m", "ok"), ("-1250.5m", "ok"), ("The balance is -1250.5.", "ok"), ("**-1250.5**", "ok"), ("= -1250.5", "ok"), ("-1.2505e3", "ok"),
    ("-1250.5 (-1250.5 in all)", "ok"), ("-1250.5, that is -2501/2", "ok"), ("-1\u202f250.5", "ok"),
    ("1250.5", "no"), ("+1250.5", "no"), ("-1250", "no"), ("-1251", "no"), ("-12505", "no"), ("-125.05", "no"), ("1,250.5", "no"), ("0", "no"),
    ("-1250.50001", "no"), ("1e-3", "no"), ("-1,250", "no"), ("50%", "no"),
    ("", "--"), (" ", "--"), ("minus a thousand", "--"), ("-1250.5 or 1250.5", "--"), ("5 - 1255.5", "--"), ("-1.250,5", "--"), ("-12,50.5", "--"),
    ("1250.5-", "no"), ("-1 250.5", "--"), ("--", "--"), ("-", "--"), ("x-1250.5", "no"), ("2024-01-05", "--"), ("-1250.5 = 4 - 1254.5", "--"), ("1/0", "--"),
]  # fmt: skip
# SST2, TREC, SNIPS and CaseHOLD, where the row's label is `positive`, `HUM`, `GetWeather` and `C`
CHOICES = {
    "SST2": ("positive", [
        ("positive", "ok"), ("Positive", "ok"), ("POSITIVE", "ok"), (" positive", "ok"), ("positive\n", "ok"), ("\tpositive\r\n", "ok"), ("\u00a0positive", "ok"),
        ("negative", "no"), ("Negative ", "no"),
        ("", "--"), ("\n", "--"), ("positive.", "--"), ('"positive"', "--"), ("**positive**", "--"), ("the positive", "--"), ("a positive", "--"),
        ("Sentiment: positive", "--"), ("positive negative", "--"), ("not positive", "--"), ("positively", "--"), ("positives", "--"),
        ("nonpositive", "--"), ("pos", "--"), ("1", "--"), ("positive\nReview: dull", "--"), ("posi tive", "--"), ("neutral", "--"), ("\uff50ositive", "--"),
    ]),
    "TREC": ("HUM", [
        ("HUM", "ok"), ("hum", "ok"), (" Hum\n", "ok"), ("NUM", "no"), ("loc", "no"), ("abbr", "no"), ("human", "--"), ("HUM:ind", "--"), ("HUM, LOC", "--"),
        ("a person", "--"), ("3", "--"), ("HUM?", "--"), ("hummus", "--"), ("Type: HUM", "--"),
    ]),
    "SNIPS": ("GetWeather", [
        ("GetWeather", "ok"), ("getweather", "ok"), ("GETWEATHER ", "ok"), ("PlayMusic", "no"), ("ratebook", "no"), ("Get Weather", "--"), ("get_weather", "--"),
        ("GetWeather PlayMusic", "--"), ("weather", "--"), ("GetWeathers", "--"), ("intent: GetWeather", "--"), ("2", "--"),
    ]),
    "CaseHOLD": ("C", [
        ("C", "ok"), ("c", "ok"), (" C \n", "ok"), ("A", "no"), ("e", "no"), ("C.", "--"), ("(C)", "--"), ("C) holding that", "--"), ("Answer: C", "--"), ("2", "--"),
        ("A C", "--"), ("F", "--"), ("CC", "--"), ("<HOLDING>", "--"), ("holding that a notice is received", "--"), ("\u0421", "--"),
    ]),
}  # fmt: skip
# ExactMatch, where the row's answer is "New York"
EXACT = [
    ("New York", "ok"), (" New York", "ok"), ("New York \n", "ok"), ("\tNew York\t", "ok"), ("\r\nNew York\r\n", "ok"), ("\u00a0New York\u00a0", "ok"),
    ("new york", "no"), ("NEW YORK", "no"), ("New york", "no"), ("New  York", "no"), ("New\nYork", "no"), ("New\tYork", "no"), ("New\u00a0York", "no"),
    ("NewYork", "no"), ("New-York", "no"), ("New York.", "no"), ("New York,", "no"), ('"New York"', "no"), ("'New York'", "no"), ("**New York**", "no"),
    ("The New York", "no"), ("in New York", "no"), ("New York City", "no"), ("New York New York", "no"), ("York", "no"), ("New", "no"), ("New Yorks", "no"),
    ("N. Y.", "no"), ("Nueva York", "no"), ("New York\nLondon", "no"), ("Answer: New York", "no"), ("London", "no"), ("0", "no"), ("None", "no"), ("-", "no"),
    ("Ne\u200bw York", "no"), ("\uff2eew York", "no"), ("New Y\u043erk", "no"), ("{{ answer }}", "no"), ("$(answer)", "no"),
    ("", "--"), (" ", "--"), ("\n\n", "--"), ("\u00a0", "--"), ("\u3000", "--"),
]  # fmt: skip
# Regex `colou?r: *(\w+)`, where the row's answer is "color: Blue"
FOUND = [
    ("color: Blue", "ok"), ("color: blue", "ok"), ("color: BLUE", "ok"), ("colour: blue", "ok"), ("color:blue", "ok"), ("color:    blue", "ok"), (" color: blue ", "ok"),
    ("color: blue.", "ok"), ("color: blue, I think", "ok"), ("The color: blue", "ok"), ("It is red. color: blue", "ok"), ("color: red\ncolor: blue", "ok"),
    ("color: red; colour: blue", "ok"), ("my favouritecolor: blue", "ok"), ("color: blue\ncolor:", "ok"), ("color: blue-green", "ok"), ('"color: blue"', "ok"), ("color: blue\n\n", "ok"),
    ("color: red", "no"), ("color: bluish", "no"), ("color: blue\ncolor: red", "no"), ("color: dark blue", "no"), ("color: the blue", "no"), ("color: _blue", "no"),
    ("color: b", "no"), ("color: 7", "no"), ("color: blue color: green", "no"), ("color: bl ue", "no"), ("color: blue2", "no"), ("colour: 蓝", "no"),
    ("", "--"), (" ", "--"), ("blue", "--"), ("Color: blue", "--"), ("COLOR: blue", "--"), ("color blue", "--"), ("color = blue", "--"), ("color : blue", "--"), ("colors: blue", "--"),
    ("color: ", "--"), ("color:", "--"), ('color: "blue"', "--"), ("color: *blue*", "--"), ("color:\nblue", "--"), ("colouur: blue", "--"),
]  # fmt: skip


def judged(task: Task, completion: str, answers: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The answers that are taken in another way than the table says, with both ways."""
    judge = task_of(task)
    assert judge.grade(completion, completion)[1] == CORRECT
    names = {verdict: name for name, verdict in VERDICTS.items()}
    found = [(answer, told, names[judge.grade(answer, completion)[1]]) for answer, told in answers]
    return [case for case in found if case[1] != case[2]]


def test_gsm8k_and_its_marker():
    assert len(MARKED) >= LEAST
    assert judged(Task(preset="GSM8K"), "12 * 6 = 72\n#### 72", MARKED) == []


@pytest.mark.parametrize("number", CALCULATED)
def test_gsm8k_and_what_is_more_than_a_number(number: str):
    assert judged(Task(preset="GSM8K"), f"#### {number}", CALCULATED[number]) == []


@pytest.mark.parametrize("answer", ["7" * 5000, "1 1/" + "7" * 5000, "7" * 5000 + " 1/2"])
def test_digits_without_end_are_no_answer_and_no_crash(answer: str):
    assert judged(Task(preset="GSM8K"), "#### 7", [(f"#### {answer}", "--")]) == []


def test_bullets_of_a_list_are_no_operators():
    task = Task.model_validate({"promptTemplate": "x", "grader": {"type": "Numeric"}})
    assert judged(task, "72", [("* It is 72\n* So 72", "ok"), ("* 72\n* 72", "ok")]) == []


def test_numeric():
    assert len(NUMBERS) >= LEAST
    spec = {"promptTemplate": "x", "grader": {"type": "Numeric"}}
    assert judged(Task.model_validate(spec), "-1,250.5", NUMBERS) == []


@pytest.mark.parametrize("preset", CHOICES)
def test_choice(preset: str):
    label, answers = CHOICES[preset]
    assert sum(len(of_preset) for _, of_preset in CHOICES.values()) >= LEAST
    assert judged(Task.model_validate({"preset": preset}), label, answers) == []


def test_exact_match():
    assert len(EXACT) >= LEAST
    assert judged(Task.model_validate({"promptTemplate": "x"}), "New York", EXACT) == []


def test_regex():
    assert len(FOUND) >= LEAST
    spec = {"promptTemplate": "x", "grader": {"type": "Regex", "pattern": r"colou?r: *(\w+)"}}
    assert judged(Task.model_validate(spec), "color: Blue", FOUND) == []
