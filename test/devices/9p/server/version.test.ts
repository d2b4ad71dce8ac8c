import { describe, expect, it } from 'vitest';
import { Server } from '../../../../devices/9p/server/server.js';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { MemoryFileSystem } from './support/memory-file-system.js';
import { NOFID, NOTAG, T } from './support/wire.js';

describe('Tversion', () => {
  it.each([0, 6, 7, 11, 23, 24, 4095])('with an msize of %d is refused', async (msize) => {
    const client = new Client();
    expect(await client.errno(T.version(NOTAG, msize, '9P2000.L'))).toBe(Errno.EMSGSIZE);
  });

  it('agrees to the lesser of both sides’ msize', async () => {
    const client = new Client({ maxMsizeBytes: 16384 });
    for (const [asked, agreed] of [
      [4096, 4096],
      [16385, 16384],
      [0xffffffff, 16384],
    ]) {
      const fields = (await client.ok(T.version(NOTAG, asked, '9P2000.L'))).fields;
      expect([fields.number(4), fields.text()]).toEqual([agreed, '9P2000.L']);
    }
  });

  it.each(['', 'unknown', '9p2000', '9P', '9P200', '9P1999.u', '9P2000x', ' 9P2000', '9P1000000000000'])(
    'of %o, which is not spoken here, is answered with "unknown", and nothing else is until another Tversion',
    async (version) => {
      const client = await Client.attached();
      expect((await client.ok(T.version(NOTAG, 8192, version))).fields.bytes(4 + 9).subarray(6)).toEqual(
        new Uint8Array(Buffer.from('unknown')),
      );
      expect(await client.errno(T.attach(1, 0, NOFID, '', '', 0))).toBe(Errno.EPROTO);
      await client.start();
    },
  );

  it.each(['9P2000', '9P2000.', '9P2000.l', '9P2000.L ', '9P2000.L.u', '9P2001', '9P2010.x'])(
    'of %o agrees to what it extends, plain 9P2000',
    async (version) => {
      const client = await Client.attached();
      const fields = (await client.ok(T.version(NOTAG, 8192, version))).fields;
      expect([fields.number(4), fields.text(), fields.left]).toEqual([8192, '9P2000', 0]);
      await client.start();
    },
  );

  it('drops every fid and closes every file', async () => {
    const client = await Client.attached();
    client.fs.file('file', 'x');
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(T.lopen(1, 1, 2));
    await client.ok(T.xattrcreate(1, 0, 'user.never', 5, 0));
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    expect([client.fs.liveNodes, client.fs.liveFiles, client.server.statistics.fids]).toEqual([0, 0, 0]);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    expect(client.fs.root.xattrs.size).toBe(0);
  });

  it('changes nothing where its reply has no room', async () => {
    const client = await Client.attached();
    expect(await client.errno(T.version(NOTAG, 65536, '9P2000'), { room: 20 })).toBe(Errno.EMSGSIZE);
    await client.ok(T.getattr(1, 0));
    expect((await client.call(T.version(NOTAG, 65536, '9P2000.u'), { room: 21 })).type).toBe(101);
  });

  it('waits for the requests before it, and makes those after it wait', async () => {
    const client = await Client.attached();
    client.fs.file('file', 'x');
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(1, 0, 1, 'file'));
    await gate.arrived;
    const version = client.call(T.version(NOTAG, 8192, '9P2000.L'));
    const attach = client.call(T.attach(2, 0, NOFID, '', '', 0));
    const again = client.call(T.version(NOTAG, 8192, '9P2000.L'));
    expect(client.pending).toBe(4);
    gate.open();
    expect((await Promise.all([walk, version, attach, again])).map(({ type }) => type)).toEqual([
      111, 101, 105, 101,
    ]);
    expect(client.order.slice(-4).map(({ tag }) => tag)).toEqual([1, NOTAG, 2, NOTAG]);
    await client.expectNoLeaks();
  });

  it('makes a read that waits for something give up', async () => {
    const client = await Client.attached();
    client.fs.file('events', '').target = 'blocks';
    await client.ok(T.walk(1, 0, 1, 'events'));
    await client.ok(T.lopen(1, 1, 0));
    const read = client.call(T.read(5, 1, 0, 10));
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    expect((await read).errno).toBe(Errno.EINTR);
    await client.expectNoLeaks();
  });

  it('is refused a server that could not agree to any', () => {
    const options = { readOnly: false, maxFids: 1, maxOpenFiles: 1, log: () => undefined };
    for (const maxMsizeBytes of [0, 4095, NaN])
      expect(() => new Server(new MemoryFileSystem(), { ...options, maxMsizeBytes })).toThrow(RangeError);
  });
});

describe('Tauth', () => {
  it('is refused with ENOENT, by which diod’s clients know that there is no authentication', async () => {
    const client = await Client.attached();
    expect(await client.errno(T.auth(1, 9, 'user', '', 0))).toBe(Errno.ENOENT);
  });
});
