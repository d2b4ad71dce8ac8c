/** What becomes of disks and network cards that are there. */
import type { AddCardRequest, AddDiskRequest, Card, Disk } from '../../../manager/control/api.js';
import type { DesiredCard, DesiredDisk } from './desired.js';
import { cardDifferences, diskDifferences, sizeDifference } from './differences.js';
import type { Operation, Step } from './operations.js';
import type { Difference, PlanItem } from './plan-item.js';

/** What of an item depends on what is there. */
export interface Verdict {
  readonly action: PlanItem['action'];
  readonly differences: readonly Difference[];
  readonly notes: readonly string[];
  readonly blocked?: PlanItem['blocked'];
  /** What is done to what stays. */
  readonly inPlace: readonly Step[];
}

export function diskVerdict(there: Disk, wanted: DesiredDisk, force: boolean): Verdict {
  const replaced = diskDifferences(there, wanted);
  const size = sizeDifference(there, wanted);
  const differences = [...replaced, ...(size ? [{ what: 'size', ...size }] : [])];
  if (replaced.length > 0) {
    const notes = inMemory(there) ? ['what is in memory is lost'] : [];
    return { action: 'replace', differences, notes, ...held(there, force), inPlace: [] };
  }
  if (!size) return { action: 'keep', differences, notes: [], inPlace: [] };
  const { chassis, name } = there;
  if (size.to < size.from)
    return { action: 'change', differences, notes: [], blocked: shrink(there, size.to), inPlace: [] };
  const operation: Operation = { do: 'resize-disk', chassis, name, sizeBytes: size.to };
  const inPlace = [{ operation, undo: [], loss: `the image of ${name} keeps its new size`, at: wanted.at }];
  return { action: 'change', differences, notes: [], inPlace };
}

/** Nobody outside can see whether the guest has it mounted. */
export function held({ state, name }: Disk, force: boolean): Pick<Verdict, 'blocked'> {
  if (force || (state !== 'plugged' && state !== 'unplugging')) return {};
  return {
    blocked: {
      reason: `a VM has the disk ${name}, and nobody outside can see whether its guest has it mounted`,
      suggestion: 'unmount it in the guest, then apply with --force',
    },
  };
}

export function inMemory({ source, overlay }: Disk): boolean {
  return source.type === 'memory' || overlay;
}

function shrink({ name }: Disk, bytes: number): PlanItem['blocked'] {
  return {
    reason: `the disk ${name} is larger than that`,
    suggestion: `what lies beyond would be lost; by hand: chassis disk resize ${name} ${bytes} --shrink`,
  };
}

/** A request, for the first time or once more. */
export function addDiskStep(chassis: string, request: Omit<AddDiskRequest, 'timeoutMs'>): Operation {
  return { do: 'add-disk', chassis, request };
}

export function diskArrival(
  chassis: string,
  { name, options, sizeBytes, at }: DesiredDisk,
  managedBy: string,
): Step[] {
  const added: Step = {
    operation: addDiskStep(chassis, { name, ...options, managedBy }),
    undo: [{ do: 'remove-disk', chassis, name, force: false }],
    at,
  };
  if (sizeBytes === undefined) return [added];
  const resize: Operation = { do: 'resize-disk', chassis, name, sizeBytes };
  return [added, { operation: resize, undo: [], loss: `the image of ${name} keeps its new size`, at }];
}

export function diskDeparture(there: Disk, force: boolean): Step {
  const { chassis, name, source, readOnly, overlay, overlayDirectory, serial, managedBy } = there;
  const { queues, permanent, slot } = there;
  const again = addDiskStep(chassis, {
    ...{ name, source, readOnly, overlay, serial, queues, permanent, slot, port: 'auto' },
    ...(overlayDirectory !== undefined && { overlayDirectory }),
    ...(managedBy !== undefined && { managedBy }),
  });
  return {
    operation: { do: 'remove-disk', chassis, name, force },
    undo: [again],
    ...(inMemory(there) && { loss: `what was written to ${name} is gone` }),
  };
}

export function cardVerdict(there: Card, wanted: DesiredCard): Verdict {
  const replaced = cardDifferences(there, wanted);
  const { chassis, name, up: from } = there;
  const { up: to } = wanted.options;
  const link = from === to ? [] : [{ what: 'up', from, to }];
  const differences = [...replaced, ...link];
  if (replaced.length > 0)
    return { action: 'replace', differences, notes: ['its connections break'], inPlace: [] };
  if (from === to) return { action: 'keep', differences, notes: [], inPlace: [] };
  const setLink = (up: boolean): Operation => ({ do: 'set-link', chassis, name, up });
  const inPlace = [{ operation: setLink(to), undo: [setLink(from)], at: wanted.at }];
  return { action: 'change', differences, notes: [], inPlace };
}

export function cardArrival(chassis: string, { name, options, at }: DesiredCard, managedBy: string): Step {
  return {
    operation: { do: 'add-card', chassis, request: { name, ...options, managedBy } },
    undo: [{ do: 'remove-card', chassis, name, force: false }],
    at,
  };
}

export function cardDeparture(there: Card): Step {
  const { chassis, name, network, mac, mtu, queuePairs, up, permanent, slot, managedBy } = there;
  const request: Omit<AddCardRequest, 'timeoutMs'> = {
    ...{ name, network, mac, queuePairs, up, permanent, slot, port: 'auto' },
    ...(mtu !== undefined && { mtu }),
    ...(managedBy !== undefined && { managedBy }),
  };
  return {
    operation: { do: 'remove-card', chassis, name, force: false },
    undo: [{ do: 'add-card', chassis, request }],
  };
}
