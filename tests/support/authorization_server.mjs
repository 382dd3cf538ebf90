// An authorization server (npm: oidc-provider, certified), told over stdin what to be.
//
// argv: the modules oidc-provider and jose. Prints its port; takes one line of JSON: `clients`
// (their metadata) and `subjects` (the JWK Set of subject tokens). It knows client_credentials by
// itself; token exchange (RFC 8693) is a grant of this file.
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { createInterface } from "node:readline";

const { default: Provider, errors } = await import(process.argv[2]);
const { createLocalJWKSet, jwtVerify } = await import(process.argv[3]);

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const AUDIENCES = ["orders-api", "stock-api"];

let handle = (_, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

const resource = (audience) => ({
  audience, scope: "read write", accessTokenFormat: "jwt", accessTokenTTL: 120,
  jwt: { sign: { alg: "ES256" } },
});

createInterface({ input: process.stdin }).on("line", (line) => {
  const { clients, subjects } = JSON.parse(line);
  const trusted = createLocalJWKSet(subjects);
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
    clients,
    jwks: { keys: [{ ...key, use: "sig", alg: "ES256" }] },
    scopes: ["read", "write"],
    enabledJWA: { clientAuthSigningAlgValues: ["ES256", "RS256", "PS256", "Ed25519"] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:orders",
        getResourceServerInfo: () => resource("orders-api"),
      },
    },
  });
  provider.registerGrantType(EXCHANGE, async (ctx) => {
    const { params, client } = ctx.oidc;
    const { payload } = await jwtVerify(params.subject_token ?? "", trusted).catch(() => {
      throw new errors.InvalidRequest("subject_token is not taken");
    });
    if (!AUDIENCES.includes(params.audience)) throw new errors.InvalidTarget();
    if (payload.roles?.includes("guest")) throw new errors.AccessDenied();
    const { AccessToken } = ctx.oidc.provider;
    const token = new AccessToken({
      accountId: payload.sub, client, grantId: "none", gty: "token_exchange", scope: params.scope,
    });
    token.resourceServer = new ctx.oidc.provider.ResourceServer("urn:x", resource(params.audience));
    ctx.body = {
      access_token: await token.save(), issued_token_type: ACCESS_TOKEN,
      token_type: "Bearer", expires_in: token.expiration, scope: token.scope,
    };
  }, ["audience", "scope", "subject_token", "subject_token_type"]);
  handle = provider.callback();
  provider.on("server_error", (_, error) => console.error(error));
  for (const event of ["grant.success", "grant.error"]) {
    provider.on(event, (ctx, error) => console.log(JSON.stringify({
      grant: ctx.oidc?.params?.grant_type, error: error?.error, told: error?.error_detail ?? error?.message,
    })));
  }
  console.log("ready");
});
