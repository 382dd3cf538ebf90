"""What of a bundle counts, what is ignored, and what is refused by name."""

import re
from pathlib import Path

import pytest

from gateway.bundle.errors import BundleError, Reason
from gateway.bundle.reader import MAX_GOOD, _good, read_bundle
from tests.support.bundles import MANIFEST, archive


def read(files):
    return read_bundle(archive(files), "b.tar.gz", None, 0.0)


def test_only_policies_and_data_count():
    found = read(
        {
            ".manifest": MANIFEST,
            "a.rego": "package a\n",
            "a_test.rego": "package a_test\n",
            "data.json": "{}",
            "x/data.yaml": "{}",
            "y/data.yml": "{}",
            "README.md": "hello",
            "other.json": "{}",
            ".github/workflow.yaml": "",
            "x/data.json.bak": "",
        }
    )
    assert sorted(found.files) == [
        ".manifest", "a.rego", "a_test.rego", "data.json", "x/data.yaml", "y/data.yml",
    ]  # fmt: skip
    assert found.others == (".github/workflow.yaml", "README.md", "other.json", "x/data.json.bak")
    assert found.manifest.revision == "v1"


def test_without_a_manifest_it_owns_everything():
    assert read({"a.rego": "package a\n"}).manifest.roots == ((),)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("policy.wasm", "WebAssembly is not run"),
        ("x/policy.wasm", "WebAssembly is not run"),
        ("plan.json", "plans are not run"),
        ("patch.json", "delta bundles are not taken"),
        ("x/.manifest", "only the one at the top counts"),
        ("x.manifest", "only the one at the top counts"),
        ("x/.signatures.json", "only the one at the top counts"),
        ("signatures.json", "only the one at the top counts"),
        ("my-signatures.json", "only the one at the top counts"),
        ("._authz.rego", "is hidden"),
        (".hidden/data.json", "is hidden"),
        ("a/.b/c.rego", "is hidden"),
    ],
)
def test_what_another_reader_would_find_more_in(name, said):
    with pytest.raises(BundleError) as refused:
        read({"a.rego": "package a\n", name: "{}"})
    (problem,) = refused.value.problems
    assert problem.file == f"b.tar.gz/{name}"
    assert problem.message == f"{said}{problem.message.removeprefix(said)}"
    assert problem.message.endswith("[content-refused]")


def test_few_bundles_are_known_again():
    for number in range(MAX_GOOD + 3):
        read({"data.json": str(number)})
    assert len(_good) == MAX_GOOD


def test_codes_are_distinct_and_kebab():
    codes = [reason.code for reason in Reason]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)


def test_every_code_is_explained():
    page = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) - {"url", "file"} == {
        reason.code for reason in Reason
    }
