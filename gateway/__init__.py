"""A policy-as-code API gateway.

A request passes five stages, in this order:

1. route: its canonical path, and the route that takes it;
2. identify: its credential, the signature, the claims;
3. decide: the input document, the Rego policy, the decision;
4. forward: headers out, identity in, the upstream;
5. record: the decision event, the access log, the metrics.

`pipeline.plan` is stages 1 to 4 as one pure function; `serve` runs it over sockets, `workbench`
and `commands` run it over samples.
"""
