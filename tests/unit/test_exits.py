import pytest

from trainer.exits import Exit, from_wait_status, is_final, meaning


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7])
def test_codes_of_known_causes_are_final(code: int) -> None:
    assert is_final(code)


@pytest.mark.parametrize("code", [Exit.WATCHDOG, 137, Exit.INFRASTRUCTURE, Exit.CRASH, Exit.PREEMPTED])
def test_codes_from_128_up_may_be_tried_again(code: int) -> None:
    assert not is_final(code)


def test_a_death_by_signal_reads_as_in_a_shell() -> None:
    assert from_wait_status(-9) == 137
    assert from_wait_status(3) == 3


def test_every_code_has_words() -> None:
    assert all(meaning(code) for code in (*Exit, 137))
    assert meaning(135) == "killed by signal 7"
