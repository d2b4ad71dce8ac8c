/**
 * A program that is going to be killed: a guest and its disk in one process, which write and flush records (flush-log.ts) and say on the
 * standard output what was flushed. Arguments: the layout and the disk's source as JSON.
 */
import { writeSync } from 'node:fs';
import { openFileBackend } from '../../../../devices/blk/backends/file/open-file.js';
import { openNbdBackend } from '../../../../devices/blk/backends/nbd/open-nbd.js';
import type { BlockBackend } from '../../../../devices/blk/backends/block-backend.js';
import { VirtioBlk } from '../../../../devices/blk/virtio-blk.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import type { Disk } from '../../../../guest/blk/disk.js';
import { virtioBlkDriver, type VirtioBlkBinding } from '../../../../guest/blk/virtio-driver.js';
import { GuestPci } from '../../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../../manager/ports/in-process/in-process-machine.js';
import { flushedLine, offsetOf, recordOf, type CrashLayout } from './flush-log.js';

export interface DoomedDisk {
  /** A file, or an NBD server's URI. */
  readonly path?: string;
  readonly uri?: string;
  /** False: each write is on the medium when it ends, and that is its flush. */
  readonly writeBack: boolean;
}

const layout = JSON.parse(process.argv[2]) as CrashLayout;
const source = JSON.parse(process.argv[3]) as DoomedDisk;
/** Records that a lane writes before it flushes. */
const RECORDS_PER_FLUSH = 3;
const STDOUT = 1;

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function openBackend(): Promise<BlockBackend> {
  if (source.uri !== undefined) return openNbdBackend({ uri: source.uri, connections: 2, log });
  return openFileBackend({ path: source.path ?? '' });
}

async function boot(): Promise<Disk> {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 32 << 20 });
  const device = new VirtioBlk(await openBackend(), { serial: 'doomed', log });
  machine.plug(1, [
    { number: 0, function: new VirtioPciFunction(device, machine.memory, { msix: true, log }) },
  ]);
  const pci = new GuestPci(machine.bus, { drivers: [virtioBlkDriver()] });
  await pci.start();
  const [found] = pci.functions();
  return (found.binding as VirtioBlkBinding).open();
}

async function writeLane(disk: Disk, lane: number): Promise<never> {
  for (let number = 1; ; number++) {
    await disk.write(offsetOf(layout, lane, number), recordOf(layout, lane, number));
    if (source.writeBack) {
      if (number % RECORDS_PER_FLUSH !== 0) continue;
      await disk.flush();
    }
    writeSync(STDOUT, flushedLine(lane, number));
  }
}

const disk = await boot();
disk.setWriteBack(source.writeBack);
await Promise.all(Array.from({ length: layout.lanes }, (_, lane) => writeLane(disk, lane)));
