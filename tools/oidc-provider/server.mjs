// An authorization server that we did not write, for tests/peers.
//
//   node server.mjs FOLDER     FOLDER holds node_modules
//
// The first line on stdin is a JSON list of clients, answered by one that tells the issuer; each
// further line is a command, answered by one line on stdout. It ends with its stdin, so that nothing
// stays behind a test run that is killed.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

console.info = console.error; // stdout is for answers
console.warn = console.error;
const entry = join(process.argv[2], 'node_modules/oidc-provider/lib/index.js');
const { default: Provider, errors } = await import(pathToFileURL(entry));

const SCOPE = 'openid offline_access';
const HOUR = 3600;
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const STORAGE = 'https://storage.example'; // the one resource server (RFC 8707), with paths

const presented = []; // a row per refresh token that reached the token endpoint
const granted = []; // a row per request of client_credentials
const asked = []; // a row per introspection
let cut = ''; // what becomes of the next exchange: '', 'request' or 'answer' is lost

const server = createServer();
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `http://127.0.0.1:${server.address().port}`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const clients = JSON.parse((await lines.next()).value);

const provider = new Provider(issuer, {
  clients,
  clientDefaults: {
    application_type: 'native', // any port of loopback is a redirect address (RFC 8252)
    grant_types: ['authorization_code', 'refresh_token', DEVICE],
    redirect_uris: ['http://127.0.0.1/callback'],
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  cookies: { keys: ['only for tests'] },
  extraClientMetadata: { properties: ['lifetime'] },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true }, // its own pages take any name and password
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource, client) {
        if (!resource.startsWith(`${STORAGE}/`)) throw new errors.InvalidTarget();
        const accessTokenTTL = client.lifetime ?? HOUR;
        return { accessTokenFormat: 'jwt', accessTokenTTL, audience: resource, scope: 'read write' };
      },
    },
    revocation: { enabled: true },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  scopes: [...SCOPE.split(' '), 'read', 'write'],
  ttl: {
    AccessToken: (ctx, token, client) => client.lifetime ?? HOUR,
    ClientCredentials: (ctx, token, client) => client.lifetime ?? HOUR,
    DeviceCode: HOUR,
    Grant: 24 * HOUR,
    IdToken: HOUR,
    RefreshToken: 24 * HOUR,
  },
});

const hash = (token) => createHash('sha256').update(token).digest('hex').slice(0, 16);

provider.use(async (ctx, next) => {
  if (ctx.path !== '/token' && ctx.path !== '/token/introspection') return next();
  const lost = ctx.path === '/token' ? cut : '';
  if (lost) cut = '';
  if (lost === 'request') return ctx.req.socket.destroy();
  await next();
  const { oidc } = ctx;
  const client = oidc?.client?.clientId ?? '';
  if (ctx.path === '/token/introspection') {
    asked.push({ client, rt: hash(oidc.params.token), active: ctx.body?.active ?? null });
  } else if (oidc?.params?.refresh_token) {
    const rt = hash(oidc.params.refresh_token);
    presented.push({ client, rt, status: ctx.status, error: ctx.body?.error ?? '' });
  } else if (oidc?.params?.grant_type === 'client_credentials') {
    const { resource, scope } = oidc.params;
    granted.push({ client, resource, scope, error: ctx.body?.error ?? '' });
  }
  if (lost === 'answer') ctx.req.socket.destroy();
  return undefined;
});

const commands = {
  // A first refresh token, as after a login.
  async seed({ client: id }) {
    const client = await provider.Client.find(id);
    const grant = new provider.Grant({ accountId: 'alice', clientId: id });
    grant.addOIDCScope(SCOPE);
    const token = new provider.RefreshToken({
      accountId: 'alice',
      client,
      expiresWithSession: false,
      grantId: await grant.save(),
      gty: 'authorization_code',
      scope: SCOPE,
    });
    return { refresh_token: await token.save() };
  },
  cut({ what }) {
    cut = what;
    return {};
  },
  told: () => ({ presented, asked, granted }),
};

server.on('request', provider.callback());
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
say({ issuer });
for await (const line of lines) {
  const { command, ...rest } = JSON.parse(line);
  say(await commands[command](rest));
}
process.exit();
