import shlex

from csidriver.core.login_command import ask_for_login, login_command
from csidriver.core.names import SourceRef


def test_a_text_ends_in_the_command() -> None:
    text = ask_for_login("log in again", SourceRef("physics", "hello-token"))
    assert text == "log in again; run: kubectl oauth2-csi login hello-token -n physics"


def test_no_name_is_more_than_one_word_of_a_shell() -> None:
    words = shlex.split(login_command(SourceRef("$(a)", "b; rm -r c")))
    assert words == ["kubectl", "oauth2-csi", "login", "b; rm -r c", "-n", "$(a)"]
