package gateway.authz_test

import rego.v1

import data.gateway.authz

asked(method, path, roles) := {
	"request": {"method": method, "path": path, "body": null},
	"identity": {"authenticated": true, "subject": "alice", "roles": roles},
	"claims": {"tenant": "acme"},
	"route": {"id": "orders", "labels": {}, "params": {"tenant": "acme"}},
	"source": {"networks": []},
}

test_roles[name] := passed if {
	some name, case in {
		"a reader reads": ["GET", "/tenants/acme/orders/42", ["reader"], true],
		"a reader does not write": ["PUT", "/tenants/acme/orders/42", ["reader"], false],
		"a writer writes": ["PUT", "/tenants/acme/orders/42", ["writer"], true],
		"a writer does not delete": ["DELETE", "/tenants/acme/orders/42", ["writer"], false],
		"a grant ends at a slash": ["GET", "/tenants/acme/orders/42/notes", ["reader"], false],
		"no role, no access": ["GET", "/tenants/acme/orders", [], false],
	}
	[method, path, roles, expected] := case
	allowed := authz.allow with input as asked(method, path, roles)
	passed := allowed == expected
}

test_reader_does_not_order if {
	not authz.allow with input as asked("POST", "/tenants/acme/orders", ["reader"])
}

test_nobody_is_told_to_send_a_token if {
	nobody := {"identity": {"authenticated": false, "subject": "", "roles": []}, "claims": {}}
	decision := authz.decision with input as object.union(asked("GET", "/tenants/acme/orders", []), nobody)
	decision.allow == false
	{reason.code | some reason in decision.reasons} == {"not-authenticated"}
}

test_another_tenant_is_closed if {
	decision := authz.decision with input as asked("GET", "/tenants/acme/orders", ["reader"])
		with input.claims.tenant as "other"
	decision.allow == false
	{reason.code | some reason in decision.reasons} == {"other-tenant"}
}

test_the_limit_is_included if {
	order := object.union(asked("POST", "/tenants/acme/orders", ["buyer"]), {"claims": {"limit": 100}})
	authz.allow with input as object.union(order, {"request": {"body": {"total": 100}}})
	not authz.allow with input as object.union(order, {"request": {"body": {"total": 101}}})
	not authz.allow with input as object.union(order, {"request": {"body": {"total": 0}}})
}
