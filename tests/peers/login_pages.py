"""What a person does on the pages of authorization servers."""

from dataclasses import dataclass

from tests.browser import Browser

USER = "alice"  # and the same password


@dataclass(frozen=True, slots=True)
class Pages:
    """A server's pages: elements as CSS selectors, "" for what a server does not ask.

    No selector fits two pages, as the browser may still show the one before.
    A code is typed into `code` and sent with `enter`; `confirm` follows, for a code in the address
    too. `done` and `denied` are what the last page of a device login says.
    """

    allow: str
    deny: str
    done: str
    denied: str
    code: str
    enter: str = ""
    confirm: str = ""
    name: str = ""
    password: str = ""
    sign_in: str = ""

    def decide_device(
        self, browser: Browser, address: str, *, code: str = "", allow: bool = True
    ) -> None:
        """Open the page of a device login, type the code unless the address has it, and decide."""
        browser.open(address)
        if code:
            browser.fill(self.code, code)
            self._click(browser, self.enter)
        self._click(browser, self.confirm)
        self.decide(browser, allow=allow)
        browser.wait_for(self.done if allow else self.denied)

    def decide(self, browser: Browser, *, allow: bool = True) -> None:
        """Sign in where the server asks for that, then allow or deny."""
        self.authenticate(browser)
        browser.click(self.allow if allow else self.deny)

    def authenticate(self, browser: Browser) -> None:
        """Sign in where the server asks for that."""
        if self.sign_in:
            browser.fill(self.name, USER)
            browser.fill(self.password, USER)
            browser.click(self.sign_in)

    @staticmethod
    def _click(browser: Browser, selector: str) -> None:
        if selector:
            browser.click(selector)


OIDC_PROVIDER = Pages(
    allow="form:has([value=consent]) .login-submit",
    deny="body:has([value=consent]) .login-help a",
    done="you can now close this page",
    denied="was interrupted",
    code="[name=user_code]",
    enter="[form='op.deviceInputForm']",
    confirm="[form='op.deviceConfirmForm'][autofocus]",
    name="[name=login]",
    password="[name=password]",
    sign_in="form:has([name=login]) .login-submit",
)
KEYCLOAK = Pages(
    allow="#kc-login[name=accept]",
    deny="#kc-cancel",
    done="Device Login Successful",
    denied="Device Login Failed",
    code="#device_user_code",
    enter="#kc-user-verify-device-user-code-form #kc-login",
    name="#username",
    password="#password",
    sign_in="#kc-login[name=login]",
)
