import re
from pathlib import Path

from csidriver.core.broker.denial import Denial

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"


def test_the_protocol_lists_every_reason() -> None:
    section = PROTOCOL.read_text(encoding="utf-8").partition("\n## 9. ")[2]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert listed == [denial.value for denial in Denial]
