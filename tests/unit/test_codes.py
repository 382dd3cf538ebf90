import re
from pathlib import Path

from gateway.errors import Code

DOCS = Path(__file__).parents[2] / "docs" / "codes.md"


def test_the_documentation_lists_every_code_and_no_other():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(code.text, str(code.status), code.title) for code in Code]


def test_texts_are_unique_kebab_case():
    texts = [code.text for code in Code]
    assert len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", text) for text in texts)
