"""How a script is called."""

from gateway.ledger import redis_scripts as scripts
from gateway.ledger.redis_scripts import call, keys, script
from tests.gateway.ledger.requests import said


def test_a_script_is_called_by_its_hash_or_by_its_text() -> None:
    made = call(scripts.LOCK, keys("root", "é"), ["me", 5, 1.5, b""])
    assert said(made) == [b"EVALSHA", scripts.LOCK.sha.encode(), b"2", b"root", "é".encode(), b"me", b"5", b"1.5", b""]
    head = b"*9\r\n$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(scripts.LOCK.text), scripts.LOCK.text.encode())
    by_text = made.by_text()
    assert by_text.startswith(head)
    assert made.command.endswith(by_text.removeprefix(head))


def test_a_script_is_known_by_all_of_its_text() -> None:
    assert script(scripts.RESERVE.text) == scripts.RESERVE
    assert script(scripts.RESERVE.text + " ").sha != scripts.RESERVE.sha
