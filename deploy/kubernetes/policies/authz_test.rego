# `gateway policy test` runs these; a policy whose tests fail does not take effect.
package gateway.authz_test

import rego.v1

import data.gateway.authz

orders(method, roles) := {
	"request": {"method": method, "path": "/orders/42"},
	"identity": {"authenticated": true, "subject": "alice", "roles": roles},
	"route": {"id": "orders", "labels": {}},
}

test_reader_reads if {
	every method in ["GET", "HEAD"] {
		authz.allow with input as orders(method, ["reader"])
	}
}

test_reader_does_not_write if not authz.allow with input as orders("PUT", ["reader"])

test_writer_writes if authz.allow with input as orders("PUT", ["writer"])

test_only_admin_deletes if {
	not authz.allow with input as orders("DELETE", ["reader", "writer"])
	authz.allow with input as orders("DELETE", ["admin"])
}

test_no_role_no_access if {
	decision := authz.decision with input as orders("GET", [])
	decision.allow == false
	some reason in decision.reasons
	reason.code == "role-missing"
}

test_public_needs_no_role if {
	authz.allow with input as {
		"request": {"method": "GET", "path": "/public/status"},
		"identity": {"authenticated": false, "subject": "", "roles": []},
		"route": {"id": "public", "labels": {"access": "public"}},
	}
}
