"""Held-out rows never become training rows, in any disguise that the rules name."""

from __future__ import annotations

import pytest

from llm2llm.augment.decontaminate import held_out
from llm2llm.records import Example


def row(text: str, name: str = "e1") -> Example:
    return Example(id=name, fields={"question": text}, completion="x")


def words(count: int, prefix: str = "w") -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


EIGHT = words(8)
TEN = words(10)
THIRTEEN = words(13)
TWENTY = words(20)
CHINESE = "小明有十二个苹果他给了小红五个又买了八个现在他一共有几个"
THAI = "แม่ค้าขายส้มสามกิโลกรัมและกล้วยห้าหวี"
HINDI = "राम के पास बारह सेब हैं और वह पाँच दे देता है"
ARABIC = "سافر أحمد من القاهرة إلى مدينة أخرى بالقطار صباح اليوم الباكر"


@pytest.mark.parametrize(
    ("held", "asked", "leaks"),
    [
        pytest.param("what is it", "What  IS it?", True, id="a short row is refused as an equal sequence, case aside"),
        pytest.param("what is it", "what is it now", False, id="below 8 words one word more is another row"),
        pytest.param(EIGHT, EIGHT, True, id="8 words: the same row"),
        pytest.param(EIGHT, words(7) + " other", False, id="8 words: 7 in common are F1 0.875, below 0.9"),
        pytest.param(EIGHT, EIGHT + " more", True, id="8 words: one word more is F1 0.94"),
        pytest.param(TEN, words(9) + " other", True, id="10 words: 9 in common are F1 0.9, which is refused"),
        pytest.param(TEN, words(8) + " another one", False, id="10 words: 8 in common are F1 0.8"),
        pytest.param(THIRTEEN, "before " + THIRTEEN + " after", True, id="13 words: contained in a longer row"),
        pytest.param(THIRTEEN, words(12) + " other", False, id="13 words: 12 in a row are not 13"),
        pytest.param(TWENTY, words(13), True, id="a 13-gram of a longer held-out row"),
        pytest.param("Straße zum Glück", "STRASSE ZUM GLÜCK", True, id="case folding, not lowercasing"),
        pytest.param("schöne Grüße", "scho\u0308ne Gru\u0308ße", True, id="another encoding of the same letters"),
        pytest.param("ｔｏｔａｌ １２", "total 12", True, id="full width letters and digits"),
        pytest.param(CHINESE, CHINESE + "吗", True, id="Chinese: one character more"),
        pytest.param(
            CHINESE, "请问：" + CHINESE[:14] + "多少？", True, id="Chinese: 13 characters of it in another row"
        ),
        pytest.param(CHINESE, "请问：" + CHINESE[:12] + "多少？", False, id="Chinese: 12 are not 13"),
        pytest.param(
            "小明有几个苹果呢", "小明有几个梨子呢", False, id="Chinese, 8 characters: 6 in common are F1 0.75"
        ),
        pytest.param("小明有几个苹果呢", "小明有几个苹果呢？", True, id="Chinese, short: punctuation aside"),
        pytest.param(THAI, THAI + "ครับ", True, id="Thai: a polite word more"),
        pytest.param(THAI, "วันนี้อากาศดีมาก", False, id="Thai: another sentence"),
        pytest.param(HINDI, HINDI + " अब", True, id="Hindi: one word more"),
        pytest.param(ARABIC, ARABIC.replace("القاهرة", "بغداد"), True, id="Arabic: one word of ten is another"),
    ],
)
def test_rule(held: str, asked: str, leaks: bool):
    assert (held_out([row(held)], []).leak({"question": asked}) is not None) == leaks


def test_a_13_gram_of_the_seed_set_is_the_task_s_own_phrase():
    boilerplate = words(13, "task")
    index = held_out([row(f"{boilerplate} held out")], [row(f"{boilerplate} of a seed", "s1")])
    assert index.leak({"question": f"{boilerplate} something new"}) is None
    assert index.leak({"question": f"{boilerplate} held out"}) == "equals held-out row e1"


def test_the_fields_are_compared_in_the_order_of_their_names():
    example = Example(id="e1", fields={"b": "two", "a": "one"}, completion="x")
    assert held_out([example], []).leak({"a": "one", "b": "two"})


def test_the_number_of_words_that_may_not_be_shared_is_the_users():
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    asked = {"question": f"now {' '.join(words.split()[:9])} and then something else entirely follows here today"}
    assert held_out([row(words)], [], ngram=13).leak(asked) is None
    assert "shares 9 words" in (held_out([row(words)], [], ngram=9).leak(asked) or "")
