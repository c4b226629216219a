"""How long answers usually are."""

from gateway.usual import LEAST_TOKENS, MARGIN, MAX_KNOWN, Usual


def test_an_unknown_pair_gets_the_setting_and_a_known_one_room_above_its_longest() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 500)
    usual.learn("key_1", "small", 400)
    assert usual.tokens("key_2", "small") == 256
    assert 500 < usual.tokens("key_1", "small") <= MARGIN * 500


def test_one_long_answer_fades_and_short_ones_still_get_some_room() -> None:
    usual = Usual(256)
    usual.learn("key_1", "small", 100_000)
    for _ in range(500):
        usual.learn("key_1", "small", 3)
    assert usual.tokens("key_1", "small") == LEAST_TOKENS


def test_what_is_known_is_bounded() -> None:
    usual = Usual(1)
    for at in range(MAX_KNOWN + 5):
        usual.learn(f"key_{at}", "small", 9)
    assert usual.tokens("key_0", "small") == 1
    assert usual.tokens(f"key_{MAX_KNOWN + 4}", "small") == LEAST_TOKENS
