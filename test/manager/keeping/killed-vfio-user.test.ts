/** What comes of a vfio-user client, and of the guest behind it, whose device process is killed. */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeviceSpec } from '../../../manager/device-process/protocol.js';
import { NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { LoadedDisk } from '../hand-over/loaded-disk.js';
import { Common, VfioGuest } from '../ports/vfio-user/guest.js';
import {
  Command,
  CONFIG_REGION,
  ERROR,
  Irq,
  IrqFlag,
  message,
  NO_REPLY,
  pack,
  Payload,
} from '../ports/vfio-user/raw-client.js';
import { GUEST_BASE, GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { attachRoot, MSIZE, readFid } from '../nine-p-client.js';
import { temporaryFolders } from '../temporary-folder.js';
import { KillableProcess, type Use } from './killable.js';

const MIB = 2 ** 20;
const Rgetattr = 25;
const Rlerror = 7;
const EEXIST = 17;
const KILLS = Number(process.env.CHASSIS_CRASHES ?? 3);
const BY_MSIX: Use = { port: 'vfio-user', msix: true };
const BY_INTX: Use = { port: 'vfio-user', msix: false };
const folder = temporaryFolders();
let shared: string;
let killable: KillableProcess;
const guests: VfioGuest[] = [];

beforeEach(async () => {
  shared = folder();
  killable = await new KillableProcess(folder()).start();
});
afterEach(async () => {
  const problems = guests.splice(0).flatMap((guest) => guest.problems);
  await killable.stop();
  expect(problems).toEqual([]);
});

async function connect(socketPath: string): Promise<VfioGuest> {
  const guest = await VfioGuest.connect(killable.reactor, socketPath);
  guests.push(guest);
  return guest;
}

const mount = (): DeviceSpec => ({
  ...{ type: '9p', tag: 'a', readOnly: false },
  source: { type: 'directory', path: shared },
});

/** A client's queue of a 9p device, with its root as fid 0. */
async function client(socketPath: string, { msix }: Use) {
  const ram = new GuestRam('9p');
  const guest = await connect(socketPath);
  const queue = new TestQueue(killable.reactor, ram);
  await guest.start(queue, ram, msix);
  await attachRoot(queue);
  return { guest, queue, ram };
}

describe('a device process that is killed, over vfio-user', () => {
  for (const use of [BY_MSIX, BY_INTX]) {
    const by = use.msix ? 'MSI-X' : 'INTx';

    it(`leaves a 9p client its open files, and interrupts by ${by} go on`, async () => {
      writeFileSync(join(shared, 'file'), 'in the file');
      const { queue, guest } = await client(await killable.serve(mount(), 0, use), use);
      await queue.exchange(T.walk(1, 0, 1, 'file'), MSIZE);
      await queue.exchange(T.lopen(1, 1, 0), MSIZE);
      for (let turn = 0; turn < 2; turn++) {
        await killable.kill();
        expect(await readFid(queue, 1)).toBe('in the file');
      }
      expect(await guest.get(Common.STATUS)).toBe(15);
    });

    it(`loses no request of a disk by ${by}`, async () => {
      const path = join(shared, 'disk.img');
      writeFileSync(path, '');
      truncateSync(path, MIB);
      const socketPath = await killable.serve(
        {
          ...{ type: 'disk', source: { type: 'file', path }, readOnly: false, overlay: false, queues: 1 },
          serial: 's',
        },
        0,
        use,
      );
      const load = await LoadedDisk.startOn(killable.reactor, 8, async (queue, ram) => {
        await (await connect(socketPath)).start(queue, ram, use.msix);
      });
      for (let turn = 0; turn < KILLS; turn++) {
        await load.progress(200);
        await killable.kill();
      }
      await load.progress(200);
      await load.stop();
    });
  }

  it('goes on with memory that was mapped and unmapped, and with a device that was reset', async () => {
    const { queue, guest, ram } = await client(await killable.serve(mount(), 0, BY_MSIX), BY_MSIX);
    const more = new GuestRam('more');
    const above = 0x2_0000_0000;
    expect(await guest.map(more, above)).toBe(0);
    await killable.kill();
    expect(await guest.map(more, above)).toBe(EEXIST);
    expect(await guest.ask(Command.DMA_UNMAP, Payload.dmaUnmap(above, more.sizeBytes))).toBe(0);
    await killable.kill();
    expect(await guest.map(more, above)).toBe(0);
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
    await guest.set(Common.STATUS, 0);
    await killable.kill();
    expect(await guest.get(Common.STATUS)).toBe(0);
    ram.bytes.fill(0);
    const again = new TestQueue(killable.reactor, ram);
    const vector = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.MSIX, 1, 1);
    expect(await guest.ask(Command.SET_IRQS, vector, { fds: [again.call.fd] })).toBe(0);
    await guest.restart(again, true);
    again.kick = () => void guest.ring();
    await again.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
    expect((await again.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rlerror);
    expect(await guest.ask(Command.RESET)).toBe(0);
    await killable.kill();
    expect(await guest.get(Common.STATUS)).toBe(0);
    expect(await guest.get(Common.QUEUE_DESC)).toBe(0);
  });

  it('is gone on for in the middle of what a driver sets up', async () => {
    const socketPath = await killable.serve(mount(), 0, BY_MSIX);
    const ram = new GuestRam('9p');
    const guest = await connect(socketPath);
    const queue = new TestQueue(killable.reactor, ram);
    const set = guest.set.bind(guest);
    guest.set = async (register, value) => {
      await set(register, value);
      if (register === Common.DRIVER_FEATURE || register === Common.QUEUE_ENABLE) await killable.kill();
    };
    await guest.start(queue, ram, true);
    await attachRoot(queue);
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
  });

  it('had half a message before it, which goes on where it was, with its descriptor', async () => {
    const guest = await connect(await killable.serve(mount(), 0, BY_MSIX));
    const ram = new GuestRam('half');
    const map = message(Command.DMA_MAP, Payload.dmaMap(GUEST_BASE, ram.sizeBytes));
    guest.client.send(map.subarray(0, 20), [ram.fd]);
    await killable.host.status();
    await killable.kill();
    guest.client.send(map.subarray(20, 30));
    await killable.host.status();
    await killable.kill();
    guest.client.send(map.subarray(30));
    expect(await guest.client.reply()).toMatchObject({ command: Command.DMA_MAP, errno: 0 });
    expect(await guest.map(ram)).toBe(EEXIST);
  });

  it('serves what came all at once, and what wants no reply, in order', async () => {
    const guest = await connect(await killable.serve(mount(), 0, BY_MSIX));
    const line = (value: number, flags = 0, id = value): Buffer =>
      message(Command.REGION_WRITE, Payload.regionWrite(CONFIG_REGION, 0x3c, pack([1, value])), {
        flags,
        id,
      });
    const read = (id: number): Buffer =>
      message(Command.REGION_READ, Payload.regionRead(CONFIG_REGION, 0x3c, 1), { id });
    for (let turn = 0; turn < 2; turn++) {
      guest.client.send(Buffer.concat([line(1), line(2, NO_REPLY), read(3), line(4, NO_REPLY), read(5)]));
      const replies = [await guest.client.reply(), await guest.client.reply(), await guest.client.reply()];
      expect(replies.map(({ id, payload }) => [id, payload.at(16)])).toEqual([
        [1, undefined],
        [3, 2],
        [5, 4],
      ]);
      if (turn === 0) await killable.kill();
    }
  });

  it('is gone on for after messages that are too large to be kept', async () => {
    const guest = await connect(await killable.serve(mount(), 0, BY_MSIX));
    await guest.client.readRegion(4, 0, 16_384);
    const large = Payload.regionWrite(4, 0x100000, Buffer.alloc(100_000));
    const written = guest.client.reply();
    await guest.client.sendLarge(message(Command.REGION_WRITE, large));
    await written;
    await guest.set(Common.STATUS, 1);
    await killable.kill();
    expect(await guest.get(Common.STATUS)).toBe(1);
  });

  it('is gone on for by a process that another daemon starts, and after an upgrade', async () => {
    const { queue } = await client(await killable.serve(mount(), 0, BY_INTX), BY_INTX);
    await killable.changeDaemon();
    await killable.kill();
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
    await killable.upgrade();
    await killable.kill();
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
  });

  it('leaves a client of a tree what it has open in a child', async () => {
    writeFileSync(join(shared, 'file'), 'in the child');
    killable.fill = (host) =>
      host.addChild({
        ...{ function: 'slot1-fn0', name: 'child', readOnly: false },
        source: { type: 'directory', path: shared },
      });
    const tree: DeviceSpec = { type: '9p', tag: 'c', source: { type: 'tree' }, readOnly: false };
    const { queue } = await client(await killable.serve(tree, 0, BY_INTX), BY_INTX);
    await queue.exchange(T.walk(1, 0, 1, 'child', 'file'), MSIZE);
    await queue.exchange(T.lopen(1, 1, 0), MSIZE);
    await killable.kill();
    expect(await readFid(queue, 1)).toBe('in the child');
  });

  it('goes on with all functions of a slot', async () => {
    const uses = [BY_MSIX, BY_INTX, BY_MSIX];
    const clients = [];
    for (const [fn, use] of uses.entries())
      clients.push(await client(await killable.serve(mount(), fn, use), use));
    await killable.kill();
    for (const { queue } of clients) expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
  });

  it('cuts a VMM off that it has served since nobody heard of it any more', async () => {
    const { guest } = await client(await killable.serve(mount(), 0, BY_MSIX), BY_MSIX);
    killable.keeper.close();
    const vector = Payload.setIrqs(IrqFlag.NONE | IrqFlag.TRIGGER, Irq.MSIX, 0, 0);
    await guest.ask(Command.SET_IRQS, vector);
    await killable.kill();
    await guest.client.closed();
    killable.log.length = 0;
  });

  it('answers each message of its VMM once, wherever the kill falls', async () => {
    const guest = await connect(await killable.serve(mount(), 0, BY_MSIX));
    const { client: vmm } = guest;
    const ram = new GuestRam('messages');
    let [killing, count] = [true, 0];
    const done = (async () => {
      for (; killing; count++) {
        expect(await guest.map(ram)).toBe(0);
        await vmm.writeNumber(CONFIG_REGION, 0x3c, 1, count & 0xff);
        expect(await guest.ask(Command.DMA_UNMAP, Payload.dmaUnmap(GUEST_BASE, ram.sizeBytes))).toBe(0);
        const { flags, payload } = await vmm.request(
          Command.REGION_READ,
          Payload.regionRead(CONFIG_REGION, 0x3c, 1),
        );
        expect([flags & ERROR, payload.length, payload[16]]).toEqual([0, 17, count & 0xff]);
        await new Promise(setImmediate);
      }
    })();
    done.catch(() => undefined);
    for (let turn = 0; turn < KILLS; turn++) {
      const before = count;
      while (count < before + 2) await Promise.race([done, new Promise(setImmediate)]);
      await new Promise((resolve) => setTimeout(resolve, turn));
      await killable.kill();
    }
    killing = false;
    await done;
  });
});
