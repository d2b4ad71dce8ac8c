import { randomBytes } from 'node:crypto';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { readBytes } from '../../devices/blk/backends/bytes.js';
import { fatVolume } from '../../devices/blk/fat/fat-volume.js';
import { MemoryBackend } from '../../devices/blk/backends/memory/memory-backend.js';
import { SECTOR_BYTES } from '../../devices/blk/protocol.js';
import { VirtioBlk } from '../../devices/blk/virtio-blk.js';
import type { VirtioPciOptions } from '../../devices/virtio/transport/virtio-pci.js';
import { findOvmf } from '../../testbed/ovmf.js';
import { describeRealGuest } from './lab.js';
import { bootSector, COPIED, COPIED_SECTORS, FIRST_SECTOR } from './support/boot-sector.js';
import { DeviceServer, vhostUserDisk, type ServedDevice } from './support/device-server.js';
import { efiApplication } from './support/efi-application.js';
import { runFirmware, type FirmwareRun } from './support/firmware.js';
import { agreementOf } from './support/linux-view.js';

const SLOT = 3;
const TIMEOUT_MS = 100_000;
const DATA_BYTES = COPIED_SECTORS * SECTOR_BYTES;

/** How a disk is offered, and by which registers the firmware should drive it. */
interface Offer {
  readonly driver: 'modern' | 'legacy';
  serve(server: DeviceServer, disk: VirtioBlk): ServedDevice;
}

function vfioUser(driver: Offer['driver'], options: Omit<VirtioPciOptions, 'msix'>): Offer {
  return {
    driver,
    serve: (server, disk) => server.vfioUser(disk, SLOT, { msix: true, ...options }),
  };
}

function vhostUser(driver: Offer['driver'], properties: Readonly<Record<string, unknown>>): Offer {
  return {
    driver,
    serve: (server, disk) => server.vhostUser(disk, SLOT, { ...vhostUserDisk(disk), ...properties }),
  };
}

/** Boots from a disk that begins with `start`, whose program copies and inverts a part of it. */
class BootedDisk {
  readonly #server: DeviceServer;
  readonly #backend: MemoryBackend;
  readonly #source = randomBytes(DATA_BYTES);
  readonly disk: VirtioBlk;

  constructor(server: DeviceServer, start: Uint8Array) {
    const bytes = new Uint8Array(FIRST_SECTOR * SECTOR_BYTES + 2 * DATA_BYTES);
    bytes.set(start);
    bytes.set(this.#source, FIRST_SECTOR * SECTOR_BYTES);
    this.#server = server;
    this.#backend = MemoryBackend.of(bytes);
    this.disk = new VirtioBlk(this.#backend, { serial: 'boot', log: (line) => server.complaints.push(line) });
  }

  /** Boots and checks all that was said and done. */
  async check(offer: Offer, firmwareArgs: readonly string[]): Promise<void> {
    const served = offer.serve(this.#server, this.disk);
    const run = await runFirmware(served, firmwareArgs, TIMEOUT_MS);
    expect(run).toMatchObject({ exitCode: COPIED.exitCode, stderr: '' } satisfies Partial<FirmwareRun>);
    expect(run.serial).toContain(COPIED.text);
    const copy = await readBytes(this.#backend, FIRST_SECTOR * SECTOR_BYTES + DATA_BYTES, DATA_BYTES);
    expect(Buffer.from(copy).equals(this.#source.map((byte) => ~byte))).toBe(true);
    expect(agreementOf(served.features ?? 0n).modern).toBe(offer.driver === 'modern');
    expect(this.disk.statistics.bytesRead).toBeGreaterThanOrEqual(DATA_BYTES);
    // OVMF keeps its variables in a file there, too.
    expect(this.disk.statistics.bytesWritten).toBeGreaterThanOrEqual(DATA_BYTES);
    expect(this.#server.complaints).toEqual([]);
  }
}

let server: DeviceServer;
beforeEach(async () => {
  server = await DeviceServer.start();
});
afterEach(() => server.close());

const modern = vfioUser('modern', {});
const legacy = vfioUser('legacy', { registers: 'legacy' });
const qemusModern = vhostUser('modern', { 'disable-legacy': 'on' });
const qemusLegacy = vhostUser('legacy', { 'disable-modern': true });

describeRealGuest('SeaBIOS boots from a disk and copies checked data through int 13h', () => {
  it.each<[string, Offer]>([
    ['modern registers', modern],
    ['modern registers with one doorbell for the device', vfioUser('modern', { doorbells: ['device'] })],
    ['transitional registers, as a modern driver', vfioUser('modern', { registers: 'transitional' })],
    ['legacy registers', legacy],
    ["QEMU's modern registers", qemusModern],
    ["QEMU's legacy registers", qemusLegacy],
  ])('by %s', async (_title, offer) => {
    await new BootedDisk(server, bootSector()).check(offer, []);
  });
});

describeRealGuest('OVMF boots from a disk and copies checked data through its block protocol', () => {
  let image: string;
  beforeAll(async () => {
    image = await findOvmf();
  });

  it.each<[string, Offer]>([
    ['modern registers', modern],
    ['transitional registers, as a legacy driver', vfioUser('legacy', { registers: 'transitional' })],
    ['legacy registers', legacy],
    ["QEMU's modern registers", qemusModern],
    ["QEMU's legacy registers", qemusLegacy],
  ])('by %s', async (_title, offer) => {
    // What firmware starts from a disk that nobody told it about.
    const files = { EFI: { BOOT: { 'BOOTX64.EFI': efiApplication() } } };
    const start = fatVolume({ sizeBytes: FIRST_SECTOR * SECTOR_BYTES, label: 'BOOT', files });
    await new BootedDisk(server, start).check(offer, ['-bios', image]);
  });
});
