# Who may do what with the orders of a tenant. The gateway asks for `decision`.
package gateway.authz

import rego.v1

default allow := false

# What the configuration labels public is open to everybody.
allow if input.route.labels.access == "public"

# A role grants methods on paths (data.json), within the tenant of the token.
allow if {
	same_tenant
	some role in input.identity.roles
	some grant in data.grants[role]
	input.request.method in grant.methods
	glob.match(grant.path, ["/"], input.request.path)
}

# Customers read and cancel their own orders.
allow if {
	same_tenant
	input.route.id == "customer-orders"
	input.request.method in {"GET", "DELETE"}
	input.identity.subject == input.route.params.customer
}

# Buyers order up to the limit in their token.
allow if {
	same_tenant
	input.route.id == "orders"
	input.request.method == "POST"
	"buyer" in input.identity.roles
	input.request.body.total > 0
	input.request.body.total <= input.claims.limit
}

# The admin area: administrators in the office, with a second factor, as themselves.
allow if {
	startswith(input.request.path, "/admin/")
	"admin" in input.identity.roles
	"office" in input.source.networks
	input.claims.mfa == true
	not input.claims.impersonated_by
}

same_tenant if input.claims.tenant == input.route.params.tenant

reasons contains {"code": "not-authenticated", "message": "send a bearer token"} if {
	not input.identity.authenticated
}

reasons contains {"code": "other-tenant", "message": "your token is for another tenant"} if {
	input.identity.authenticated
	input.route.params.tenant
	not same_tenant
}

reasons contains {"code": "over-limit", "message": "the order is above your limit"} if {
	"buyer" in input.identity.roles
	input.request.body.total > input.claims.limit
}

reasons contains {"code": "role-missing", "message": "no role of yours grants this"} if {
	input.identity.authenticated
	same_tenant
}

reasons contains {"code": "admins-only", "message": "administrators, in the office"} if {
	startswith(input.request.path, "/admin/")
}

decision := {"allow": true, "headers": {"x-policy-scope": scope}} if allow

decision := {"allow": false, "reasons": reasons} if not allow

# An obligation for the upstream: whose orders it may show.
scope := "tenant" if {
	some role in input.identity.roles
	role in {"reader", "writer", "support"}
}

else := "own"
