// An OpenID Connect provider (https://github.com/panva/node-oidc-provider) on a free loopback port,
// which is the first line on standard output. It gives opaque tokens for `urn:api` to machines.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const machine = {
  client_secret: "a-secret-of-32-characters-or-more",
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
};

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { ...machine, client_id: "machine" },
      { ...machine, client_id: "gateway" },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          audience: "urn:api",
          scope: "read",
          accessTokenFormat: "opaque",
          accessTokenTTL: 600,
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log(server.address().port);
});
