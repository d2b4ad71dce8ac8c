import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { Errno } from '../../../devices/errno.js';
import { Mount } from '../../../guest/9p/mount.js';
import { SocketTransport9p } from '../../../guest/9p/socket-transport.js';
import { MAX_CONNECTIONS } from '../../../manager/export/export-server.js';
import { NOFID, NOTAG, Older, T } from '../../devices/9p/server/support/wire.js';
import { PATIENTLY } from '../patiently.js';
import { temporaryFolders } from '../temporary-folder.js';
import { ExportUnderTest } from './export-under-test.js';

const folder = temporaryFolders();

async function mount(server: ExportUnderTest, msize: number): Promise<Mount> {
  const socket = await server.socket();
  return Mount.connect(new SocketTransport9p(socket, msize), { msize, uid: process.getuid?.() }, async () => {
    socket.destroy();
  });
}

describe('an export', () => {
  it.each([
    ['a unix socket', false],
    ['TCP', true],
  ])('serves a directory over %s, in messages of up to 8 MiB', async (_, tcp) => {
    const root = folder();
    const settings = { fs: await HostDirectory.open(root), maxMessageBytes: 8 << 20 };
    const server = new ExportUnderTest(folder(), settings, tcp);
    const content = randomBytes(8_500_001);
    for (const msize of [65_536, 1 << 20, 8 << 20]) {
      const mounted = await mount(server, msize);
      expect(mounted.client.msize).toBe(msize);
      await mounted.writeFile('file', content);
      expect(readFileSync(join(root, 'file')).equals(content)).toBe(true);
      const files = await Promise.all(Array.from({ length: 3 }, () => mounted.readFile('file')));
      for (const file of files) expect(content.equals(file)).toBe(true);
      await mounted.unmount();
    }
    await server.server.close();
    server.reactor.close();
  });

  it('gives each client a session of its own, on one file system that outlives them', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    const [one, two] = [await server.attached(), await server.attached()];
    expect((await one.call(T.walk(1, 0, 1, 'file'))).type).toBe(111);
    expect((await two.call(T.getattr(1, 1))).errno).toBe(Errno.EBADF);
    expect((await two.call(T.walk(1, 0, 1, 'file'))).type).toBe(111);
    one.socket.destroy();
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(1);
    expect((await two.call(T.lopen(1, 1, 0))).type).toBe(13);
    expect(server.memory.closed).toBe(false);
    await server.expectCleanEnd();
  });

  it.each(['9P2000', '9P2000.u'])('speaks %s', async (version) => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    const client = await server.client();
    expect((await client.call(T.version(NOTAG, 8192, version))).type).toBe(101);
    const attach =
      version === '9P2000' ? Older.attach(1, 0, NOFID, '0', '') : T.attach(1, 0, NOFID, 'u', '', 0);
    expect((await client.call(attach)).type).toBe(105);
    expect((await client.call(T.walk(1, 0, 1, 'file'))).type).toBe(111);
    expect((await client.call(Older.open(1, 1, 0))).type).toBe(113);
    const { bytes } = await client.call(T.read(1, 1, 0, 100));
    expect(Buffer.from(bytes.subarray(11)).toString()).toBe('hello');
    await server.expectCleanEnd();
  });

  it('answers what is done first, and a Tflush after what it ends', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello').target = 'blocks';
    const client = await server.attached();
    await client.call(T.walk(1, 0, 1, 'file'));
    await client.call(T.lopen(1, 1, 0));
    client.send(T.read(5, 1, 0, 5), T.getattr(6, 0), T.flush(7, 5));
    expect([(await client.next()).tag, (await client.next()).tag]).toEqual([6, 7]);
    expect(client.replies).toEqual([]);
    await server.expectCleanEnd();
  });

  it('answers a batch of hundreds of requests that take their time, each once', async () => {
    const server = new ExportUnderTest(folder());
    const client = await server.attached();
    const gate = server.memory.gate('getattr');
    client.send(...Array.from({ length: 900 }, (_, i) => T.getattr(100 + i, 0)));
    await gate.arrived;
    gate.open();
    const tags = new Set<number>();
    for (let i = 0; i < 900; i++) tags.add((await client.next()).tag);
    expect(tags.size).toBe(900);
    expect(Math.min(...tags)).toBe(100);
    expect(Math.max(...tags)).toBe(999);
    await server.expectCleanEnd();
  });

  it('keeps the data of writes that wait apart from what is received meanwhile', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', '');
    const client = await server.attached();
    await client.call(T.walk(1, 0, 1, 'file'));
    await client.call(T.lopen(1, 1, 2));
    const gate = server.memory.gate('write');
    const blocks = Array.from({ length: 40 }, (_, i) => new Uint8Array(20_000).fill(i + 1));
    blocks.forEach((block, i) => client.send(T.write(10 + i, 1, i * block.length, block)));
    await expect.poll(() => server.sessions[0].statistics.requests, PATIENTLY).toBe(4 + blocks.length);
    gate.open();
    for (let i = 0; i < blocks.length; i++) expect((await client.next()).type).toBe(119);
    const { data } = server.memory.root.entries.get('file')!;
    expect(Buffer.concat(blocks).equals(data)).toBe(true);
    await server.expectCleanEnd();
  });

  it('releases everything of a client that goes away in the middle of requests', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    const client = await server.attached();
    await client.call(T.walk(1, 0, 1, 'file'));
    await client.call(T.lopen(1, 1, 2));
    const gates = ['read', 'write', 'walk'].map((operation) => server.memory.gate(operation));
    client.send(T.read(2, 1, 0, 5), T.write(3, 1, 0, new Uint8Array(9000)), T.walk(4, 0, 2, 'file'));
    await Promise.all(gates.map(({ arrived }) => arrived));
    client.socket.destroy();
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(0);
    for (const gate of gates) gate.open();
    await expect.poll(() => server.memory.liveNodes + server.memory.liveFiles, PATIENTLY).toBe(0);
    await server.expectCleanEnd();
  });

  it('refuses one client more than it takes, and takes another once one has left', async () => {
    const server = new ExportUnderTest(folder());
    const clients = [];
    for (let i = 0; i < MAX_CONNECTIONS; i++) clients.push(await server.attached());
    const refused = await server.client();
    await refused.closed;
    clients[0].socket.destroy();
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(MAX_CONNECTIONS - 1);
    await server.attached();
    await server.expectCleanEnd();
  });
});
