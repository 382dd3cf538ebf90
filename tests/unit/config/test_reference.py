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
    assert documented == set(sections(Section)) - {Section}
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
    config, _, faults = validate(document.tree)
    assert (document.problems, faults) == ((), ())
    assert isinstance(config, Config)


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
