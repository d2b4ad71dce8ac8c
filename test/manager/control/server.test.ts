import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisError, type PasstNetwork } from '../../../manager/control/api.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { DaemonNotRunningError } from '../../../manager/control/daemon-connection.js';
import { ControlServer } from '../../../manager/control/server.js';
import { apiSocketPath } from '../../../manager/control/state-directory.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import {
  CARD,
  CHASSIS,
  DISK,
  MOUNT,
  NotingService,
  PLAN,
  POLICY,
  SAVED,
  TREE,
  UPGRADED,
} from './noting-service.js';
import { notingLog, silentLog } from '../../support/log.js';

describe('the control server and its client', () => {
  const folder = temporaryFolders();
  let directory: string;
  let service: NotingService;
  let server: ControlServer;
  let client: ChassisClient;
  let log: string[];

  beforeEach(async () => {
    directory = folder();
    service = new NotingService();
    log = [];
    server = new ControlServer({
      socketPath: apiSocketPath(directory),
      service,
      log: notingLog(log),
    });
    await server.start();
    client = new ChassisClient({ directory });
  });
  afterEach(() => server.stop());

  /** Raw bytes to the server; what it answered until it closed. */
  function exchange(bytes: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(apiSocketPath(directory));
      let answer = '';
      socket.setEncoding('utf8').on('data', (piece: string) => (answer += piece));
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
      socket.end(bytes);
    });
  }

  function post(path: string, body: string, type = 'application/json'): Promise<string> {
    return exchange(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  }

  describe('hostile requests', () => {
    it.each([
      ['malformed JSON', '{"name":', /400/],
      ['a list', '[]', /400.*BAD_REQUEST/s],
      ['null', 'null', /400.*name/s],
      ['a name that leads elsewhere', '{"name":"../x"}', /400.*lower-case letters/s],
      ['a name of 33 characters', `{"name":"${'x'.repeat(33)}"}`, /400/],
      ['a text for a number', '{"name":"x","slots":"8"}', /400.*slots/s],
      ['too many slots', '{"name":"x","slots":225}', /400.*slots/s],
      ['half a slot', '{"name":"x","slots":1.5}', /400.*slots/s],
      ['an option that does not exist', '{"name":"x","slotz":8}', /400.*slotz: Unexpected property/s],
      ['a prototype', '{"name":"x","__proto__":{"slots":1}}', /400/],
    ])('are refused: %s', async (_, body, expected) => {
      expect(await post('/v1/chassis', body)).toMatch(expected);
      expect(service.calls).toEqual([]);
    });

    it.each([
      ['no mounts', { mounts: [] }],
      [
        'nine mounts',
        { mounts: Array.from({ length: 9 }, () => ({ tag: 'a', source: { type: 'memory' } })) },
      ],
      ['a source of no known kind', { mounts: [{ tag: 'a', source: { type: 'disk' } }] }],
      ['a directory without a path', { mounts: [{ tag: 'a', source: { type: 'directory' } }] }],
      ['a misspelt readOnly', { mounts: [{ tag: 'a', source: { type: 'memory' }, readonly: true }] }],
      ['function 8', { mounts: [{ tag: 'a', source: { type: 'memory' } }], function: 8 }],
      ['slot 0', { mounts: [{ tag: 'a', source: { type: 'memory' } }], slot: 0 }],
    ])('are refused: an attach with %s', async (_, body) => {
      expect(await post('/v1/chassis/dev/attach', JSON.stringify(body))).toMatch(/400.*BAD_REQUEST/s);
      expect(service.calls).toEqual([]);
    });

    it.each([
      ['a setting that does not exist', { set: { denny: ['x'] } }],
      ['more patterns than a policy has', { set: { deny: Array.from({ length: 257 }, () => 'x') } }],
      ['an empty pattern', { set: { allow: [''] } }],
      ['no fids at all', { set: { maxFids: 0 } }],
      ['less than nothing', { set: { maxBytes: -1 } }],
      ['something unset that is no setting', { unset: ['revoked'] }],
    ])('are refused: a policy with %s', async (_, change) => {
      const body = JSON.stringify(change);
      const answer = await exchange(
        `PATCH /v1/chassis/dev/mounts/a/policy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      expect(answer).toMatch(/400.*BAD_REQUEST/s);
      expect(service.calls).toEqual([]);
    });

    it.each([
      ['users without groups', { owner: { type: 'ranges', uids: [] } }],
      ['an id that is none', { owner: { type: 'squash', guest: { uid: 2 ** 32 - 1, gid: 0 } } }],
      ['an owner of no known kind', { owner: { type: 'root' } }],
      ['a policy that says readOnly', { policy: { readOnly: true } }],
      ['a mount that is revoked', { revoked: true }],
    ])('are refused: a mount with %s', async (_, terms) => {
      const mounts = [{ tag: 'a', source: { type: 'memory' }, ...terms }];
      expect(await post('/v1/chassis/dev/attach', JSON.stringify({ mounts }))).toMatch(/400.*BAD_REQUEST/s);
      expect(service.calls).toEqual([]);
    });

    it('are refused: a body that is too large, or no JSON', async () => {
      const large =
        'POST /v1/chassis HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 300000\r\n\r\n"';
      expect(await exchange(large)).toMatch(/400.*BAD_REQUEST/s);
      expect(await post('/v1/chassis', 'name=x', 'text/plain')).toMatch(/400.*BAD_REQUEST/s);
    });

    it('are refused: a query that does not fit', async () => {
      for (const query of ['force=perhaps', 'timeoutMs=-1', 'timeoutMs=soon', 'farce=true']) {
        const answer = await exchange(
          `DELETE /v1/chassis/dev/mounts/a?${query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
        );
        expect(answer).toMatch(/400.*BAD_REQUEST/s);
      }
      expect(service.calls).toEqual([]);
    });

    it('get an answer: a route that does not exist, and bytes that are no HTTP', async () => {
      const answer = await exchange('GET /v2/chassis HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      expect(answer).toMatch(/BAD_REQUEST.*no such route/s);
      expect(await exchange('\0\0\0\0\r\n\r\n')).toMatch(/^HTTP\/1.1 400/);
      expect(await client.health()).toEqual({ version: '1.2.3', pid: 7 });
    });
  });

  it('listens on a socket for its owner alone', () => {
    expect(statSync(apiSocketPath(directory)).mode & 0o777).toBe(0o600);
  });

  it('carries each call and its answer', async () => {
    expect(await client.list()).toEqual([CHASSIS]);
    expect(await client.create('dev')).toEqual(CHASSIS);
    expect(await client.create('dev', { slots: 2 })).toEqual(CHASSIS);
    expect(await client.get('dev')).toEqual(CHASSIS);
    await client.delete('dev', { force: true });
    expect(await client.mounts('dev')).toEqual([MOUNT]);
    expect(await client.mounts()).toEqual([MOUNT]);
    expect(await client.guestSetup('udev')).toEqual({ text: 'mount' });
    expect(await client.plan({ mounts: 9 })).toEqual(PLAN);
    expect(await client.tree('dev')).toEqual(TREE);
    expect(await client.restart('dev')).toEqual(CHASSIS);
    expect(await client.upgrade('dev')).toEqual(UPGRADED);
    expect(await client.save('dev', { path: '/f' })).toEqual(SAVED);
    expect(await client.restoreSaved({ path: '/f', name: 'b' })).toEqual(CHASSIS);
    expect(await client.qemuArgs('dev')).toEqual({ vmm: 'qemu', args: ['-m', '1'] });
    expect(await client.policy('dev', 'a/b')).toEqual(POLICY);
    expect(await client.changePolicy('dev', 'a/b', { unset: ['allow'] })).toEqual(POLICY);
    expect(await client.revoke('dev', 'a/b')).toMatchObject({ revoked: true });
    expect(await client.audit('dev', 'a/b', { from: 0, waitMs: 5 })).toMatchObject({ dropped: 3 });
    await client.shutdown();
    expect(service.calls).toEqual([
      ['list'],
      ['create', { name: 'dev' }],
      ['create', { name: 'dev', slots: 2 }],
      ['get', 'dev'],
      ['delete', 'dev', { force: true, timeoutMs: 30_000 }],
      ['mounts', 'dev'],
      ['mounts'],
      ['guestSetup', { format: 'udev', exec: false }],
      ['plan', { mounts: 9, via: 'auto', vmm: 'qemu' }],
      ['tree', 'dev'],
      ['restart', 'dev'],
      ['upgrade', 'dev'],
      ['save', 'dev', { path: '/f', topology: false }],
      ['restoreSaved', { path: '/f', name: 'b' }],
      ['qemuArgs', 'dev', { memoryMiB: 1024 }],
      ['policy', 'dev', 'a/b'],
      ['changePolicy', 'dev', 'a/b', { set: {}, unset: ['allow'] }],
      ['revoke', 'dev', 'a/b'],
      ['audit', 'dev', 'a/b', { all: false, from: 0, waitMs: 5 }],
      ['shutdown'],
    ]);
  });

  it('carries the pages of a review as they come, and what it stops with', async () => {
    const page = { changes: [], entries: 1, path: '/a', done: false };
    service.pages = [page, { ...page, entries: 2, done: true }];
    const seen = [];
    for await (const each of client.review('dev', 'a', { kind: 'commit', paths: ['/a'] })) seen.push(each);
    expect(seen).toEqual(service.pages);
    expect(service.calls).toEqual([['review', 'dev', 'a', { kind: 'commit', paths: ['/a'] }]]);
    service.pages = [page, new ChassisError('REVIEW_STOPPED', 'no room', 'make some')];
    const failing = client.review('dev', 'a', { kind: 'diff' });
    expect((await failing.next()).value).toEqual(page);
    await expect(failing.next()).rejects.toMatchObject(refusal('REVIEW_STOPPED', /no room/, /make some/));
    service.pages = [page, new Error('secret detail')];
    const broken = client.review('dev', 'a', { kind: 'diff' });
    await broken.next();
    await expect(broken.next()).rejects.toMatchObject(refusal('INTERNAL', /logged/));
    service.failure = new ChassisError('NO_MOUNT', 'no such mount');
    await expect(client.review('dev', 'a', { kind: 'diff' }).next()).rejects.toMatchObject(
      refusal('NO_MOUNT'),
    );
  });

  it('carries metrics as text, and their errors as JSON', async () => {
    expect(await client.metrics()).toMatch(/^chassis_slots{chassis="dev"} 8$/m);
    const answer = await exchange('GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/content-type: text\/plain; version=0\.0\.4/i);
    service.failure = new ChassisError('DEVICE_PROCESS_LOST', 'it died', 'wait');
    await expect(client.metrics()).rejects.toMatchObject(refusal('DEVICE_PROCESS_LOST', /it died/, /wait/));
  });

  it('stops a review whose client has gone', async () => {
    const page = { changes: [], entries: 0, done: false };
    service.pages = Array.from({ length: 100_000 }, () => page);
    const review = client.review('dev', 'a', { kind: 'commit' });
    await review.next();
    expect(service.reviewEnded).toBe(false);
    await review.return(undefined);
    await expect.poll(() => service.reviewEnded).toBe(true);
  });

  it('carries what a command in a guest prints, its input and signals, and ends one whose client has gone', async () => {
    service.execPages = [{ command: 3 }, { stdout: 'AAE=' }, {}, { stderr: 'Yg==', exitCode: 7 }];
    const seen = [];
    for await (const page of client.exec('dev', { command: ['a', 'b'] })) seen.push(page);
    expect(seen).toEqual(service.execPages);
    await client.execInput('dev', 3, { data: 'AAE=' });
    await client.execSignal('dev', 3, 'TERM');
    expect(service.calls).toEqual([
      ['exec', 'dev', { command: ['a', 'b'], env: {} }],
      ['execInput', 'dev', 3, { data: 'AAE=', end: false }],
      ['execSignal', 'dev', 3, 'TERM'],
    ]);
    await expect(client.execSignal('dev', 3, 'SEGV' as 'TERM')).rejects.toMatchObject(refusal('BAD_REQUEST'));
    await expect(client.exec('dev', { command: [] }).next()).rejects.toMatchObject(refusal('BAD_REQUEST'));
    await expect(client.execInput('dev', 3, { data: 'A'.repeat(180_000) })).rejects.toMatchObject(
      refusal('BAD_REQUEST'),
    );
    service.execPages = [{ command: 4 }, new ChassisError('COMMAND_LOST', 'it went')];
    const lost = client.exec('dev', { command: ['a'] });
    await lost.next();
    await expect(lost.next()).rejects.toMatchObject(refusal('COMMAND_LOST'));
    service.execEnded = false;
    service.execPages = Array.from({ length: 100_000 }, () => ({}));
    const gone = client.exec('dev', { command: ['a'] });
    await gone.next();
    await gone.return(undefined);
    await expect.poll(() => service.execEnded).toBe(true);
  });

  it('fills in the defaults of an attach', async () => {
    expect(
      await client.attach('dev', { mounts: [{ tag: 'a', source: { type: 'memory' } }], slot: 3 }),
    ).toEqual([MOUNT]);
    expect(service.calls[0]).toEqual([
      'attach',
      'dev',
      {
        mounts: [{ tag: 'a', source: { type: 'memory' }, readOnly: false }],
        via: 'auto',
        slot: 3,
        permanent: false,
        port: 'auto',
        timeoutMs: 30_000,
      },
    ]);
  });

  it('carries what is asked of disks, with its defaults', async () => {
    const source = { type: 'nbd', uri: 'nbd://host/export' } as const;
    expect(await client.addDisk('dev', { name: 'root', source, slot: 3 })).toEqual(DISK);
    expect(await client.resizeDisk('dev', 'root', { sizeBytes: 1024 })).toEqual(DISK);
    expect([await client.disks('dev'), await client.disks()]).toEqual([[DISK], [DISK]]);
    await client.removeDisk('dev', '../root', { force: true });
    const asked = { readOnly: false, overlay: false, queues: 4, permanent: false };
    const defaults = { ...asked, port: 'auto', timeoutMs: 30_000 };
    expect(service.calls).toEqual([
      ['addDisk', 'dev', { name: 'root', source, slot: 3, ...defaults }],
      ['resizeDisk', 'dev', 'root', { sizeBytes: 1024, shrink: false }],
      ['disks', 'dev'],
      ['disks'],
      ['removeDisk', 'dev', '../root', { force: true, timeoutMs: 30_000 }],
    ]);
  });

  it('carries what is asked of network cards, with its defaults', async () => {
    const network = { type: 'switch', switch: 'lan' } as const;
    expect(
      await client.addCard('dev', { name: 'lan0', network: { ...network, isolated: false, macLock: true } }),
    ).toEqual(CARD);
    await client.addCard('dev', { name: 'n', network: { type: 'passt' } as PasstNetwork, mtu: 9000 });
    expect(await client.setLink('dev', 'lan0', false)).toEqual(CARD);
    expect([await client.cards('dev'), await client.cards()]).toEqual([[CARD], [CARD]]);
    await client.removeCard('dev', '../n');
    const defaults = { queuePairs: 1, up: true, permanent: false, port: 'auto', timeoutMs: 30_000 };
    expect(service.calls).toEqual([
      [
        'addCard',
        'dev',
        { name: 'lan0', network: { ...network, isolated: false, macLock: true }, ...defaults },
      ],
      [
        'addCard',
        'dev',
        { name: 'n', network: { type: 'passt', hostLoopback: true, publish: [] }, mtu: 9000, ...defaults },
      ],
      ['setLink', 'dev', 'lan0', { up: false }],
      ['cards', 'dev'],
      ['cards'],
      ['removeCard', 'dev', '../n', { force: false, timeoutMs: 30_000 }],
    ]);
  });

  it.each<[string, object]>([
    ['an address of a group', { mac: '01:00:5e:00:00:01' }],
    ['an address that is none', { mac: '52:54:00:00:00' }],
    ['a switch whose name is a path', { network: { type: 'switch', switch: '../x' } }],
    ['VLAN 4095', { network: { type: 'switch', switch: 'lan', vlan: 4095 } }],
    ['an empty trunk', { network: { type: 'switch', switch: 'lan', trunk: [] } }],
    ['an interface whose name is a path', { network: { type: 'tap', interface: '../t0' } }],
    ['a port that there is none of', { network: { type: 'passt', publish: [{ host: 0, guest: 80 }] } }],
    ['an MTU below what IPv4 needs', { mtu: 67 }],
    ['33 pairs of queues', { queuePairs: 33 }],
    ['a misspelt option', { queues: 2 }],
  ])('refuses a network card with %s', async (_, wrong) => {
    const card = { name: 'n', network: { type: 'tap', interface: 't0' } as const, ...wrong };
    await expect(client.addCard('dev', card)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(service.calls).toEqual([]);
  });

  it('answers a capture when it ends', async () => {
    const captured = client.capture('dev', 'lan0', { path: '/tmp/x.pcapng', forMs: 5000 });
    while (service.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await client.endCapture('dev', 'lan0');
    expect(await captured).toEqual({ frames: 2, bytes: 300, reason: 'ended' });
    expect(service.calls).toEqual([
      ['capture', 'dev', 'lan0', { path: '/tmp/x.pcapng', forMs: 5000, maxBytes: 2 ** 28, asOnWire: false }],
      ['endCapture', 'dev', 'lan0'],
    ]);
  });

  it('ends a capture whose asker has gone', async () => {
    const asker = connect(apiSocketPath(directory));
    const body = JSON.stringify({ path: '/tmp/x.pcapng' });
    asker.write(
      `POST /v1/chassis/dev/cards/lan0/capture HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    while (service.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    asker.destroy();
    while (service.calls.length === 1) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(service.calls[1]).toEqual(['endCapture', 'dev', 'lan0']);
  });

  it.each<[string, object]>([
    ['a name that is a path', { name: '../x' }],
    ['a serial with a blank', { serial: 'a b' }],
    ['a serial of 21 characters', { serial: 'x'.repeat(21) }],
    ['more queues than a disk has', { queues: 65 }],
    ['a size that cannot be counted', { source: { type: 'memory', sizeBytes: 2 ** 60 } }],
    ['what is kept in nothing', { source: { type: 'memory' } }],
    ['a misspelt option', { readonly: true }],
  ])('refuses a disk with %s', async (_, wrong) => {
    const disk = { name: 'root', source: { type: 'memory', sizeBytes: 512 } as const };
    await expect(client.addDisk('dev', { ...disk, ...wrong })).rejects.toMatchObject(refusal('BAD_REQUEST'));
    expect(service.calls).toEqual([]);
  });

  it.each(['a/b', '..', '?x=1', 'ü#', '%2e', ' ', "it's", 'x'.repeat(255)])(
    'carries the tag %j',
    async (tag) => {
      expect(await client.detach('dev', tag, { force: true, timeoutMs: 5, slot: undefined })).toEqual({
        tags: ['a', 'b'],
      });
      expect(service.calls[0]).toEqual([
        'detach',
        'dev',
        tag,
        { force: true, slot: false, keepFunction: false, discard: false, timeoutMs: 5 },
      ]);
    },
  );

  it('carries errors with code, message and suggestion', async () => {
    service.failure = new ChassisError('SLOT_TAKEN', 'slot 1 is taken', 'use slot 2');
    await expect(client.get('dev')).rejects.toMatchObject({
      name: 'ChassisError',
      code: 'SLOT_TAKEN',
      message: 'slot 1 is taken',
      suggestion: 'use slot 2',
    });
    expect(log).toEqual([]);
  });

  it.each([
    ['an exception', new TypeError('secret detail')],
    ['an errno', Object.assign(new Error('secret detail'), { code: 'EIO', statusCode: 'x' })],
    ['something that is no error', 'secret detail'],
  ])('logs %s, and tells the client nothing of it', async (_, failure) => {
    service.failure = failure;
    const error: unknown = await client.get('dev').catch((e: unknown) => e);
    expect(error).toMatchObject(refusal('INTERNAL'));
    expect(JSON.stringify(error) + String(error)).not.toMatch(/secret/);
    expect(log.join()).toMatch(/secret detail/);
  });

  it('removes its socket when stopped', async () => {
    await server.stop();
    expect(existsSync(apiSocketPath(directory))).toBe(false);
    await expect(client.health()).rejects.toThrow(DaemonNotRunningError);
  });

  it('replaces a socket that was left', async () => {
    await server.stop();
    writeFileSync(apiSocketPath(directory), '');
    server = new ControlServer({ socketPath: apiSocketPath(directory), service, log: silentLog });
    await server.start();
    expect(await client.health()).toEqual({ version: '1.2.3', pid: 7 });
  });
});

describe('ChassisClient', () => {
  const folder = temporaryFolders();

  async function answering(
    listener: RequestListener,
    use: (client: ChassisClient) => Promise<void>,
  ): Promise<void> {
    const directory = folder();
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(apiSocketPath(directory), resolve));
    await use(new ChassisClient({ directory }));
    server.close();
  }

  it('says how to start a daemon where none is', async () => {
    const client = new ChassisClient({ directory: join(folder(), 'nothing') });
    await expect(client.list()).rejects.toMatchObject(refusal('NO_DAEMON', /api\.sock/, /chassis serve/));
  });

  it('says so where a socket was left by a daemon that died', async () => {
    const directory = folder();
    writeFileSync(apiSocketPath(directory), '');
    await expect(new ChassisClient({ directory }).list()).rejects.toMatchObject(refusal('NO_DAEMON'));
  });

  it('turns an answer that is no JSON into an error', () =>
    answering(
      (_, response) => response.end('<html>'),
      (client) => expect(client.list()).rejects.toMatchObject(refusal('INTERNAL', /JSON/)),
    ));

  it('turns an error without a known code into INTERNAL', () =>
    answering(
      (_, response) => response.writeHead(500).end('{"code": "toString", "message": 7}'),
      (client) => expect(client.list()).rejects.toMatchObject(refusal('INTERNAL', /status 500/)),
    ));

  it('says that the daemon went away in the middle of a request', () =>
    answering(
      (request) => request.socket.destroy(),
      (client) => expect(client.list()).rejects.toMatchObject(refusal('NO_DAEMON', /went away/)),
    ));
});
