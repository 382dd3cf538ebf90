"""Policies to compare, out of a few lines."""

from gateway.bundle.folder import PolicySources
from gateway.workbench.versions import Version

RULE = "gateway/authz/allow"
HEAD = "package gateway.authz\n\nimport rego.v1\n\n"


def version(text, data=None, **options):
    sources = PolicySources(
        modules={"a.rego": HEAD + text},
        tests={},
        data=data or {},
        modules_digest="",
        data_digest="",
        revision="",
    )
    return Version(sources, [RULE], **options)
