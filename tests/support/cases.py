"""The cases for `plan` in tests/cases: made into requests, and snapshots that decide them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from gateway.identify.denylist import entry_of
from gateway.identify.revoked import NOTHING, Change, Denied
from gateway.jose.sign import SigningKey
from gateway.model import Head, Session
from gateway.snapshot import Snapshot, build, read
from tests.support import stages
from tests.support.mint import Token
from tests.support.tables import FOLDER, NOW, SHELL, lines, load, merge
from tests.support.tokens import key


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file of cases.

    `keys` maps a key's name, which is its `kid`, to its algorithm; `files` are those that the
    configuration names; `policy` is the module that decides where a case has no `decision`.
    """

    name: str
    config: Mapping[str, Any]
    policy: str
    cases: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Case]:
        for name, fields in self.cases.items():
            yield Case(table=self, name=name, **merge(self.defaults, fields))

    @cached_property
    def decisions(self) -> list[str]:
        """The distinct decisions of the cases, which are compiled as one module."""
        given = (fields["decision"] for fields in self.cases.values() if "decision" in fields)
        return list(dict.fromkeys(given))

    def signer(self, name: str) -> SigningKey:
        """The key of that name."""
        return key(self.keys[name], name)

    def contents(self, file: str) -> bytes:
        """What a file holds."""
        match self.files[file]:
            case {"jwks": keys}:
                return self.jwks(keys)
            case {"pem": name}:
                return self.signer(name).key.as_pem(private=False)
            case {"secret": name}:
                return self.signer(name).key.raw_value

    def jwks(self, keys: list[Any]) -> bytes:
        """A JWK Set of keys by name, changed ones (`key` and other members), and what is none."""
        return json.dumps({"keys": [self._jwk(item) for item in keys]}).encode()

    def _jwk(self, item: Any) -> Any:
        if isinstance(item, str):
            return self.signer(item).public_jwk()
        if isinstance(item, dict) and "key" in item:
            changes = {name: value for name, value in item.items() if name != "key"}
            return merge(self._jwk(item["key"]), changes)
        return item


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request, the token in it, and what must become of it.

    `request` is method and target. `token` is a Token or `none`; it is sent as a bearer where no
    header mentions `<token>`. `config` changes the table's, `route` its first route. `decision`
    is the Rego behind `decision :=`. `after` is an earlier request, `seconds` before, maybe several
    `times`, with another `request` or a changed `token`. `uncounted` tells that rate limits cannot
    be counted. `fetch` are the keys that the issuer publishes by now, `introspection` is what it
    says of the token; `denied` are entries of a deny list, and `unsure` why it may lack some.
    `session` tells that the cookie's session has the token, or has ended. `needs` is all that the
    plan asks for.

    The outcome is one of `forward` (a target), `refuse` (a code) and `answer` (a status), each
    also a mapping that says more: `headers`, and names that go `without`; for a forward the
    `response_headers` that are added, for a refusal its `status`, JSON `body` or `text`.
    """

    table: Table
    name: str
    request: str
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    peer: str = "203.0.113.9"
    http_version: str = "1.1"
    websocket: bool = False
    token: Any = "none"
    config: Mapping[str, Any] = field(default_factory=dict)
    route: Mapping[str, Any] = field(default_factory=dict)
    decision: str = ""
    after: Mapping[str, Any] = field(default_factory=dict)
    fetch: list[Any] | None = None
    introspection: Mapping[str, Any] | None = None
    denied: list[Mapping[str, Any]] = field(default_factory=list)
    unsure: str = ""
    uncounted: bool = False
    session: bool | None = None
    needs: list[str] = field(default_factory=list)
    forward: Any = None
    refuse: Any = None
    answer: Any = None

    def __post_init__(self) -> None:
        assert [self.forward, self.refuse, self.answer].count(None) == 2, f"{self}: one outcome"

    def __str__(self) -> str:
        return f"{self.table.name}: {self.name}"

    @property
    def code(self) -> str | None:
        """The code of a refusal."""
        return self.refuse["code"] if isinstance(self.refuse, dict) else self.refuse

    @cached_property
    def minted(self) -> str:
        """The token's text."""
        if self.token == "none":
            return ""
        return Token(keys=self.table.keys, contents=self.table.contents, **self.token).mint()

    def found(self, login: str) -> Session:
        """The session of the request's cookie."""
        assert self.session is not None
        token = self.minted.encode() if self.session else b""
        return Session(login=login, id="s1", token=token, access_token=token)

    @cached_property
    def head(self) -> Head:
        """The request's head, as the server hands it on."""
        method, _, target = self.request.partition(" ")
        given = {"host": "api.example", **self.headers}
        if (
            self.session is None
            and self.minted
            and "authorization" not in given
            and "<token>" not in str(given)
        ):
            given["authorization"] = "Bearer <token>"
        if self.body and not given.keys() & {"content-length", "transfer-encoding"}:
            given["content-length"] = len(self.body)
        sent = lines(given, self.minted)
        return stages.head(
            target,
            *sent,
            method=method,
            authority=dict(reversed(sent))[b"host"],
            http_version=self.http_version,
            peer=self.peer,
            websocket=self.websocket,
        )

    @property
    def lists(self) -> Denied:
        """The deny lists."""
        table = dict(entry_of(entry, None) for entry in self.denied)
        return NOTHING.changed(Change(source="list", put=table, unsure=self.unsure))

    @property
    def earlier(self) -> Head:
        """The head of the request before."""
        token = merge(self.token, self.after.get("token", {}))
        return replace(self, request=self.after.get("request", self.request), token=token).head


class Snapshots:
    """Real snapshots below `folder`: one for each configuration, one compilation for each table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[tuple[str, str], Snapshot] = {}
        self.previous: dict[str, Snapshot] = {}

    def of(self, case: Case) -> Snapshot:
        """The snapshot that decides a case."""
        table = case.table
        config = merge(table.config, case.config)
        config["routes"] = [merge(config["routes"][0], case.route), *config["routes"][1:]]
        if case.decision:
            rule = f"cases/decision_{table.decisions.index(case.decision)}"
            config = merge(config, {"policy": {"entrypoint": rule}})
        key = table.name, yaml.safe_dump(config)
        if key not in self.built:
            self.built[key] = self.previous[table.name] = self._build(*key, table)
        return self.built[key]

    def _build(self, name: str, config: str, table: Table) -> Snapshot:
        folder = self.folder / name
        if not folder.exists():
            _write(folder, table)
        path = folder / "gateway.yaml"
        path.write_text(config)
        return build(read(path, {}), now=NOW, previous=self.previous.get(name))


def _write(folder: Path, table: Table) -> None:
    (folder / "policies").mkdir(parents=True)
    decisions = [f"decision_{number} := {text}\n" for number, text in enumerate(table.decisions)]
    (folder / "policies" / "authz.rego").write_text(table.policy)
    (folder / "policies" / "cases.rego").write_text("\n".join(["package cases\n", *decisions]))
    for name in table.files:
        (folder / name).write_bytes(table.contents(name))


def tables() -> list[Table]:
    """All tables but shell.yaml, which is not for `plan`."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [Table(name=file.stem, **load(file)) for file in files if file != SHELL]
