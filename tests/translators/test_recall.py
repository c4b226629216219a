"""Under which names signed reasoning is looked up."""

from translators.recall import anchor, text_key, text_of, wanted

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_tool_calls_by_id_and_text_by_its_hash_each_once() -> None:
    chat = {
        "messages": [
            {"role": "user", "content": "not this"},
            {"role": "assistant", "content": "thinking aloud", "tool_calls": [CALL, CALL | {"id": "call_2"}]},
            {"role": "assistant", "content": "The answer"},
            {"role": "assistant", "content": [{"type": "text", "text": "The "}, {"type": "text", "text": "answer"}]},
            {"role": "assistant", "content": None},
        ]
    }
    assert list(wanted(chat)) == ["call_1", "call_2", text_key("The answer")]


def test_a_client_that_sends_its_reasoning_back_needs_none() -> None:
    message = {
        "role": "assistant",
        "content": "x",
        "tool_calls": [CALL],
        "reasoning_details": [{"type": "reasoning.text"}],
    }
    assert wanted({"messages": [message]}) == {}


def test_keys_differ_by_text_and_bear_any_text() -> None:
    assert text_key("a") != text_key("b") and text_key("a") == text_key("a")
    assert text_key("\ud83d").startswith("text:")
    assert text_of(None) == "" and text_of([{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "t"}]) == "t"


def test_a_name_counts_only_behind_the_message_that_it_answered() -> None:
    def asked(question: str) -> list[dict[str, object]]:
        return [{"role": "user", "content": question}]

    yes = {"role": "assistant", "content": "Yes."}
    first, other = asked("Is it Alice?"), asked("Is it raining?")
    assert wanted({"messages": [*first, yes]}) == {text_key("Yes."): anchor(first)}
    assert anchor(first) != anchor(other)
    assert anchor([{"role": "system", "content": "It is noon"}, *first]) == anchor(first)


def test_a_question_too_deep_to_be_written_is_told_by_its_text() -> None:
    deep: object = 1
    for _ in range(300):
        deep = {"a": deep}

    def asked(question: str) -> list[dict[str, object]]:
        return [{"role": "user", "content": [{"type": "text", "text": question, "beside": deep}]}]

    yes = {"role": "assistant", "content": "Yes."}
    first, other = asked("Is it Alice?"), asked("Is it raining?")
    assert wanted({"messages": [*first, yes]}) == {text_key("Yes."): anchor(first)}
    assert anchor(first) != anchor(other)
