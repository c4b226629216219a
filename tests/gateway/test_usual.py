"""How long answers usually are."""

from gateway.usual import LEAST_AHEAD, LEAST_TOKENS, MARGIN, MAX_KNOWN, Usual


def test_an_unknown_pair_gets_the_setting_and_a_known_one_room_above_its_longest() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 500, 0)
    usual.learn("key_1", "small", 400, 0)
    assert usual.tokens("key_2", "large") == 256
    assert usual.tokens("key_2", "small") == usual.tokens("key_1", "small")  # new here: what others have seen
    assert 500 < usual.tokens("key_1", "small") <= MARGIN * 500


def test_one_long_answer_fades_and_short_ones_still_get_some_room() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 100_000, 0)
    for _ in range(500):
        usual.learn("key_1", "small", 3, 0)
    assert usual.tokens("key_1", "small") == LEAST_TOKENS


def test_what_is_known_is_bounded() -> None:
    usual = Usual(1)
    for at in range(MAX_KNOWN + 5):
        usual.learn(f"key_{at}", "small", 9, 0)
    assert usual.tokens("key_0", "small") == LEAST_TOKENS  # forgotten, but not the model
    assert len(usual._longest) == MAX_KNOWN
    assert usual.tokens(f"key_{MAX_KNOWN + 4}", "small") == LEAST_TOKENS


def test_where_the_hold_grows_what_is_usual_is_what_the_bytes_bound() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 100, 420)
    assert usual.tokens("key_1", "small", bounded=True) == round(1.25 * 420) + LEAST_AHEAD
    assert usual.tokens("key_1", "small") == MARGIN * 100


def test_a_model_that_is_billed_for_more_than_is_seen_is_known_for_it() -> None:
    usual = Usual(256)
    usual.learn("key_1", "open", 100, 420)
    usual.learn("key_1", "curtained", 900, 420)
    assert usual.seen("open") and usual.seen("unheard-of")
    assert not usual.seen("curtained")


def test_an_odd_answer_teaches_little() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 1, 100_000)
    assert usual.bytes_per_token("small") == 6  # between what is guessed at first, and the most that is likely
    for _ in range(50):
        usual.learn("key_1", "small", 100, 500)
    assert 4.9 < usual.bytes_per_token("small") < 5.1
