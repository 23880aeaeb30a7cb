"""Ages, compared with the table in k8s.io/apimachinery's own test of HumanDuration."""

import pytest

from csidriver.kubectl.output.ages import human_duration

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365 * DAY


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (-0.5, "0s"),
        (0, "0s"),
        (1, "1s"),
        (70, "70s"),
        (119.9, "119s"),
        (2 * MINUTE, "2m"),
        (5 * MINUTE + 12, "5m12s"),
        (190, "3m10s"),
        (10 * MINUTE + 5, "10m"),
        (70 * MINUTE, "70m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 10 * MINUTE, "3h10m"),
        (47 * HOUR, "47h"),
        (49 * HOUR, "2d1h"),
        (7 * DAY, "7d"),
        (8 * DAY + 2 * HOUR, "8d"),
        (2 * YEAR - HOUR, "729d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"),
        (9 * YEAR + 3 * DAY, "9y"),
    ],
)
def test_a_duration_is_spelled_as_kubectl_does(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
