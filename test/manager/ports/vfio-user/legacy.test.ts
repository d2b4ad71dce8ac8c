/** A transitional function's I/O BAR as a region: a VMM knows it for I/O space by the BAR's register alone. */
import { describe, expect, it } from 'vitest';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { eventfdDrain, SharedMapping } from '../../../../host/index.js';
import { nullDevice } from '../../../devices/virtio/null-device.js';
import { eventfd, Harness, memoryFile } from './harness.js';
import { Command, CONFIG_REGION, Irq, IrqFlag, Payload } from './raw-client.js';

const RAM_BYTES = 0x40000;
const QUEUE_SIZE = 8;
/** Descriptors, available ring behind them, used ring on the next page. */
const RING_PAGE = 0x10;
const DESCRIPTORS = RING_PAGE * 4096;
const AVAIL = DESCRIPTORS + QUEUE_SIZE * 16;
const USED = DESCRIPTORS + 4096;
const BUFFER = 0x20000;

const LEGACY_BAR = 0;
const Register = { features: 4, queueAddress: 8, notify: 16, status: 18, isr: 19 } as const;
const [IO_SPACE, BUS_MASTER] = [1, 4];

describe('the legacy registers of a function over vfio-user', () => {
  it('are a region that can be read and written, whose BAR is one of I/O space', async () => {
    const device = nullDevice({ deviceId: 9, queueSizes: [QUEUE_SIZE] });
    const harness = new Harness(
      (memory) => new VirtioPciFunction(device, memory, { msix: false, registers: 'transitional' }),
    );
    const client = await harness.negotiated();
    const info = await client.request(Command.GET_REGION_INFO, Payload.regionInfo(LEGACY_BAR));
    expect([info.payload.readUInt32LE(4), info.payload.readUInt32LE(16)]).toEqual([3, 32]);
    expect(await client.readNumber(CONFIG_REGION, 0x10, 4)).toBe(1);
  });

  it('carry a request to the device and its interrupt back', async () => {
    const device = nullDevice({ deviceId: 9, queueSizes: [QUEUE_SIZE] });
    const harness = new Harness(
      (memory) => new VirtioPciFunction(device, memory, { msix: false, registers: 'transitional' }),
    );
    const client = await harness.negotiated();
    const file = memoryFile('legacy-ram', RAM_BYTES);
    const map = Payload.dmaMap(0, RAM_BYTES, 0);
    expect(await client.errnoOf(Command.DMA_MAP, map, { fds: [file] })).toBe(0);
    const pin = eventfd();
    const set = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.INTX, 0, 1);
    expect(await client.errnoOf(Command.SET_IRQS, set, { fds: [pin] })).toBe(0);
    await client.writeNumber(CONFIG_REGION, 4, 2, IO_SPACE | BUS_MASTER);

    const bytes = new SharedMapping(file).window(0, RAM_BYTES);
    const ram = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    ram.setUint32(DESCRIPTORS, BUFFER, true);
    ram.setUint32(DESCRIPTORS + 8, 64, true);
    ram.setUint16(DESCRIPTORS + 12, 2, true);
    ram.setUint16(AVAIL + 2, 1, true);
    await client.writeNumber(LEGACY_BAR, Register.status, 1, 0);
    await client.writeNumber(LEGACY_BAR, Register.status, 1, 1 | 2);
    await client.writeNumber(LEGACY_BAR, Register.features, 4, 0);
    await client.writeNumber(LEGACY_BAR, Register.queueAddress, 4, RING_PAGE);
    await client.writeNumber(LEGACY_BAR, Register.status, 1, 1 | 2 | 4);
    await client.writeNumber(LEGACY_BAR, Register.notify, 2, 0);

    expect(await client.readNumber(LEGACY_BAR, Register.isr, 1)).toBe(1);
    expect(eventfdDrain(pin)).toBe(1);
    expect(ram.getUint16(USED + 2, true)).toBe(1);
    expect(ram.getUint32(USED + 8, true)).toBe(64);
  });
});
