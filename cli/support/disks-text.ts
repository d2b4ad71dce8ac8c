import type { Disk } from '../../manager/control/api.js';
import { diskSourceText } from './disk-source.js';
import { table } from './mounts-text.js';
import { sizeText } from './size.js';

const HEADINGS = ['NAME', 'SOURCE', 'ACCESS', 'SIZE', 'SERIAL', 'SLOT', 'STATE', 'PORT'];
const COUNTER_HEADINGS = ['REQUESTS', 'READ', 'WRITTEN'];

export function disksTable(disks: readonly Disk[]): string {
  return table(
    [...HEADINGS, ...COUNTER_HEADINGS],
    disks.map(({ name, source, sizeBytes, serial, slot, state, port, counters, ...disk }) => [
      name,
      diskSourceText(source),
      disk.overlay ? 'overlay' : disk.readOnly ? 'ro' : 'rw',
      sizeBytes === undefined ? '-' : sizeText(sizeBytes),
      serial,
      String(slot),
      state,
      port ?? '-',
      counters ? String(counters.requests) : '-',
      counters ? sizeText(counters.bytesRead) : '-',
      counters ? sizeText(counters.bytesWritten) : '-',
    ]),
  );
}

/** What is wrong with a disk, and what mends it. */
export function troubleLines({ name, trouble, sizeBytes, overlay }: Disk): string[] {
  if (trouble === undefined) return [];
  // What is under an overlay is not ours to change.
  const mended =
    overlay || sizeBytes === undefined ? '' : `; mend it: chassis disk resize ${name} ${sizeBytes}`;
  return [`${name}: ${trouble}${mended}`];
}

/** Where a disk is now, and how a Linux guest finds it. */
export function addedText({ name, slot, state, serial }: Disk): string {
  const where =
    state === 'parked'
      ? `${name} waits in slot ${slot}: it is plugged in once a VM runs`
      : `${name} is plugged into slot ${slot}`;
  return `${where}\n  in the guest: /dev/disk/by-id/virtio-${serial}`;
}
