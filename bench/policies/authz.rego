# Who may do what with the orders API. The gateway asks for `decision`; see docs/policies.md for
# what `input` holds and what a decision may say.
package gateway.authz

import rego.v1

# Nothing is allowed unless a rule below allows it.
default allow := false

# Anonymous routes carry no token: only what is labelled public is open.
allow if input.route.labels.access == "public"

# A role grants methods on paths: data.json beside this file lists them.
allow if {
	some role in input.identity.roles
	some grant in data.roles[role]
	input.request.method in grant.methods
	glob.match(grant.path, ["/"], input.request.path)
}

# Customers read their own orders, whatever their roles.
allow if {
	input.route.id == "customer-orders"
	input.request.method == "GET"
	input.identity.subject == input.route.params.customer
}

# The first thing to look at when somebody asks "why 403?".
reasons contains {"code": "not-authenticated", "message": "send a bearer token"} if {
	not input.identity.authenticated
}

reasons contains {"code": "role-missing", "message": "no role of yours grants this"} if {
	input.identity.authenticated
	not input.route.id == "customer-orders"
}

reasons contains {"code": "not-your-orders", "message": "these orders belong to someone else"} if {
	input.identity.authenticated
	input.route.id == "customer-orders"
}

decision := {"allow": true, "headers": {"x-policy-scope": scope}} if allow

decision := {"allow": false, "reasons": reasons} if not allow

# An obligation for the upstream: which rows it may show.
scope := "all" if "admin" in input.identity.roles

else := "own"
