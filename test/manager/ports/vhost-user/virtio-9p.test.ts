import { describe, expect, it } from 'vitest';
import { Virtio9p } from '../../../../devices/9p/virtio-9p.js';
import { MemoryFileSystem } from '../../../devices/9p/server/support/memory-file-system.js';
import { NOFID, NOTAG, T } from '../../../devices/9p/server/support/wire.js';
import { GUEST_BASE, GuestRam, Harness, TestQueue, USER_BASE } from './harness.js';
import { config, Feature, memTable, Request, u64, type RawFrontEnd } from './raw-front-end.js';

const Rread = 117;
const Rlerror = 7;
const MSIZE = 8192;
const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.INDIRECT_DESC | 1n;

interface Mount {
  readonly harness: Harness<Virtio9p>;
  readonly fs: MemoryFileSystem;
  readonly frontEnd: RawFrontEnd;
  readonly queue: TestQueue;
  readonly ram: GuestRam;
}

/** A mount whose fid 1 is an open file of `text`. */
async function mounted(text: string): Promise<Mount> {
  const fs = new MemoryFileSystem();
  fs.file('file', text);
  const options = { maxMsizeBytes: MSIZE, readOnly: false, maxFids: 10, maxOpenFiles: 10, log: () => {} };
  const harness = new Harness(new Virtio9p(fs, 'share', options));
  const ram = new GuestRam('9p');
  const frontEnd = await harness.ready(ram, FEATURES);
  const queue = new TestQueue(harness.reactor, ram);
  await queue.start(frontEnd);
  await openFile(queue);
  return { harness, fs, frontEnd, queue, ram };
}

async function openFile(queue: TestQueue): Promise<void> {
  await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
  await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
  await queue.exchange(T.walk(1, 0, 1, 'file'), MSIZE);
  await queue.exchange(T.lopen(1, 1, 0), MSIZE);
}

async function read(queue: TestQueue): Promise<string | undefined> {
  const reply = await queue.exchange(T.read(1, 1, 0, 1000), MSIZE);
  expect([Rread, Rlerror]).toContain(reply[4]);
  return reply[4] === Rread ? reply.subarray(11).toString() : undefined;
}

describe('a 9p device behind vhost-user', () => {
  it('shows its tag in the config space', async () => {
    const { frontEnd } = await mounted('');
    const reply = await frontEnd.query(Request.GET_CONFIG, config(0, 7));
    expect(reply.subarray(12)).toEqual(Buffer.from('\x05\x00share', 'latin1'));
  });

  it('serves a file', async () => {
    const { queue } = await mounted('in the file');
    expect(await read(queue)).toBe('in the file');
  });

  it('keeps its fids over a pause of the virtual machine', async () => {
    const { frontEnd, queue } = await mounted('in the file');
    const base = await frontEnd.getVringBase(0);
    await frontEnd.set(Request.SET_STATUS, u64(0));
    await queue.start(frontEnd, base);
    expect(await read(queue)).toBe('in the file');
  });

  it('has forgotten them for the next driver', async () => {
    const { harness, frontEnd, ram } = await mounted('in the file');
    await frontEnd.getVringBase(0);
    const next = new TestQueue(harness.reactor, ram);
    await next.start(frontEnd);
    await next.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
    expect(await read(next)).toBeUndefined();
  });

  it('reads on while its memory table is replaced again and again', async () => {
    const { harness, frontEnd, queue, ram } = await mounted('in the file');
    const half = ram.sizeBytes / 2;
    const halves = [0, half].map((at) => {
      return { guest: GUEST_BASE + at, size: half, user: USER_BASE + at, offset: at };
    });
    for (let i = 0; i < 50; i++) {
      const answer = read(queue);
      const table = i % 2 === 0 ? memTable(ram.region) : memTable(...halves);
      await frontEnd.set(Request.SET_MEM_TABLE, table, i % 2 === 0 ? [ram.fd] : [ram.fd, ram.fd]);
      expect(await answer).toBe('in the file');
    }
    expect(harness.events).toEqual(['connect']);
  });

  it('serves the next front-end from the start', async () => {
    const { harness, frontEnd, ram } = await mounted('in the file');
    await harness.disconnect(frontEnd);
    const next = await harness.ready(ram, FEATURES);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(next);
    await openFile(queue);
    expect(await read(queue)).toBe('in the file');
  });
});
