import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import type { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import type { DiskSource } from '../../../manager/control/api.js';
import type { DiskSpec } from '../../../manager/device-process/protocol.js';
import { openDisk } from '../../../manager/device-process/served-disk.js';
import type { ServedDevice } from '../../../manager/device-process/served-function.js';
import { KeptFiles } from '../../../manager/kept-files.js';
import { DISK_QUEUE_SIZE } from '../../../manager/vmm/qemu-names.js';
import { NbdServer } from '../../devices/blk/backends/nbd/nbd-server.js';
import {
  header,
  joined,
  NO_STATUS,
  serve,
  Status,
  TestContext,
  TestQueue,
  Type,
} from '../../devices/blk/support/test-queue.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { notingLog, silentLog } from '../../support/log.js';

const MIB = 2 ** 20;
const folder = temporaryFolders();
const opened: ServedDevice[] = [];

afterEach(async () => {
  for (const { device } of opened.splice(0)) await device.close();
});

async function open(source: DiskSource, options: Partial<DiskSpec> = {}): Promise<ServedDevice> {
  const plain = { readOnly: false, overlay: false, serial: 's', queues: 1 };
  const spec: DiskSpec = { type: 'disk', source, ...plain, ...options };
  const served = await openDisk(spec, () => {});
  opened.push(served);
  return served;
}

function image(sizeBytes = MIB): string {
  const path = join(folder(), 'disk.img');
  writeFileSync(path, 'content');
  truncateSync(path, sizeBytes);
  return path;
}

async function request(
  { device }: ServedDevice,
  type: number,
  bytes: Uint8Array,
  roomBytes = 1,
  sector = 16,
) {
  const queue = new TestQueue();
  const chain = serve(device as VirtioBlk, queue, joined(header(type, sector), bytes), roomBytes);
  if (chain.status === NO_STATUS) await queue.flushed();
  expect(chain.status).toBe(Status.OK);
  return chain.data;
}

it('a disk with user data for cloud-init has a volume of them, which nobody writes to', async () => {
  const path = join(folder(), 'user-data.yaml');
  writeFileSync(path, '#cloud-config\n');
  const served = await open({ type: 'cloud-init', path }, { readOnly: true });
  const { disk, device } = served;
  device.activate(new TestContext(device.features, []));
  const first = await request(served, Type.IN, new Uint8Array(0), 513, 0);
  expect(Buffer.from(first).toString('latin1', 43, 49)).toBe('CIDATA');
  expect(disk?.sizeBytes).toBe(2 * MIB);
  expect((device.features >> 5n) & 1n).toBe(1n);
  await expect(disk?.resize(4 * MIB, false)).rejects.toMatchObject(refusal('SIZE_INVALID', /read-only/));
});

it('a disk asks for as many segments as fit the queues that VMMs are asked for', async () => {
  const { device } = await open({ type: 'memory', sizeBytes: MIB });
  const segMax = new DataView(device.config.buffer, device.config.byteOffset).getUint32(12, true);
  expect([device.queueSizes, segMax]).toEqual([[DISK_QUEUE_SIZE], DISK_QUEUE_SIZE - 2]);
});

it('a disk has as many queues as it was asked for, and tells drivers so', async () => {
  const { device } = await open({ type: 'memory', sizeBytes: MIB }, { queues: 3 });
  const numQueues = new DataView(device.config.buffer, device.config.byteOffset).getUint16(34, true);
  expect([device.queueSizes.length, numQueues, (device.features >> 12n) & 1n]).toEqual([3, 3, 1n]);
});

describe('what a disk cannot be kept in', () => {
  it.each<[string, () => DiskSource, string]>([
    ['a file that is not there', () => ({ type: 'file', path: join(folder(), 'none') }), 'SOURCE_MISSING'],
    ['a directory', () => ({ type: 'file', path: folder() }), 'SOURCE_NOT_DISK'],
    ['an empty file', () => ({ type: 'file', path: image(0) }), 'SIZE_INVALID'],
    ['a file of half sectors', () => ({ type: 'file', path: image(700) }), 'SIZE_INVALID'],
    ['more memory than a disk may have', () => ({ type: 'memory', sizeBytes: 2 ** 40 }), 'SIZE_INVALID'],
    ['half a sector of memory', () => ({ type: 'memory', sizeBytes: 256 }), 'SIZE_INVALID'],
    [
      'a server that is not there',
      () => ({ type: 'nbd', uri: `nbd+unix:///?socket=${folder()}/s` }),
      'SOURCE_MISSING',
    ],
    ['an address that is none', () => ({ type: 'nbd', uri: 'nbd:x' }), 'BAD_REQUEST'],
    ['a server that is to be talked to in secret', () => ({ type: 'nbd', uri: 'nbds://x/' }), 'BAD_REQUEST'],
  ])('%s', async (_, source, code) => {
    await expect(open(source())).rejects.toMatchObject({ name: 'ChassisError', code });
  });

  it('a file that another disk writes to; but overlays share one', async () => {
    const source = { type: 'file', path: image() } as const;
    const writer = await open(source);
    await expect(open(source)).rejects.toMatchObject({ code: 'SOURCE_IN_USE' });
    await expect(open(source, { overlay: true })).rejects.toMatchObject({ code: 'SOURCE_IN_USE' });
    await opened.pop()?.device.close();
    expect(writer.disk?.sizeBytes).toBe(MIB);
    for (let i = 0; i < 3; i++) await open(source, { overlay: true });
    await expect(open(source)).rejects.toMatchObject({ code: 'SOURCE_IN_USE' });
  });
});

describe('what the guest was told is written is there for the next process', () => {
  it.each([
    ['an overlay in memory', () => ({ type: 'file', path: image() }) as const, () => ({ overlay: true })],
    [
      'an overlay in a folder',
      () => ({ type: 'file', path: image() }) as const,
      () => ({ overlay: true, overlayDirectory: folder() }),
    ],
    ['a disk in memory', () => ({ type: 'memory', sizeBytes: MIB }) as const, () => ({})],
  ])('%s', async (_, source, options) => {
    const spec: DiskSpec = {
      ...{ type: 'disk', queues: 1, readOnly: false, overlay: false, serial: 's', source: source() },
      ...options(),
    };
    const files = new KeptFiles(silentLog);
    onTestFinished(() => files.close());
    const bytes = new Uint8Array(4096).fill(7);
    let served = await openDisk(spec, () => {});
    files.hold('f', process.pid, served.keep ?? {});
    served.device.activate(new TestContext(served.device.features, []));
    await request(served, Type.OUT, bytes);
    for (let life = 0; life < 2; life++) {
      await served.device.close();
      served.release?.();
      served = await openDisk(spec, () => {}, { kept: files.pathsOf('f') });
      served.device.activate(new TestContext(served.device.features, []));
      expect(await request(served, Type.IN, new Uint8Array(0), 4097)).toEqual(bytes);
    }
    await served.device.close();
    served.release?.();
  });

  it('a disk whose files nobody could hold is not made anew without them', () => {
    const log: string[] = [];
    const files = new KeptFiles(notingLog(log));
    files.hold('f', process.pid, { data: 999_999 });
    expect(() => files.pathsOf('f')).toThrow(/was in the device process that died/);
    expect(log[0]).toMatch(/will not outlive its process/);
    files.drop('f');
    expect(files.pathsOf('f')).toBeUndefined();
  });
});

it('an overlay cannot have its changes in a folder that is not there, and lets its file go', async () => {
  const source = { type: 'file', path: image() } as const;
  await expect(open(source, { overlay: true, overlayDirectory: '/none' })).rejects.toMatchObject(
    refusal('SOURCE_MISSING', /\/none/),
  );
  await open(source);
});

describe('resizing', () => {
  it('a file makes it longer, and shorter only with consent', async () => {
    const path = image();
    const { disk } = await open({ type: 'file', path });
    await disk?.resize(2 * MIB, false);
    expect(statSync(path).size).toBe(2 * MIB);
    await expect(disk?.resize(MIB, false)).rejects.toMatchObject(refusal('SIZE_INVALID', /lost/, /--shrink/));
    expect(statSync(path).size).toBe(2 * MIB);
    await disk?.resize(MIB, true);
    expect([statSync(path).size, disk?.sizeBytes]).toEqual([MIB, MIB]);
  });

  it('an overlay leaves the file as it is, also where it is made anew with its size', async () => {
    const path = image();
    const { disk } = await open({ type: 'file', path }, { overlay: true, overlayBytes: 3 * MIB });
    expect(disk?.sizeBytes).toBe(3 * MIB);
    await disk?.resize(512, true);
    expect(disk?.sizeBytes).toBe(512);
    expect(statSync(path).size).toBe(MIB);
    expect(readFileSync(path, 'latin1').slice(0, 7)).toBe('content');
  });

  it('an overlay whose changes are in a folder grows there', async () => {
    const [path, overlayDirectory] = [image(), folder()];
    const { disk } = await open({ type: 'file', path }, { overlay: true, overlayDirectory });
    await disk?.resize(2 ** 33, false);
    expect(disk?.sizeBytes).toBe(2 ** 33);
    expect(statSync(path).size).toBe(MIB);
  });

  it.each([
    ['half sectors', { type: 'memory', sizeBytes: MIB }, 1000, false],
    ['what is read-only', { type: 'file', path: '' }, 2 * MIB, true],
    ['memory beyond what a disk may have', { type: 'memory', sizeBytes: MIB }, 2 ** 40, false],
  ] as const)('refuses %s, and changes nothing', async (_, given, sizeBytes, readOnly) => {
    const source = given.type === 'file' ? { ...given, path: image() } : given;
    const { disk } = await open(source, { readOnly });
    await expect(disk?.resize(sizeBytes, true)).rejects.toMatchObject({ code: 'SIZE_INVALID' });
    expect(disk?.sizeBytes).toBe(MIB);
  });

  it('an export takes the size that its server has given it, and no other', async () => {
    const server = await NbdServer.start({ sizeBytes: MIB });
    const { disk } = await open({ type: 'nbd', uri: server.uri });
    await expect(disk?.resize(2 * MIB, false)).rejects.toMatchObject(
      refusal('SIZE_INVALID', /1048576 bytes, and is not ours/),
    );
    expect(disk?.sizeBytes).toBe(MIB);
    server.resize(2 * MIB);
    await disk?.resize(2 * MIB, false);
    expect(disk?.sizeBytes).toBe(2 * MIB);
  });
});
