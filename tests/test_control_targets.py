"""What control is measured by on real text: published targets, annotation that stands in the text, strings."""

from __future__ import annotations

import json

from benchmarks.control_targets import as_strings, by_strings, stated
from mezzotint import Wanted
from mezzotint.evaluate.control import control_scores


def test_a_published_target_is_a_field_and_its_value_where_texts_have_it_as_a_string():
    assert stated('["food", ":", "Fast", "food"]') == ("food", "Fast food")
    assert stated('["Type", ":", "coffee", "shop"]') == ("eatType", "coffee shop")
    assert stated('["family", "friendly", ":", "yes"]') is None
    assert stated(json.dumps(["price", ":", "cheap"])) is None


def test_a_field_is_said_where_its_value_stands_and_a_length_is_exact():
    wanted = Wanted(says=(("food", "Fast food"),), length=6)
    goal = as_strings(wanted)
    texts = ["Cotto sells Fast food here.", "Cotto sells Fast foods here.", "Fast food at Cotto."]
    scores = {s.name: s.value for s in control_scores([goal] * 3, texts, by_strings)}
    assert scores["success"] == 1 / 3 and scores["length"] == 2 / 3 and scores["has"] == 2 / 3
    assert scores["success_near"] == 1.0
