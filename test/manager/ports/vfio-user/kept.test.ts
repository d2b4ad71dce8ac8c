/** What whoever keeps a connection is told while a client and its guest are at work, and what it is not. */
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import type { Told } from '../../../../manager/ports/keeping/told.js';
import { MAX_KEPT_MAPS } from '../../../../manager/ports/vfio-user/kept-state.js';
import { EchoDevice, GUEST_BASE, GuestRam, TestQueue } from '../vhost-user/harness.js';
import { Common, VfioGuest } from './guest.js';
import { Harness, openDescriptors } from './harness.js';
import { Command, CONFIG_REGION, Irq, IrqFlag, message, NO_REPLY, pack, Payload } from './raw-client.js';

function keptServer({ msix, hears = () => true }: { msix: boolean; hears?: () => boolean }) {
  const told: Told[] = [];
  const keeper = {
    isThere: true,
    tell: async (what: Told): Promise<boolean> => {
      told.push(what);
      await new Promise(setImmediate);
      return hears();
    },
    ended: async () => undefined,
  };
  const device = new EchoDevice();
  const harness = new Harness<VirtioPciFunction>(
    (memory, records) => new VirtioPciFunction(device, memory, { msix, records }),
    undefined,
    (folder, fn) => ({
      ...{ keeper, extras: undefined, queueSizes: device.queueSizes, function: fn },
      inflightPath: join(folder, 'inflight'),
    }),
  );
  onTestFinished(() => harness.server.forget());
  const connect = () => VfioGuest.connect(harness.reactor, harness.path);
  return { harness, told, device, connect };
}

/** A guest whose driver is at work. */
async function working(msix: boolean, hears?: () => boolean) {
  const server = keptServer({ msix, ...(hears && { hears }) });
  const ram = new GuestRam('kept');
  const guest = await server.connect();
  const queue = new TestQueue(server.harness.reactor, ram);
  await guest.start(queue, ram, msix);
  expect(await queue.roundTrip('first')).toBe('first');
  return { ...server, ram, guest, queue };
}

describe('a vfio-user connection that is kept', () => {
  for (const msix of [true, false]) {
    it(`tells nobody of kicks, interrupts by ${msix ? 'MSI-X' : 'INTx'} and registers, however many there are`, async () => {
      const { told, queue, guest } = await working(msix);
      told.length = 0;
      for (let i = 0; i < 20; i++) expect(await queue.roundTrip(`round ${i}`)).toBe(`round ${i}`);
      await guest.readIsr();
      await guest.unmaskIntx();
      for (let select = 0; select < 20; select++) await guest.set(Common.QUEUE_SELECT, select);
      await guest.client.writeNumber(CONFIG_REGION, 0x3c, 1, 5);
      await guest.ask(Command.RESET);
      expect(told).toEqual([]);
      expect(guest.problems).toEqual([]);
    });
  }

  it('tells of each message that changes memory or interrupts, and of that alone', async () => {
    const { told, guest } = await working(true);
    const other = new GuestRam('other');
    const above = 0x2_0000_0000;
    told.length = 0;
    await guest.map(other, above);
    await guest.ask(Command.DMA_UNMAP, Payload.dmaUnmap(above, other.sizeBytes));
    const none = Payload.setIrqs(IrqFlag.NONE | IrqFlag.TRIGGER, Irq.MSIX, 0, 0);
    await guest.ask(Command.SET_IRQS, none);
    await guest.ask(Command.SET_IRQS, Payload.setIrqs(IrqFlag.NONE | IrqFlag.MASK, Irq.INTX, 0, 1));
    await guest.unmaskIntx();
    const names = told.map(({ parts }) => parts.map(({ name }) => name).join());
    expect(names).toEqual(['memory', 'memory', 'irqs', 'irqs', 'irqs']);
    expect(told.map(({ number }) => number)).toEqual(told.map((_, i) => (told[0].number ?? 0) + i));
  });

  it('names a file of memory once, however many maps lie in it', async () => {
    const { told, guest } = await working(true);
    const ram = new GuestRam('many', 0x100000);
    for (let page = 0; page < 8; page++) {
      const payload = Payload.dmaMap(0x2_0000_0000 + page * 0x1000, 0x1000, page * 0x1000);
      expect(await guest.ask(Command.DMA_MAP, payload, { fds: [ram.fd] })).toBe(0);
    }
    expect(told.at(-1)?.parts[0].fds).toHaveLength(2);
  });

  it('takes descriptors for those of the message that they came with, in whatever pieces messages come', async () => {
    const { connect } = keptServer({ msix: true });
    const { client } = await connect();
    const ram = new GuestRam('pieces');
    const map = message(Command.DMA_MAP, Payload.dmaMap(GUEST_BASE, ram.sizeBytes));
    const unmap = message(Command.DMA_UNMAP, Payload.dmaUnmap(GUEST_BASE, ram.sizeBytes));
    const posted = message(Command.REGION_WRITE, Payload.regionWrite(CONFIG_REGION, 0x3c, pack([1, 7])), {
      flags: NO_REPLY,
    });
    for (const pieceBytes of [1, 5, 16, 17, 48]) {
      client.send(posted);
      for (let at = 0; at < map.length; at += pieceBytes) {
        client.send(map.subarray(at, at + pieceBytes), at === 0 ? [ram.fd] : []);
        if (at % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect((await client.reply()).errno).toBe(0);
      client.send(Buffer.concat([posted, unmap]));
      expect((await client.reply()).errno).toBe(0);
    }
  });

  it('goes on for itself where nobody hears of it any more, and leaves nothing', async () => {
    const before = openDescriptors();
    let listens = true;
    const { told, guest, queue, ram, harness } = await working(true, () => listens);
    listens = false;
    await guest.map(ram, 0x2_0000_0000);
    const heard = told.length;
    await guest.map(ram, 0x3_0000_0000);
    expect(told.length).toBe(heard);
    expect(await queue.roundTrip('alone')).toBe('alone');
    guest.client.close();
    await harness.eventCount(2);
    await harness.server.forget();
    expect(openDescriptors()).toBeLessThanOrEqual(before + 12);
  });

  it('is given up with more maps than any guest has, which is said', async () => {
    const { told, guest, harness } = await working(true);
    for (let page = 0; page < MAX_KEPT_MAPS; page++)
      await guest.ask(Command.DMA_MAP, Payload.dmaMap(0x10_0000_0000 + page * 0x1000, 0x1000));
    const heard = told.length;
    expect(await guest.ask(Command.DMA_MAP, Payload.dmaMap(0x20_0000_0000, 0x1000))).toBe(0);
    expect(told.length).toBe(heard);
    expect(harness.events).toEqual([
      'connect',
      expect.stringMatching(/not outlive the process: 513 DMA maps/),
    ]);
  });
});
