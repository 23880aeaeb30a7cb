"""A browser without scripts: it reads the forms of a page, fills them in and presses a button."""

from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

from tests.demo.client import TIMEOUT


class Form(HTMLParser):
    """The one form of a page."""

    def __init__(self, page: requests.Response) -> None:
        super().__init__()
        self.url = page.url
        self.fields: dict[str, str] = {}
        self.buttons: dict[str, tuple[str, str]] = {}
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert values["method"] == "post"
            self.url = urljoin(self.url, values["action"])
        elif tag == "input":
            self.fields[values["name"]] = values["value"]
        elif tag == "button":
            self.buttons[values["id"]] = values["name"], values["value"]

    def press(self, button: str, **typed: str) -> requests.Response:
        """Send the form; return the answer, which may be a redirect."""
        name, value = self.buttons[button]
        form = {**self.fields, **typed, name: value}
        return requests.post(self.url, data=form, timeout=TIMEOUT, allow_redirects=False)


def open_form(url: str) -> Form:
    return Form(requests.get(url, timeout=TIMEOUT, allow_redirects=False))
