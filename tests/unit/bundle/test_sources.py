"""Policy sets that are made of bundles and folders: what is read, and who may define what."""

import json

from dataclasses import replace

import pytest

from gateway.bundle.folder import parse_files, read_files
from gateway.bundle.root import (
    Root,
    fetched_archive,
    policy_roots,
    root_paths,
    unverified,
    unverified_roots,
)
from gateway.bundle.signature import Trust
from gateway.bundle.trust import trust_of
from gateway.config.model import Bundle, Policy, Verification
from gateway.errors import ConfigError
from gateway.jose.sign import generate, public_jwks
from tests.support.bundles import archive, signed, with_tar

ALLOW = "package gateway.authz\n\nallow := true\n"


def manifest(*roots, revision="v1"):
    listed = ",".join(f'"{root}"' for root in roots)
    return f'{{"revision":"{revision}","roots":[{listed}]}}'


def write(tmp_path, places):
    """Write archives (mappings under names that end with .tar.gz) and folders."""
    for name, files in places.items():
        path = tmp_path / name
        if name.endswith(".tar.gz"):
            path.write_bytes(archive(files))
            continue
        for inner, text in files.items():
            (path / inner).parent.mkdir(parents=True, exist_ok=True)
            (path / inner).write_text(text)


def sources(tmp_path, places, bundles=()):
    write(tmp_path, places)
    roots = [Root(path=tmp_path / name, bundle="b" if name in bundles else "") for name in places]
    return parse_files(read_files(roots), tuple(root.path for root in roots))


def refused(tmp_path, places, bundles=()):
    with pytest.raises(ConfigError) as error:
        sources(tmp_path, places, bundles)
    return [str(problem).replace(str(tmp_path), "") for problem in error.value.problems]


FILES = {
    "gateway/authz.rego": ALLOW,
    "gateway/authz_test.rego": "package gateway.authz_test\n",
    "data.json": '{"n": 1}',
    "users/data.yaml": "alice: [reader]\n",
}


def test_a_bundle_is_the_same_policy_set_as_its_folder(tmp_path):
    from_archive = sources(tmp_path, {"b.tar.gz": FILES})
    from_folder = sources(tmp_path, {"folder": FILES})
    for each in (from_archive, from_folder):
        assert each.data == {"n": 1, "users": {"alice": ["reader"]}}
        assert list(each.modules.values()) == [ALLOW]
        assert len(each.tests) == 1
    assert list(from_archive.modules) == [f"{tmp_path}/b.tar.gz/gateway/authz.rego"]
    assert from_archive.data_digest == from_folder.data_digest
    assert from_folder.bundles == {}
    assert from_archive.bundles == {tmp_path / "b.tar.gz": ""}


def test_every_shape_of_an_archive_is_the_same_revision(tmp_path):
    first = sources(tmp_path, {"b.tar.gz": FILES})
    (tmp_path / "b.tar.gz").write_bytes(with_tar(FILES))
    roots = (tmp_path / "b.tar.gz",)
    assert parse_files(read_files(roots), roots) == first


def test_digests_tell_what_changed(tmp_path):
    first = sources(tmp_path, {"b.tar.gz": {**FILES, ".manifest": manifest("")}})
    data = sources(tmp_path, {"b.tar.gz": {**FILES, ".manifest": manifest(""), "data.json": "{}"}})
    assert data.modules_digest == first.modules_digest
    assert data.data_digest != first.data_digest
    named = sources(tmp_path, {"b.tar.gz": {**FILES, ".manifest": manifest("", revision="v2")}})
    assert (named.modules_digest, named.data_digest) == (first.modules_digest, first.data_digest)
    assert named.revision != first.revision
    assert named.bundles == {tmp_path / "b.tar.gz": "v2"}


def test_bundles_and_folders_beside_each_other(tmp_path):
    found = sources(
        tmp_path,
        {
            "policies": {"authz.rego": ALLOW, "data.json": '{"local": 1}'},
            "acl.tar.gz": {".manifest": manifest("acl"), "acl/data.json": "{}", "data.json": "{}"},
            "lib.tar.gz": {".manifest": manifest("lib", "more/lib"), "lib.rego": "package lib.a\n"},
        },
    )
    assert found.data == {"local": 1, "acl": {}}
    assert len(found.modules) == 2


def test_a_folder_as_a_bundle(tmp_path):
    places = {"b": {".manifest": manifest("gateway"), "authz.rego": ALLOW}}
    assert sources(tmp_path, places, bundles=("b",)).bundles == {tmp_path / "b": "v1"}
    assert sources(tmp_path, places).bundles == {}  # no bundle, so that its manifest is no file
    places["b"][".manifest"] = manifest("other")
    assert refused(tmp_path, places, bundles=("b",)) == [
        "/b/authz.rego: the package data.gateway.authz lies outside of the bundle's roots "
        "(data.other) (name it in the manifest's roots (--root), or move it)"
    ]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (
            {"a.tar.gz": {".manifest": manifest("acl"), "data.json": '{"acl": {}, "x": 1}'}},
            "/a.tar.gz/data.json: the data data.x lies outside of the bundle's roots (data.acl)",
        ),
        (
            {"a.tar.gz": {".manifest": manifest("acl"), "x/y/data.json": "{}"}},
            "/a.tar.gz/x/y/data.json: the data data.x.y lies outside",
        ),
        (
            {"a.tar.gz": {".manifest": manifest("acl"), "b_test.rego": "package b_test\n"}},
            "/a.tar.gz/b_test.rego: the package data.b_test lies outside",
        ),
        (
            {"a.tar.gz": {".manifest": '{"roots": []}', "b.rego": "package b\n"}},
            "the package data.b lies outside of the bundle's roots (nothing)",
        ),
        (
            {
                "a.tar.gz": {".manifest": manifest("acl/x")},
                "b.tar.gz": {".manifest": manifest("acl")},
            },
            "/b.tar.gz: it owns data.acl, and ",
        ),
        (
            {"a.tar.gz": {}, "b.tar.gz": {".manifest": manifest("acl")}},
            "/b.tar.gz: it owns data.acl, and ",
        ),
        (
            {"a.tar.gz": {".manifest": manifest("gateway")}, "p": {"authz.rego": ALLOW}},
            "/p/authz.rego: the package data.gateway.authz belongs to the bundle /a.tar.gz",
        ),
        (
            {
                "a.tar.gz": {".manifest": manifest("gateway/authz")},
                "p": {"up.rego": "package gateway\n\nauthz.allow := true\n"},
            },
            "/p/up.rego: the rule data.gateway.authz belongs to the bundle /a.tar.gz",
        ),
        (
            {"a.tar.gz": {".manifest": manifest("acl/x")}, "p": {"acl/data.json": '{"x": 1}'}},
            "/p/acl/data.json: the data data.acl.x belongs to the bundle /a.tar.gz",
        ),
        (
            {"a.tar.gz": {}, "p": {"data.json": "{}"}},
            "/p/data.json: the data data belongs to the bundle /a.tar.gz",
        ),
        (
            {"a.tar.gz": {".manifest": "[]"}},
            "/a.tar.gz/.manifest: expected a JSON object [manifest-malformed]",
        ),
        (
            {"a.tar.gz": {"data.json": "[]"}},
            "/a.tar.gz/data.json:1: a data document must be an object",
        ),
        ({"a.tar.gz": {"a.rego": b"\xff"}}, "/a.tar.gz/a.rego:1: not UTF-8"),
        ({"absent.tar.gz.d/x.tgz": {}}, None),
    ],
)
def test_nobody_defines_what_another_owns(tmp_path, places, said):
    if said is None:
        with pytest.raises(ConfigError, match="does not exist"):
            read_files([Root(path=tmp_path / "x.tgz", trust=Trust())])
        return
    found = refused(tmp_path, places)
    assert any(said in problem for problem in found), found


def test_beside_a_roots_owner_there_is_room(tmp_path):
    """Names that only begin alike, and data that lies above a root, are nobody's."""
    sources(
        tmp_path,
        {
            "a.tar.gz": {".manifest": manifest("acl/x")},
            "p": {"b.rego": "package acl.xy\n", "acl/data.json": '{"y": 1}', "data.json": "{}"},
        },
    )


def test_tests_of_a_folder_may_be_about_a_bundle(tmp_path):
    found = sources(
        tmp_path,
        {
            "a.tar.gz": {".manifest": manifest("gateway"), "authz.rego": ALLOW},
            "p": {"authz_test.rego": "package gateway.authz_test\n", "x.rego": "package x\n"},
        },
    )
    assert len(found.tests) == 1


# --- what a configuration names


def policy(tmp_path, **bundles):
    made = {name: Bundle(**given) for name, given in bundles.items()}
    return Policy(paths=(tmp_path / "p",), bundles=made, state=tmp_path / "state")


KEY = generate("ES256")


def verification(tmp_path, **key):
    (tmp_path / "jwks.json").write_text(json.dumps(public_jwks([KEY])))
    source = {"jwks_file": tmp_path / "jwks.json", "algorithm": "ES256", **key}
    return Verification(keys={"ci": source})


def test_roots_of_a_configuration(tmp_path):
    url = "https://bundles.example/b.tar.gz?x=1"
    given = policy(
        tmp_path,
        disk={"file": tmp_path / "d.tar.gz", "verification": verification(tmp_path, scope="w")},
        net={"url": url, "insecure_unsigned": True},
    )
    net = fetched_archive(tmp_path / "state", "net", url)
    assert root_paths(given) == (tmp_path / "p", tmp_path / "d.tar.gz", net)
    folder, disk, remote = policy_roots(given)
    assert (folder.bundle, folder.trust) == ("", Trust())
    assert [(key.id, key.scope) for key in disk.trust.keys] == [(KEY.id, "w")]
    assert (remote.url, remote.trust, remote.bundle) == (url, Trust(), "net")
    assert {root.trust for root in unverified_roots(given)} == {None}
    other = fetched_archive(tmp_path / "state", "net", url + "2")
    assert other.parent == net.parent
    assert other != net


def test_a_bundle_that_was_never_fetched(tmp_path):
    (tmp_path / "p").mkdir()
    given = policy(
        tmp_path, net={"url": "https://bundles.example/b?key=x", "insecure_unsigned": True}
    )
    with pytest.raises(ConfigError) as error:
        read_files(policy_roots(given))
    assert [str(problem) for problem in error.value.problems] == [
        "bundle net was never fetched from https://bundles.example/b?********** "
        "(`gateway serve` does that; `gateway bundle pull` shows what the server says)"
    ]


def test_what_others_may_have_stored_is_not_read(tmp_path):
    (tmp_path / "p").mkdir()
    url = "https://bundles.example/b"
    given = policy(tmp_path, net={"url": url, "insecure_unsigned": True})
    path = fetched_archive(tmp_path / "state", "net", url)
    path.parent.mkdir(parents=True)
    path.write_bytes(archive(FILES))
    path.chmod(0o600)
    read_files(policy_roots(given))
    path.chmod(0o660)
    with pytest.raises(ConfigError, match="others may have written it"):
        read_files(policy_roots(given))


def test_signed_archives(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "d.tar.gz").write_bytes(signed(FILES, KEY))
    disk = {"file": tmp_path / "d.tar.gz"}
    with pytest.raises(ConfigError, match="keys-missing"):
        read_files(policy_roots(policy(tmp_path, disk=disk)))
    with pytest.raises(ConfigError, match="keys-missing"):
        read_files(policy_roots(Policy(paths=(tmp_path / "d.tar.gz",))))
    with pytest.raises(ConfigError, match="keys-missing"):
        read_files((tmp_path / "d.tar.gz",))
    assert len(read_files(unverified((tmp_path / "d.tar.gz",)))) == len(FILES) + 1
    good = policy(tmp_path, disk={**disk, "verification": verification(tmp_path)})
    assert len(read_files(policy_roots(good))) == len(FILES) + 1
    assert len(read_files(unverified_roots(policy(tmp_path, disk=disk)))) == len(FILES) + 1
    *_, archived = policy_roots(good)
    (tmp_path / "swapped").mkdir()
    (tmp_path / "swapped" / "x.rego").write_text("package x\n\nallow := true\n")
    with pytest.raises(ConfigError, match="not a regular file"):  # a folder in its place
        read_files((replace(archived, path=tmp_path / "swapped"),))
    day = {"expires": "2026-01-31"}
    ends = policy(tmp_path, disk={**disk, "verification": verification(tmp_path, **day)})
    at = 1769817600.0  # 2026-01-31T00:00:00Z
    assert read_files(policy_roots(ends), at - 1)
    for now in ({"now": at}, {}):  # and, by default, for ever
        with pytest.raises(ConfigError, match="key-expired"):
            read_files(policy_roots(ends), **now)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({"algorithm": "RS256"}, "is not for RS256"),
        ({"pem_file": "pem", "jwks_file": None}, "0 PEM blocks"),
        ({"pem_file": "absent", "jwks_file": None}, "cannot be read: No such file"),
        ({"jwks_file": "pem"}, "line 1"),
        ({"jwks_file": "empty"}, "expected a JWK Set"),
        ({"jwks_file": "private"}, "key_ops does not hold verify"),
        (
            {"secret": "-----BEGIN PUBLIC KEY-----" + "x" * 40, "jwks_file": None, "algorithm": "HS256"},
            "a PEM file is not a shared secret",
        ),
        ({"secret": "short", "jwks_file": None, "algorithm": "HS256"}, "needs 32 or more"),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used(tmp_path, key, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pem").write_text("text")
    (tmp_path / "empty").write_text('{"keys": []}')
    private = json.dumps({"keys": [KEY.private_jwk()]})
    (tmp_path / "private").write_text(private)
    with pytest.raises(ConfigError, match=said):
        trust_of(verification(tmp_path, **key))


def test_one_key_id_is_one_key(tmp_path):
    both = verification(tmp_path).keys | {KEY.id: verification(tmp_path).keys["ci"]}
    with pytest.raises(ConfigError, match="there is another key"):
        trust_of(Verification(keys=both))
