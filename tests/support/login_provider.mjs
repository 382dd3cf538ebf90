// The certified provider (npm: oidc-provider), told over stdin and stdout what to be.
//
// Prints its port; takes one line of JSON: client (its metadata) and ttl (seconds of an access token).
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { createInterface } from "node:readline";

const { default: Provider } = await import(process.argv[2]);

let handle = (_, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

createInterface({ input: process.stdin }).on("line", (line) => {
  const { client, ttl } = JSON.parse(line);
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const provider = new Provider(`http://localhost:${server.address().port}`, {
    clients: [client],
    jwks: { keys: [{ ...key, use: "sig", alg: "ES256" }] },
    cookies: { keys: ["of this test"] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: () => true,
    ttl: { AccessToken: ttl, Grant: 3600, IdToken: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
    // It guards itself against loopback addresses, where the gateway of a test is.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: () => ({ roles: ["reader"] }),
    features: {
      devInteractions: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:api",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "", audience: "api", accessTokenFormat: "jwt", accessTokenTTL: ttl,
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
  });
  handle = provider.callback();
  provider.on("server_error", (_, error) => console.error(error));
  provider.on("backchannel.error", (_, error) => console.error(error));
  for (const event of ["grant.success", "grant.error"]) {
    provider.on(event, (ctx, error) => console.log(JSON.stringify({
      event, grant: ctx.oidc.params.grant_type, error: error?.message,
    })));
  }
  console.log("ready");
});
