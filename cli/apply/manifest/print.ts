/** The manifest of what runs: applied again, it does nothing. */
import { dirname } from 'node:path';
import { stringify } from 'yaml';
import {
  DISK_QUEUES_DEFAULT,
  SERIAL_MAX_LENGTH,
  type Card,
  type Chassis,
  type Disk,
  type Mount,
  type Owner,
  type Policy,
} from '../../../manager/control/api.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { diskSourceText } from '../../support/disk-source.js';
import { MEMORY } from '../../support/mount-flags.js';
import { ownerText } from '../../support/owner.js';
import { sizeText } from '../../support/size.js';
import { frameOf, type Frame } from '../plan/frame.js';
import type { ManifestCard, ManifestChassis, ManifestDisk, ManifestMount } from './schema.js';

/** Paths are absolute. What carries mounts, and functions that are kept without one, have no part in it. */
export function printManifest(chassis: readonly Chassis[]): string {
  const manifest = { chassis: Object.fromEntries(chassis.map((each) => [each.name, chassisEntry(each)])) };
  // A long path or pattern stays on its line.
  return stringify(manifest, { version: '1.2', lineWidth: 0 });
}

function chassisEntry(chassis: Chassis): ManifestChassis {
  const { mounts, disks, cards } = chassis;
  const inSlot = new Map<number, number>();
  for (const { via, source, slot } of mounts)
    if (via === 'function' && source) inSlot.set(slot, (inSlot.get(slot) ?? 0) + 1);
  const isShared = ({ slot, via }: Mount): boolean => via === 'function' && (inSlot.get(slot) ?? 0) > 1;
  const shown = mounts.flatMap((mount) => {
    const entry = mountEntry(mount, isShared(mount));
    return entry ? [[mount.tag, entry] as const] : [];
  });
  return {
    ...frameEntry(chassis),
    ...(shown.length > 0 && { mounts: Object.fromEntries(shown) }),
    ...(disks.length > 0 && { disks: Object.fromEntries(disks.map((disk) => [disk.name, diskEntry(disk)])) }),
    ...(cards.length > 0 && { cards: Object.fromEntries(cards.map((card) => [card.name, cardEntry(card)])) }),
  };
}

/** A socket in the chassis's own folder is where the next one has it, too. */
function frameEntry(chassis: Chassis): Frame {
  const { apiSocket, ...frame } = frameOf(chassis);
  const own = new ChassisPaths(dirname(dirname(chassis.qmpSocket)), chassis.name).cloudHypervisorSocket;
  return apiSocket === undefined || apiSocket === own ? frame : { ...frame, apiSocket };
}

function mountEntry(mount: Mount, isShared: boolean): ManifestMount | undefined {
  const { source, readOnly, policy, owner, overlay, target, watch, via, slot, permanent } = mount;
  if (source?.type !== 'directory' && source?.type !== 'memory') return undefined;
  const needsVia = via === 'queue' || (via === 'tree' && target === undefined && !watch);
  return {
    source: source.type === 'memory' ? MEMORY : source.path,
    ...(readOnly && { readOnly }),
    ...(policy && { policy: policyEntry(policy) }),
    ...(owner && { owner: ownerWords(owner) }),
    ...(overlay && {
      overlay: overlay.type === 'kept' ? true : overlay.type === 'memory' ? MEMORY : overlay.path,
    }),
    ...(target !== undefined && { target }),
    ...(watch && { watch }),
    ...(needsVia && { via }),
    ...(isShared && { slot }),
    ...(permanent && { permanent }),
  };
}

function policyEntry({ maxBytes, ...policy }: Policy): ManifestMount['policy'] {
  return { ...policy, ...(maxBytes !== undefined && { maxBytes: sizeWord(maxBytes) }) };
}

function ownerWords(owner: Owner): ManifestMount['owner'] {
  const words = ownerText(owner).split(' ');
  return words.length === 1 ? words[0] : words;
}

function diskEntry({
  name,
  source,
  readOnly,
  overlay,
  overlayDirectory,
  serial,
  queues,
  permanent,
}: Disk): ManifestDisk {
  const isSeed = source.type === 'cloud-init';
  return {
    ...(isSeed ? { cloudInit: source.path } : { source: diskWord(source) }),
    ...(readOnly && !isSeed && { readOnly }),
    ...(overlay && { overlay }),
    ...(overlayDirectory !== undefined && { overlayDirectory }),
    ...(serial !== name.slice(0, SERIAL_MAX_LENGTH) && { serial }),
    ...(queues !== DISK_QUEUES_DEFAULT && { queues }),
    ...(permanent && { permanent }),
  };
}

function diskWord(source: Disk['source']): string {
  return source.type === 'memory' ? `mem:${sizeWord(source.sizeBytes)}` : diskSourceText(source);
}

/** In bytes where the largest unit would round it. */
function sizeWord(bytes: number): string {
  const text = sizeText(bytes);
  return text.includes('.') ? String(bytes) : text;
}

function cardEntry({ network, mac, mtu, queuePairs, up, permanent }: Card): ManifestCard {
  return {
    ...{ network, mac },
    ...(mtu !== undefined && { mtu }),
    ...(queuePairs !== 1 && { queuePairs }),
    ...(!up && { up }),
    ...(permanent && { permanent }),
  };
}
