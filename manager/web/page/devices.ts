/** Mounts, disks and cards as one kind of thing: what the picture and the table show. */
import type { Card, Chassis, Counters, Device, Disk, Mount } from './shapes.js';

export function devicesOf({ name, mounts, disks, cards }: Chassis): Device[] {
  const all = [...mounts.map(ofMount), ...disks.map(ofDisk), ...cards.map(ofCard)];
  return all.map((device) => ({ ...device, key: JSON.stringify([name, device.kind, device.name]) }));
}

type Unkeyed = Omit<Device, 'key'>;

function ofMount({ tag, source, via, readOnly, target, inGuest, counters, ...place }: Mount): Unkeyed {
  const access = readOnly ? 'read-only' : 'read and write';
  const where = target === undefined ? '' : `, at ${target}${inGuest === undefined ? '' : ` (${inGuest})`}`;
  return {
    ...placeOf(place),
    ...{ kind: 'mount', name: tag, via, behind: source?.path ?? sourceText(source?.type), up: true },
    ...{ note: `${access}${where}`, counters: countersOf(counters) },
  };
}

function ofDisk({ name, source, sizeBytes, counters, ...place }: Disk): Unkeyed {
  return {
    ...placeOf(place),
    ...{ kind: 'disk', name, via: 'function', behind: source.path ?? source.uri ?? source.type, up: true },
    ...{ note: sizeBytes === undefined ? '' : bytesText(sizeBytes), counters: countersOf(counters) },
  };
}

/** What the guest receives, it reads. */
function ofCard({ name, mac, up, network, counters, statistics, ...place }: Card): Unkeyed {
  const { rxBytes: bytesRead, txBytes: bytesWritten } = statistics ?? { rxBytes: 0, txBytes: 0 };
  return {
    ...placeOf(place),
    ...{ kind: 'card', name, via: 'function', behind: networkText(network), up },
    ...{ note: `${mac}${up ? '' : ', cable out'}` },
    counters: { requests: counters?.requests ?? 0, bytesRead, bytesWritten },
  };
}

function placeOf({ slot, function: fn, state }: Pick<Device, 'slot' | 'function' | 'state'>) {
  return { slot, function: fn, state };
}

function countersOf(counters: Counters | undefined): Required<Counters> {
  const { requests = 0, bytesRead = 0, bytesWritten = 0 } = counters ?? {};
  return { requests, bytesRead, bytesWritten };
}

function sourceText(type: string | undefined): string {
  if (type === 'tree') return 'the tree';
  return type === 'memory' ? 'memory' : (type ?? 'nothing');
}

function networkText({ type, switch: name, interface: tap }: Card['network']): string {
  return name !== undefined ? `switch ${name}` : tap !== undefined ? `tap ${tap}` : type;
}

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}
