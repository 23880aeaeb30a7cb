from csidriver.core.refresh.effects import Effect, Nonce, Now, drive
from csidriver.core.refresh.state import Effects
from csidriver.errors import StoreConflict


def steps() -> Effects[str]:
    try:
        now = yield from Now()
    except StoreConflict:
        now = 0.0
    nonce = yield from Nonce()
    return f"{nonce} at {now}"


def test_a_result_comes_back_and_a_driver_error_is_thrown_into_the_generator() -> None:
    def perform(effect: Effect[object]) -> str:
        if isinstance(effect, Now):
            raise StoreConflict("moved")
        return "n1"

    assert drive(steps(), perform) == "n1 at 0.0"
