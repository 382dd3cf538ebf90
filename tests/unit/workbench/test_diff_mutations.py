"""`policy diff` against mistakes that people make: it is not told where they are."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.bundle.folder import parse_files, read_files
from gateway.workbench.diff import diff
from gateway.workbench.versions import Version

POLICIES = Path(__file__).parents[3] / "policies"
ENTRYPOINT = "gateway/authz/decision"
TRIES = 4_000

LABELS = 'allow if input.route.labels.access == "public"'
ROLES = """\tsame_tenant
\tsome role in input.identity.roles
\tsome grant in data.grants[role]
\tinput.request.method in grant.methods
\tglob.match(grant.path, ["/"], input.request.path)
"""
OWNED = """\tsame_tenant
\tinput.route.id == "customer-orders"
\tinput.request.method in {"GET", "DELETE"}
\tinput.identity.subject == input.route.params.customer
"""
BUYERS = """\tsame_tenant
\tinput.route.id == "orders"
\tinput.request.method == "POST"
\t"buyer" in input.identity.roles
\tinput.request.body.total > 0
\tinput.request.body.total <= input.claims.limit
"""
ADMINS = """\tstartswith(input.request.path, "/admin/")
\t"admin" in input.identity.roles
\t"office" in input.source.networks
\tinput.claims.mfa == true
\tnot input.claims.impersonated_by
"""
SAME = "same_tenant if input.claims.tenant == input.route.params.tenant"


def without(text, part):
    assert part in text
    return text, text.replace(part, "")


def with_(text, part, other):
    assert part in text
    return text, text.replace(part, other)


MUTATIONS = {
    # A condition that is gone
    "roles: no tenant": without(ROLES, "\tsame_tenant\n"),
    "roles: no method": without(ROLES, "\tinput.request.method in grant.methods\n"),
    "roles: no path": without(ROLES, '\tglob.match(grant.path, ["/"], input.request.path)\n'),
    "owned: no tenant": without(OWNED, "\tsame_tenant\n"),
    "owned: no route": without(OWNED, '\tinput.route.id == "customer-orders"\n'),
    "owned: no method": without(OWNED, '\tinput.request.method in {"GET", "DELETE"}\n'),
    "owned: no owner": without(OWNED, "\tinput.identity.subject == input.route.params.customer\n"),
    "buyers: no tenant": without(BUYERS, "\tsame_tenant\n"),
    "buyers: no route": without(BUYERS, '\tinput.route.id == "orders"\n'),
    "buyers: no method": without(BUYERS, '\tinput.request.method == "POST"\n'),
    "buyers: no role": without(BUYERS, '\t"buyer" in input.identity.roles\n'),
    "buyers: no lower bound": without(BUYERS, "\tinput.request.body.total > 0\n"),
    "buyers: no limit": without(BUYERS, "\tinput.request.body.total <= input.claims.limit\n"),
    "admins: no path": without(ADMINS, '\tstartswith(input.request.path, "/admin/")\n'),
    "admins: no role": without(ADMINS, '\t"admin" in input.identity.roles\n'),
    "admins: no network": without(ADMINS, '\t"office" in input.source.networks\n'),
    "admins: no second factor": without(ADMINS, "\tinput.claims.mfa == true\n"),
    "admins: impersonated": without(ADMINS, "\tnot input.claims.impersonated_by\n"),
    # A `not` that is gone
    "admins: only impersonated": with_(ADMINS, "not input.claims", "input.claims"),
    "decision: both": ("if not allow\n", "if allow\n"),
    "reasons: same tenant": ("\tnot same_tenant\n", "\tsame_tenant\n"),
    # Comparisons
    "public: all but": with_(LABELS, "==", "!="),
    "owned: others": with_(OWNED, "subject ==", "subject !="),
    "buyers: below the limit": with_(BUYERS, "<=", "<"),
    "buyers: above the limit": with_(BUYERS, "<=", ">="),
    "buyers: nothing, too": with_(BUYERS, "> 0", ">= 0"),
    "buyers: one less": with_(BUYERS, "> 0", "> 1"),
    "buyers: limit and one": with_(BUYERS, "input.claims.limit", "input.claims.limit + 1"),
    "tenant: any other": with_(SAME, "==", "!="),
    # Constants
    "public: capital": with_(LABELS, '"public"', '"Public"'),
    "owned: one method more": with_(OWNED, '"DELETE"}', '"DELETE", "PUT"}'),
    "owned: one method less": with_(OWNED, '{"GET", "DELETE"}', '{"GET"}'),
    "buyers: another role": with_(BUYERS, '"buyer"', '"reader"'),
    "admins: another role": with_(ADMINS, '"admin"', '"writer"'),
    "admins: wider prefix": with_(ADMINS, '"/admin/"', '"/admin"'),
    "admins: much wider prefix": with_(ADMINS, '"/admin/"', '"/"'),
    "admins: another network": with_(ADMINS, '"office"', '"vpn"'),
    "admins: role in capitals": with_(ADMINS, '"admin"', '"ADMIN"'),
    "roles: other delimiter": with_(ROLES, '["/"]', '["."]'),
    "scope: one role more": ('"support"}\n', '"support", "buyer"}\n'),
    "default: allow": ("default allow := false", "default allow := true"),
    # Places of the input
    "owned: name of the token": with_(OWNED, "input.identity.subject", "input.claims.name"),
    "tenant: of the subject": with_(SAME, "input.claims.tenant", "input.identity.subject"),
    "tenant: of the path": with_(SAME, "input.claims.tenant", "input.route.params.customer"),
    "owned: the order's id": with_(OWNED, "params.customer", "params.id"),
    "buyers: groups": with_(BUYERS, "input.identity.roles", "input.identity.groups"),
    "buyers: limit of the body": with_(BUYERS, "input.claims.limit", "input.request.body.limit"),
    # And and or
    "admins: role or network": (
        ADMINS,
        ADMINS.replace('\t"office" in input.source.networks\n', "")
        + "}\n\nallow if {\n"
        + ADMINS.replace('\t"admin" in input.identity.roles\n', ""),
    ),
    "admins: factor or office": (
        '\t"office" in input.source.networks\n\tinput.claims.mfa == true\n',
        '\ttrue in {"office" in input.source.networks, input.claims.mfa == true}\n',
    ),
    "same letters": with_(OWNED, "input.identity.subject ==", "lower(input.identity.subject) =="),
    "reasons: no over-limit": ("input.request.body.total > input.claims.limit", "false"),
}

NOT_FOUND = set()
"""Mutations that are not found with so few tries. (The command's default is seven times as many.)"""


@pytest.fixture(scope="module")
def sources():
    paths = (POLICIES,)
    return parse_files(read_files(paths), paths)


@pytest.fixture(scope="module")
def old(sources):
    return Version(sources, [ENTRYPOINT])


def mutated(sources, change):
    before, after = change
    ((name, text),) = sources.modules.items()
    assert text.count(before) == 1, before
    return replace(sources, modules={name: text.replace(before, after)})


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistakes_are_found_where_nothing_points_at_them(sources, old, name):
    new = Version(mutated(sources, MUTATIONS[name]), [ENTRYPOINT])
    found = any(
        diff(old, new, [ENTRYPOINT], tries=TRIES, seed=seed).differences for seed in range(3)
    )
    assert found == (name not in NOT_FOUND)


def test_nearly_all_are_found():
    assert len(MUTATIONS) >= 50
    assert len(NOT_FOUND) / len(MUTATIONS) < 0.1


EQUIVALENT = {
    "another order": with_(BUYERS, BUYERS, "".join(reversed(BUYERS.splitlines(keepends=True)))),
    "a set for an array": (
        'role in {"reader", "writer", "support"}',
        'role in ["support", "reader", "writer"]',
    ),
    "twice": with_(ADMINS, "\tinput.claims.mfa == true\n", "\tinput.claims.mfa == true\n" * 2),
    "a rule of its own": (
        "same_tenant if input.claims.tenant == input.route.params.tenant",
        "same_tenant if tenant == input.route.params.tenant\n\ntenant := input.claims.tenant",
    ),
}


@pytest.mark.parametrize("name", EQUIVALENT)
def test_what_is_the_same_is_not_reported(sources, old, name):
    new = Version(mutated(sources, EQUIVALENT[name]), [ENTRYPOINT])
    report = diff(old, new, [ENTRYPOINT], tries=TRIES)
    assert report.differences == ()
    assert report.tried["generated"] == TRIES
