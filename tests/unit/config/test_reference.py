"""docs/configuration.md agrees with the model."""

import re
from pathlib import Path

import pytest

from gateway.config.document import read_document
from gateway.config.model import Config, Section
from gateway.config.reference import MARKER, headings, reference, updated
from gateway.config.validate import validate

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


def test_the_page_is_up_to_date(page):
    assert page == updated(page), "run: python -m gateway.config.reference docs/configuration.md"


def test_every_section_and_key_is_in_it(page):
    def sections(section):
        yield section
        for inner in section.__subclasses__():
            yield from sections(inner)

    documented = set(headings())
    described = {
        section
        for section in sections(Section)
        if section.__module__ == Config.__module__ and not section.__subclasses__()
    }
    assert documented == described
    for section in documented:
        for key in section.model_fields:
            assert f"| `{key}` |" in page


def test_links_lead_to_headings(page):
    anchors = {
        re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_the_example_is_a_configuration(page):
    (example,) = re.findall(r"```yaml\n(.+?)```", page, re.DOTALL)
    document = read_document(example.encode(), {})
    config, _, faults = validate(document.tree, Config)
    assert (document.problems, faults) == ((), ())
    assert isinstance(config, Config)


def test_the_rego_of_the_page_adapts_the_policies_of_others(page):
    """What is copied works, with the policies that it is for."""
    from gateway.rego import Policy, compile as compile_rego

    apisix, own = re.findall(r"```rego\n(.*?)```", page, re.DOTALL)
    example = (
        'package example\n\ndefault allow := false\n\nallow if input.request.method == "GET"\n\n'
        "status_code := 405 if not allow\n\nunrelated := 1\n"
    )
    httpapi = (
        "package httpapi.authz\n\ndefault allow := false\n\n"
        'allow if {\n\tinput.method == "GET"\n\tinput.path == ["salary", input.user]\n}\n'
    )
    modules = {"a.rego": apisix, "b.rego": own, "c.rego": example, "d.rego": httpapi}
    policy = Policy(compile_rego(modules), {})

    def ask(entrypoint, method):
        request = {"method": method, "segments": ["salary", "alice"]}
        asked = {"request": request, "identity": {"subject": "alice"}}
        return policy.decide(entrypoint, asked, now=0.0)

    assert ask("adapter/apisix/decision", "GET") == {"allow": True}
    assert ask("adapter/apisix/decision", "PUT") == {"allow": False, "status_code": 405}
    assert ask("gateway/authz/allow", "GET") is True
    assert ask("gateway/authz/allow", "PUT") is False


@pytest.mark.parametrize(
    "row",
    [
        "| `interval` | duration | `10m` |",
        "| `debounce` | duration | `0.15s` |",
        "| `body` | size | `16MiB` |",
        "| `paths` | text (or a list) | required |",
        "| `authentication` | `required`, `optional`, `anonymous` | `required` |",
        "| `tls` | [listeners[].tls](#listenerstls) |  |",
        "| `issuers` | mapping of name to [issuers](#issuersname) |  |",
    ],
)
def test_rows_read_well(row):
    assert row in reference()


def test_a_page_without_the_marker_is_left_alone():
    assert MARKER in PAGE.read_text()
    with pytest.raises(ValueError, match="no marker"):
        updated("# Something else\n")
