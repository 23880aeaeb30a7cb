from csidriver.demo.presentation_log import Outcome, Presentation, most_presentations


def row(token: str, outcome: Outcome) -> Presentation:
    return Presentation(0.0, "app", token, outcome, "")


def test_only_rotated_tokens_count_with_all_their_presentations() -> None:
    log = [
        row("first", Outcome.INVALID_SCOPE),
        row("first", Outcome.ROTATED),
        row("first", Outcome.REPLAYED),
        row("second", Outcome.ROTATED),
        *[row("never rotated", Outcome.UNKNOWN)] * 5,
    ]
    assert most_presentations(log) == 3


def test_without_a_rotation_there_is_nothing_to_count() -> None:
    assert most_presentations([row("first", Outcome.UNKNOWN)]) == 0
