/** Tlock of clients that would wait, and everything that ends such a wait. */
import { describe, expect, it } from 'vitest';
import { LOCK_WAITS_MAX } from '../../../../devices/9p/server/session.js';
import { Errno } from '../../../../devices/errno.js';
import { Client, clientWithFile } from './support/client.js';
import { MemoryFileSystem } from './support/memory-file-system.js';
import { NOTAG, T } from './support/wire.js';

const WRITE_LOCK = 1;
const BLOCK = 1;
const RECLAIM = 2;
const BLOCKED = 1;

const lock = (tag: number, flags: number): Uint8Array => T.lock(tag, 2, WRITE_LOCK, flags, 0, 0, 7, 'guest');

/** A client whose fid 2 is open on a file that somebody else has locked. */
async function clientOfLocked(): Promise<Client> {
  const client = await clientWithFile();
  client.fs.root.entries.get('file')!.target = 'locked';
  return client;
}

describe('Tlock of a lock that somebody else has', () => {
  it('is told so at once where the client would not wait', async () => {
    const client = await clientOfLocked();
    expect((await client.ok(lock(5, 0))).fields.number(1)).toBe(BLOCKED);
    expect((await client.ok(lock(5, RECLAIM))).fields.number(1)).toBe(BLOCKED);
    await client.expectNoLeaks();
  });

  it('with flags that there are none of is refused', async () => {
    const client = await clientOfLocked();
    for (const flags of [4, 8, 0x80000000, 0xffffffff])
      expect(await client.errno(lock(5, flags))).toBe(Errno.EINVAL);
  });

  it('waits where the client would, while others are served', async () => {
    const client = await clientOfLocked();
    const wait = client.send(lock(5, BLOCK));
    await client.ok(T.getattr(6, 0));
    expect(client.pending).toBe(1);
    await client.ok(T.flush(7, 5));
    expect(await wait).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it('ends with EINTR when its fid is clunked, and leaves no file open', async () => {
    const client = await clientOfLocked();
    const wait = client.call(lock(5, BLOCK));
    await client.ok(T.clunk(6, 2));
    expect((await wait).errno).toBe(Errno.EINTR);
    expect([client.fs.liveFiles, client.server.statistics.openFiles]).toEqual([0, 0]);
    await client.expectNoLeaks();
  });

  it('ends at Tversion, at a reset, and when the server closes', async () => {
    const client = await clientOfLocked();
    const versioned = client.call(lock(5, BLOCK));
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    expect((await versioned).errno).toBe(Errno.EINTR);
    for (const end of ['dropAll', 'close'] as const) {
      const other = await clientOfLocked();
      const wait = other.send(lock(5, BLOCK));
      await other.server[end]();
      expect(await wait).toHaveLength(0);
      expect([other.fs.liveFiles, other.fs.liveNodes, other.log]).toEqual([0, 0, []]);
    }
  });

  it('waits with a bounded number of others: one more is told at once, until a wait ends', async () => {
    const client = await clientOfLocked();
    const waits = Array.from({ length: LOCK_WAITS_MAX }, (_, i) => client.send(lock(100 + i, BLOCK)));
    expect((await client.ok(lock(5, BLOCK))).fields.number(1)).toBe(BLOCKED);
    await client.ok(T.flush(6, 100));
    const again = client.send(lock(5, BLOCK));
    await client.ok(T.getattr(7, 0));
    expect(client.pending).toBe(LOCK_WAITS_MAX);
    await client.server.dropAll();
    for (const wait of [...waits, again]) expect(await wait).toHaveLength(0);
    await client.expectNoLeaks();
  });
});

describe('Tlock on a read-only export', () => {
  it('says so to the file system, which opens nothing for writing then', async () => {
    for (const readOnly of [true, false]) {
      const fs = new MemoryFileSystem();
      fs.file('file', 'hello');
      const client = await Client.attached({ readOnly }, fs);
      await client.ok(T.walk(1, 0, 2, 'file'));
      await client.ok(T.lopen(1, 2, 0));
      expect((await client.ok(lock(5, 0))).fields.number(1)).toBe(0);
      expect(fs.calls.at(-1)).toBe(`lock ${WRITE_LOCK} 0 0${readOnly ? ' read-only' : ''}`);
      await client.expectNoLeaks();
    }
  });
});
