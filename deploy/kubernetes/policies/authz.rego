# Who may do what with the orders. The gateway asks for `decision`.
package gateway.authz

import rego.v1

# Nothing is allowed unless a rule below allows it.
default allow := false

# What the configuration labels public is open to everybody.
allow if input.route.labels.access == "public"

# A role grants methods. HEAD is GET without the content.
allow if {
	some role in input.identity.roles
	input.request.method in grants[role]
}

grants := {
	"reader": ["GET", "HEAD"],
	"writer": ["GET", "HEAD", "POST", "PUT"],
	"admin": ["GET", "HEAD", "POST", "PUT", "DELETE"],
}

# Why not: in the decision log and, where the route has `show_reasons`, in the answer.
reasons contains {"code": "role-missing", "message": "no role of yours grants this"} if not allow

decision := {"allow": allow, "reasons": reasons}
