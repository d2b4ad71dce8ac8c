import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HostDirectory } from '../../../../devices/9p/fs/host-directory/host-directory.js';
import { Virtio9p } from '../../../../devices/9p/virtio-9p.js';
import { VirtioBlk } from '../../../../devices/blk/virtio-blk.js';
import { VirtioNet } from '../../../../devices/net/virtio-net.js';
import type { VirtioDevice } from '../../../../devices/virtio/device.js';
import { NOFID, NOTAG, T } from '../../../devices/9p/server/support/wire.js';
import { MemoryStore } from '../../../devices/9p/server/journal/memory-store.js';
import { ScriptedBackend } from '../../../devices/blk/support/scripted-backend.js';
import { TestBackend } from '../../../devices/net/support/frames.js';
import { MAC_A, MAC_B, mac } from '../../../devices/net/support/packets.js';
import { GuestRam, Harness, openDescriptors, PackedQueue, TestQueue, type AnyQueue } from './harness.js';
import { expectant, goOn, load, save } from './moved.js';
import { config, Feature, Request, u64, type RawFrontEnd } from './raw-front-end.js';

const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
const formats = [
  { name: 'split', Queue: TestQueue, ring: 0n },
  { name: 'packed', Queue: PackedQueue, ring: Feature.RING_PACKED },
];

interface Source<D extends VirtioDevice> {
  readonly harness: Harness<D>;
  readonly frontEnd: RawFrontEnd;
  readonly ram: GuestRam;
  readonly queue: AnyQueue;
  readonly features: bigint;
}

/** Moves the driver of `source` to `device`, with no chance for either to do anything in between. */
async function moved<D extends VirtioDevice>(source: Source<D>, device: D) {
  const { frontEnd, ram, queue, features } = source;
  const base = await frontEnd.getVringBase(queue.index);
  const state = await save(frontEnd);
  await source.harness.disconnect(frontEnd);
  const harness = new Harness(device);
  const next = await expectant(harness);
  expect(await load(next, state)).toBe(0);
  await goOn(next, ram, features, [[queue, base]]);
  return { harness, frontEnd: next };
}

describe.each(formats)('a device’s state, over $name rings', ({ Queue, ring }) => {
  async function running<D extends VirtioDevice>(device: D, features: bigint, index = 0): Promise<Source<D>> {
    const harness = new Harness(device);
    const ram = new GuestRam('moved');
    const frontEnd = await harness.ready(ram, FEATURES | ring | features);
    const queue = new Queue(harness.reactor, ram, index);
    await queue.start(frontEnd);
    return { harness, frontEnd, ram, queue, features: FEATURES | ring | features };
  }

  const FLUSH = 1n << 9n;
  const CONFIG_WCE = 1n << 11n;
  const WRITEBACK = 32;
  const DISK = { serial: 'moved', log: () => {} };
  /** type[4] reserved[4] sector[8] data[512] */
  const WRITE = Buffer.concat([Buffer.of(1), Buffer.alloc(15 + 512)]);

  it.each([true, false])('takes the cache mode of a disk along (requests before: %s)', async (used) => {
    const newDisk = () => {
      const backend = new ScriptedBackend();
      return { backend, device: new VirtioBlk(backend, DISK) };
    };
    const source = await running(newDisk().device, FLUSH | CONFIG_WCE);
    if (used) await source.queue.exchange(WRITE, 1);
    await source.frontEnd.set(Request.SET_CONFIG, config(WRITEBACK, 1, Uint8Array.of(0)));
    const { backend, device } = newDisk();
    const { harness, frontEnd } = await moved(source, device);
    const reply = await frontEnd.query(Request.GET_CONFIG, config(0, 60));
    expect(reply[12 + WRITEBACK]).toBe(0);
    expect(await source.queue.exchange(WRITE, 1)).toEqual(Buffer.of(0));
    expect(harness.events).toEqual(['connect']);
    expect(backend.calls.filter(({ operation }) => operation === 'write')).toMatchObject([{ durable: true }]);
  });

  it('has every write of a disk on the medium where a driver goes on of which nothing was said, until it is reset', async () => {
    const source = await running(new VirtioBlk(new ScriptedBackend(), DISK), FLUSH | CONFIG_WCE);
    const { queue, ram, features } = source;
    await queue.exchange(WRITE, 1);
    const base = await source.frontEnd.getVringBase(0);
    await source.harness.disconnect(source.frontEnd);
    const backend = new ScriptedBackend();
    const harness = new Harness(new VirtioBlk(backend, DISK));
    const frontEnd = await harness.ready(ram, features);
    await queue.start(frontEnd, base);
    await queue.exchange(WRITE, 1);
    // After a pause it is the same one.
    await queue.start(frontEnd, await frontEnd.getVringBase(0));
    await queue.exchange(WRITE, 1);
    await frontEnd.set(Request.RESET_DEVICE);
    ram.bytes.fill(0);
    await frontEnd.set(Request.SET_FEATURES, u64(features));
    const fresh = new Queue(harness.reactor, ram, 0);
    await fresh.start(frontEnd);
    await fresh.exchange(WRITE, 1);
    await fresh.start(frontEnd, await frontEnd.getVringBase(0));
    await fresh.exchange(WRITE, 1);
    const writes = backend.calls.filter(({ operation }) => operation === 'write');
    expect(writes.map(({ durable }) => durable)).toEqual([true, true, false, false]);
  });

  it('takes along what a card’s driver said by commands', async () => {
    const CTRL = (1n << 17n) | (1n << 18n) | (1n << 23n);
    const newCard = () => new VirtioNet(new TestBackend(), { mac: MAC_A, queueSize: 64 });
    const source = await running(newCard(), CTRL, 2);
    const { queue, harness } = source;
    for (const command of [Uint8Array.of(1, 1, ...mac(MAC_B)), Uint8Array.of(0, 0, 1)])
      expect(await queue.exchange(command, 1)).toEqual(Buffer.of(0));
    const before = harness.device.saveState();
    const { harness: after, frontEnd } = await moved(source, newCard());
    expect(after.device.saveState()).toEqual(before);
    const reply = await frontEnd.query(Request.GET_CONFIG, config(0, 6));
    expect(reply.subarray(12)).toEqual(Buffer.from(mac(MAC_B)));
    expect(await queue.exchange(Uint8Array.of(0, 0, 0), 1)).toEqual(Buffer.of(0));
  });

  it('takes open files of a mount along', async () => {
    const folder = new Folder();
    const source = await running(await folder.mount(), 1n);
    await openFile(source.queue);
    await moved(source, await folder.mount());
    expect(await read(source.queue)).toBe('in the file');
  });
});

const MSIZE = 8192;
const Rread = 117;

class Folder {
  readonly path = mkdtempSync(join(tmpdir(), 'chassis-moved-'));
  readonly file = join(this.path, 'file');

  constructor() {
    writeFileSync(this.file, 'in the file');
    onTestFinished(() => rmSync(this.path, { recursive: true }));
  }

  async mount(tag = 'share', journal?: MemoryStore): Promise<Virtio9p> {
    const fs = await HostDirectory.open(this.path, {});
    const options = { maxMsizeBytes: MSIZE, readOnly: false, maxFids: 10, maxOpenFiles: 10, log: () => {} };
    const device = new Virtio9p(fs, tag, options, journal);
    onTestFinished(() => device.close());
    return device;
  }
}

async function openFile(queue: AnyQueue): Promise<void> {
  await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
  await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
  await queue.exchange(T.walk(1, 0, 1, 'file'), MSIZE);
  await queue.exchange(T.lopen(1, 1, 0), MSIZE);
}

async function read(queue: AnyQueue): Promise<string | undefined> {
  const reply = await queue.exchange(T.read(1, 1, 0, 1000), MSIZE);
  return reply[4] === Rread ? reply.subarray(11).toString() : undefined;
}

describe('the state of a mount', () => {
  async function mounted(journal?: MemoryStore) {
    const folder = new Folder();
    const harness = new Harness(await folder.mount('share', journal));
    const ram = new GuestRam('moved');
    const frontEnd = await harness.ready(ram, FEATURES | 1n);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await openFile(queue);
    return { folder, harness, ram, frontEnd, queue };
  }

  it('stays where it is, too: a move that fails elsewhere is none', async () => {
    const { frontEnd, queue } = await mounted();
    for (let turn = 0; turn < 3; turn++) {
      const base = await frontEnd.getVringBase(0);
      await save(frontEnd);
      await queue.start(frontEnd, base);
      expect(await read(queue)).toBe('in the file');
    }
  });

  it('leaves the journal to the mount that it is of, which keeps or removes it', async () => {
    const journal = new MemoryStore();
    const { harness, frontEnd } = await mounted(journal);
    await frontEnd.getVringBase(0);
    await save(frontEnd);
    expect(journal.read()).toBeDefined();
    await harness.disconnect(frontEnd);
    while (journal.read() !== undefined) await new Promise(setImmediate);
  });

  it('is not told where a file is open that has no name any more, and all goes on', async () => {
    const { harness, frontEnd, queue } = await mounted();
    await queue.exchange(T.unlinkat(1, 0, 'file', 0), MSIZE);
    const base = await frontEnd.getVringBase(0);
    await expect(save(frontEnd)).rejects.toThrow('saving was answered with 261');
    expect(harness.events.at(-1)).toBe(
      'log: the device\'s state cannot be saved: "/file" (fid 1) is open but unlinked, and its descriptor cannot go along: have it closed first',
    );
    await queue.start(frontEnd, base);
    expect(await read(queue)).toBe('in the file');
  });

  it('is refused where a file is missing, by its name, and leaves no fid behind', async () => {
    const { folder, frontEnd, queue, ram } = await mounted();
    const base = await frontEnd.getVringBase(0);
    const state = await save(frontEnd);
    unlinkSync(folder.file);
    const other = new Harness(await folder.mount());
    const next = await expectant(other);
    expect(await load(next, state)).toBe(5);
    expect(other.events.at(-1)).toMatch(/^log: the device's state cannot be loaded: .*file/);
    await goOn(next, ram, FEATURES | 1n, [[queue, base]]);
    expect(await read(queue)).toBeUndefined();
  });

  it('is refused by a mount of another name', async () => {
    const { folder, frontEnd } = await mounted();
    await frontEnd.getVringBase(0);
    const state = await save(frontEnd);
    const other = new Harness(await folder.mount('other'));
    expect(await load(await expectant(other), state)).toBe(5);
    expect(other.events.at(-1)).toBe(
      "log: the device's state cannot be loaded: its config space says other things than this one",
    );
  });

  it('is dropped where a driver begins that agreed to other features', async () => {
    const { folder, frontEnd, queue, ram } = await mounted();
    const base = await frontEnd.getVringBase(0);
    const state = await save(frontEnd);
    const other = new Harness(await folder.mount());
    const next = await expectant(other);
    expect(await load(next, state)).toBe(0);
    await goOn(next, ram, FEATURES | 1n | Feature.INDIRECT_DESC, [[queue, base]]);
    expect(await read(queue)).toBeUndefined();
    expect(other.events.at(-1)).toBe('log: the state that was loaded is of another driver: it is dropped');
  });

  it('is dropped where the front-end leaves, with what it had open', async () => {
    const { folder, harness, frontEnd } = await mounted();
    await frontEnd.getVringBase(0);
    const state = await save(frontEnd);
    const other = new Harness(await folder.mount());
    const before = openDescriptors();
    for (let turn = 0; turn < 2; turn++) {
      const next = await expectant(other);
      expect(await load(next, state)).toBe(0);
      expect(await other.server.pause(100)).toBe('its state is being moved to another one, or from one');
      other.server.resume();
      await other.disconnect(next);
      while (openDescriptors() !== before) await new Promise(setImmediate);
    }
    expect(harness.server.connected).toBe(true);
  });
});
