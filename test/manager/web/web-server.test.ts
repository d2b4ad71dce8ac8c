import { request, type IncomingHttpHeaders } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlServer } from '../../../manager/control/server.js';
import { apiSocketPath } from '../../../manager/control/state-directory.js';
import { WebServer } from '../../../manager/web/web-server.js';
import type * as page from '../../../manager/web/page/shapes.js';
import type { Chassis } from '../../../manager/control/api.js';
import { BUILT_PAGE } from '../built.js';
import { NotingService } from '../control/noting-service.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { silentLog } from '../../support/log.js';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

describe('the server of the page', () => {
  const folder = temporaryFolders();
  let service: NotingService;
  let api: ControlServer;
  let web: WebServer;
  let url: URL;
  let cookie: string;

  beforeEach(async () => {
    const socketPath = apiSocketPath(folder());
    service = new NotingService();
    api = new ControlServer({ socketPath, service, log: silentLog });
    await api.start();
    web = new WebServer({ socketPath, port: 0, scripts: BUILT_PAGE });
    url = new URL(await web.start());
    const entered = await ask('GET', `${url.pathname}${url.search}`, { cookie: undefined });
    cookie = (entered.headers['set-cookie']?.[0] ?? '').split(';')[0];
  });
  afterEach(async () => {
    web.stop();
    await api.stop();
  });

  /** As the page would, with the cookie and our own host and origin, but for what is given. */
  function ask(
    method: string,
    path: string,
    headers: Record<string, string | undefined> = {},
    body?: string,
  ): Promise<Answer> {
    const own = { host: url.host, cookie, ...(method !== 'GET' && { origin: url.origin }) };
    const all = Object.entries({ ...own, ...headers }).filter(([, value]) => value !== undefined);
    return new Promise((resolve, reject) => {
      const asking = request({ host: '127.0.0.1', port: url.port, method, path, agent: false });
      for (const [name, value] of all) asking.setHeader(name, value);
      asking.on('error', reject);
      asking.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (piece: string) => (text += piece));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }));
      });
      asking.end(body);
    });
  }

  it('listens on loopback, gives a cookie for the token that scripts do not see, and an address without it', async () => {
    expect(url.hostname).toBe('127.0.0.1');
    const entered = await ask('GET', `${url.pathname}${url.search}`, { cookie: undefined });
    expect([entered.status, entered.headers.location, entered.text]).toEqual([303, '/', '']);
    expect(entered.headers['set-cookie']?.[0]).toMatch(
      /^chassis-\d+=[\w-]{43}; HttpOnly; SameSite=Strict; Path=\/$/,
    );
    expect(cookie).not.toContain(url.searchParams.get('token'));
  });

  it('shows the page with its scripts and style, none of which may come from elsewhere or be written into it', async () => {
    const shown = await ask('GET', '/');
    expect([shown.status, shown.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(shown.headers['content-security-policy']).toMatch(
      /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'$/,
    );
    expect(shown.headers['content-security-policy']).not.toMatch(/unsafe|\*|http/);
    expect(shown.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
    expect(shown.text).not.toMatch(/<script(?![^>]*src=)|style="|\son\w+=|https?:/);
    const named = Array.from(shown.text.matchAll(/(?:src|href)="([^"]+)"/g), ([, path]) => path);
    expect(named).toEqual(['/style.css', '/main.js']);
    for (const path of named) expect((await ask('GET', path)).status).toBe(200);
  });

  it.each([
    ['no token and no cookie', '/', { cookie: undefined }],
    ['a wrong token', '/?token=x', { cookie: undefined }],
    ['a token that is not there', '/?token=', { cookie: undefined }],
    ['a wrong cookie', '/v1/chassis', { cookie: 'chassis-1=x' }],
    ['a cookie with the name alone', '/v1/chassis', { cookie: `chassis-PORT=` }],
    ['a host that is not ours, as after DNS rebinding', '/v1/chassis', { host: 'evil.example:PORT' }],
    ['our host at another port', '/v1/chassis', { host: '127.0.0.1:1' }],
    ['a page of another origin', '/v1/chassis', { origin: 'http://evil.example' }],
    ['a page of another port of this host', '/v1/chassis', { origin: 'http://127.0.0.1:1' }],
    ['a page of another port, said by the browser', '/v1/chassis', { 'sec-fetch-site': 'same-site' }],
    ['a page that frames or links to the page', '/', { 'sec-fetch-site': 'cross-site' }],
    ['a file that it wants to read as a script', '/main.js', { 'sec-fetch-site': 'cross-site' }],
  ])('refuses %s', async (_, path, headers) => {
    const withPort = Object.entries(headers).map(([name, value]) => [name, value?.replace('PORT', url.port)]);
    const answer = await ask('GET', path, Object.fromEntries(withPort) as Record<string, string | undefined>);
    expect([answer.status, service.calls]).toEqual([403, []]);
    expect(answer.headers['set-cookie']).toBeUndefined();
  });

  it.each([
    ['from another origin', { origin: 'http://127.0.0.1:1' }],
    ['from nobody knows where', { origin: undefined }],
    ['without the cookie', { cookie: undefined }],
  ])('refuses to change anything for a request %s', async (_, headers) => {
    const body = JSON.stringify({ mounts: [{ tag: 'a', source: { type: 'memory' } }] });
    const json = { 'content-type': 'application/json', ...headers };
    expect((await ask('POST', '/v1/chassis/dev/attach', json, body)).status).toBe(403);
    expect((await ask('DELETE', '/v1/chassis/dev/mounts/a', headers)).status).toBe(403);
    expect(service.calls).toEqual([]);
  });

  it('passes on what the page asks for, with what was refused, and nothing else', async () => {
    expect(JSON.parse((await ask('GET', '/v1/chassis')).text)).toMatchObject([{ name: 'dev' }]);
    const body = JSON.stringify({ mounts: [{ tag: 'ü', source: { type: 'memory' } }] });
    const attached = await ask(
      'POST',
      '/v1/chassis/dev/attach',
      { 'content-type': 'application/json' },
      body,
    );
    expect(attached.status).toBe(200);
    expect((await ask('DELETE', '/v1/chassis/dev/mounts/a%2Fb?force=true')).status).toBe(200);
    expect(service.calls.map(([name]) => name)).toEqual(['list', 'attach', 'detach']);
    expect(service.calls[2]).toMatchObject(['detach', 'dev', 'a/b', { force: true }]);
    const wrong = await ask('POST', '/v1/chassis/dev/attach', { 'content-type': 'application/json' }, '{}');
    expect([wrong.status, (JSON.parse(wrong.text) as { code: string }).code]).toEqual([400, 'BAD_REQUEST']);
    service.calls.length = 0;
    for (const [method, path] of [
      ...[
        ['POST', '/v1/shutdown'],
        ['DELETE', '/v1/chassis/dev'],
        ['GET', '/metrics'],
        ['POST', '/v1/chassis'],
      ],
      ...[
        ['GET', '/v1/chassis/../shutdown'],
        ['DELETE', '/v1/chassis/dev/mounts/a/b'],
        ['GET', '/../main.js'],
      ],
      ...[
        ['GET', '/shapes.d.ts'],
        ['POST', '/'],
        ['GET', '//v1/chassis'],
        ['GET', '/v1/chassis#'],
      ],
    ])
      expect([path, (await ask(method, path)).status]).toEqual([path, 404]);
    expect(service.calls).toEqual([]);
  });

  it('passes on no second request that is hidden in the body of the first', async () => {
    const hidden = 'POST /v1/shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n';
    for (const how of [{ 'transfer-encoding': 'chunked' }, { 'content-length': String(hidden.length) }]) {
      for (const [method, path] of [
        ['GET', '/v1/chassis'],
        ['DELETE', '/v1/chassis/dev/mounts/a'],
      ]) {
        expect((await ask(method, path, how, hidden)).status).toBe(200);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(service.calls.map(([name]) => name)).toEqual(['list', 'detach', 'list', 'detach']);
  });

  it('passes no body on that is larger than the API takes', async () => {
    const json = { 'content-type': 'application/json' };
    const { status } = await ask('POST', '/v1/chassis/dev/attach', json, ' '.repeat(300_000));
    // Refused by the API, which may not wait for the end of it.
    expect([[400, 502].includes(status), service.calls]).toEqual([true, []]);
  });

  it('says that the daemon is gone where that is so', async () => {
    await api.stop();
    expect((await ask('GET', '/v1/chassis')).status).toBe(502);
  });

  it('says so where the port is taken', async () => {
    const second = new WebServer({ socketPath: '/nosuch', port: Number(url.port), scripts: BUILT_PAGE });
    await expect(second.start()).rejects.toMatchObject(
      refusal('ADDRESS_IN_USE', /cannot listen/, /--web-port/),
    );
  });

  it('reads of what the API answers only what is there', () => {
    const whole: (chassis: Chassis) => page.Chassis = (chassis) => chassis;
    expect(whole).toBeTypeOf('function');
  });
});
