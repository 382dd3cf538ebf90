"""Input and result in the shapes of other gateways' OPA plugins, for policies as they are."""
