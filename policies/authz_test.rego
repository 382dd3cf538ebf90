package gateway.authz_test

import rego.v1

import data.gateway.authz

request(method, path) := {"method": method, "path": path}

identity(subject, roles) := {"authenticated": true, "subject": subject, "roles": roles}

orders := {"id": "orders", "labels": {}, "params": {}}

test_reader_reads_orders if {
	authz.allow with input as {
		"request": request("GET", "/orders/42"),
		"identity": identity("alice", ["reader"]),
		"route": orders,
	}
}

test_reader_does_not_write if {
	not authz.allow with input as {
		"request": request("POST", "/orders"),
		"identity": identity("alice", ["reader"]),
		"route": orders,
	}
}

test_writer_writes_orders if {
	authz.allow with input as {
		"request": request("POST", "/orders"),
		"identity": identity("bob", ["writer"]),
		"route": orders,
	}
}

test_writer_does_not_delete if {
	not authz.allow with input as {
		"request": request("DELETE", "/orders/42"),
		"identity": identity("bob", ["writer"]),
		"route": orders,
	}
}

test_grants_stay_within_a_segment if {
	not authz.allow with input as {
		"request": request("GET", "/orders/42/payments"),
		"identity": identity("alice", ["reader"]),
		"route": orders,
	}
}

test_admin_everywhere if {
	every path in ["/orders", "/orders/42", "/admin/users/7", "/customers/alice/orders"] {
		authz.allow with input as {
			"request": request("DELETE", path),
			"identity": identity("root", ["admin"]),
			"route": orders,
		}
	}
}

test_customers_see_their_own_orders_only if {
	route := {"id": "customer-orders", "labels": {}, "params": {"customer": "alice"}}
	authz.allow with input as {
		"request": request("GET", "/customers/alice/orders"),
		"identity": identity("alice", []),
		"route": route,
	}
	decision := authz.decision with input as {
		"request": request("GET", "/customers/alice/orders"),
		"identity": identity("mallory", ["reader"]),
		"route": route,
	}
	decision.allow == false
	some reason in decision.reasons
	reason.code == "not-your-orders"
}

test_public_needs_no_token if {
	authz.allow with input as {
		"request": request("GET", "/public/status"),
		"identity": {"authenticated": false, "subject": "", "roles": []},
		"route": {"id": "public", "labels": {"access": "public"}, "params": {}},
	}
}

test_anonymous_gets_a_reason if {
	decision := authz.decision with input as {
		"request": request("GET", "/orders"),
		"identity": {"authenticated": false, "subject": "", "roles": []},
		"route": orders,
	}
	decision == {"allow": false, "reasons": {{"code": "not-authenticated", "message": "send a bearer token"}}}
}

test_scope_follows_the_role if {
	authz.scope == "all" with input.identity.roles as ["admin"]
	authz.scope == "own" with input.identity.roles as ["reader"]
}
