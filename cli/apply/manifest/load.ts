/** Manifests to what they want together: documents of one file, or of all files of a folder, are one manifest. */
import { statSync } from 'node:fs';
import { ChassisError } from '../../../manager/control/api.js';
import { quoted } from '../../support/changes-text.js';
import type { Desired, DesiredChassis } from '../plan/desired.js';
import { frameSaid, type Frame } from '../plan/frame.js';
import { readYaml } from './document.js';
import type { ManifestText } from './manifest-files.js';
import { NodeReader } from './node-reader.js';
import { manifestInvalid, type Position } from './problems.js';
import { Manifest } from './schema.js';
import { Wanted } from './wanted.js';

export interface LoadOptions {
  /** Whose it is where no document says its name. */
  readonly pathName: string | undefined;
  /** Sources of mounts may be missing. */
  readonly mayLackSources?: boolean;
}

/** @throws ChassisError MANIFEST_INVALID with all that is wrong */
export function loadManifests(texts: readonly ManifestText[], options: LoadOptions): Desired {
  const reader = new NodeReader();
  const names: { readonly name: string; readonly at: Position }[] = [];
  const chassis: DesiredChassis[] = [];
  for (const { file, directory, text } of texts) {
    const { documents, problems } = readYaml(file, text);
    reader.problems.push(...problems);
    if (documents.length === 0 && problems.length === 0)
      reader.refuse({ file, line: 1, column: 1 }, 'it is empty', 'a manifest begins with: chassis:');
    const wanted = new Wanted(reader, directory);
    for (const document of documents) {
      const manifest = reader.read(Manifest, document);
      if (reader.isStopped) throw manifestInvalid(reader.problems);
      if (!manifest) continue;
      if (manifest.name !== undefined)
        names.push({ name: manifest.name, at: reader.placeOf(manifest, 'name') });
      for (const name of reader.keysOf(manifest.chassis)) {
        if (Object.hasOwn(manifest.chassis, name)) chassis.push(wanted.chassis(name, manifest.chassis));
      }
    }
  }
  const merged = merge(chassis, reader);
  for (const each of merged) {
    checkChassis(each, reader);
    checkVmm(each, reader);
  }
  checkSources(merged, reader, options.mayLackSources ?? false);
  const manifest = nameOf(names, options, reader);
  if (reader.problems.length > 0) throw manifestInvalid(reader.problems);
  return { manifest, chassis: merged };
}

function nameOf(
  names: readonly { readonly name: string; readonly at: Position }[],
  { pathName }: LoadOptions,
  reader: NodeReader,
): string {
  const other = names.find(({ name }) => name !== names[0].name);
  if (other)
    reader.refuse(
      other.at,
      `${quoted(other.name)} is another name than ${quoted(names[0].name)}`,
      'what is applied together has one name',
    );
  const name = names.at(0)?.name ?? pathName;
  if (name !== undefined || reader.problems.length > 0) return name ?? '';
  throw new ChassisError(
    'MANIFEST_INVALID',
    'a manifest from standard input has no name, by which what it makes is known',
    'add a line to it: name: NAME',
  );
}

/** A chassis may be in several documents, each with some of what it has. */
function merge(chassis: readonly DesiredChassis[], reader: NodeReader): DesiredChassis[] {
  const byName = new Map<string, DesiredChassis>();
  for (const each of chassis) {
    const other = byName.get(each.name);
    byName.set(each.name, {
      ...(other ?? each),
      ...mergedFrame(other, each, reader),
      mounts: [...(other?.mounts ?? []), ...each.mounts],
      disks: [...(other?.disks ?? []), ...each.disks],
      cards: [...(other?.cards ?? []), ...each.cards],
      ...mergedGuest(other, each, reader),
    });
  }
  return [...byName.values()];
}

const FRAME_TEXTS = {
  slots: (value: unknown) => `${String(value)} slots`,
  vmm: (value: unknown) => `the vmm ${String(value)}`,
  apiSocket: (value: unknown) => `the apiSocket ${quoted(String(value))}`,
};

/** What several documents say of it is the same. */
function mergedFrame(other: DesiredChassis | undefined, each: DesiredChassis, reader: NodeReader): Frame {
  for (const [what, text] of Object.entries(FRAME_TEXTS)) {
    const [here, there] = [each[what as keyof Frame], other?.[what as keyof Frame]];
    if (!other || here === undefined || there === undefined || here === there) continue;
    reader.refuse(
      each.at,
      `${quoted(each.name)} has ${text(here)} here, and ${text(there)} at ${placeText(other.at)}`,
    );
  }
  return { ...frameSaid(each), ...(other && frameSaid(other)) };
}

/** One VM, and all steps. */
function mergedGuest(
  other: DesiredChassis | undefined,
  each: DesiredChassis,
  reader: NodeReader,
): Pick<DesiredChassis, 'vm' | 'provision'> {
  if (other?.vm && each.vm)
    reader.refuse(each.vm.at, `${quoted(each.name)} has a vm at ${placeText(other.vm.at)} as well`);
  const vm = each.vm ?? other?.vm;
  const provision = [...(other?.provision ?? []), ...(each.provision ?? [])];
  return { ...(vm && { vm }), ...(provision.length > 0 && { provision }) };
}

/** What must be different within a chassis, and the slots that it must have. */
function checkChassis(chassis: DesiredChassis, reader: NodeReader): void {
  const { mounts, disks, cards, slots } = chassis;
  const all = [...mounts, ...disks, ...cards];
  const twins = <T extends { readonly at: Position }>(
    each: readonly T[],
    keyOf: (one: T) => string | undefined,
    what: (key: string) => string,
  ) => {
    const first = new Map<string, Position>();
    for (const one of each) {
      const key = keyOf(one);
      const before = key === undefined ? undefined : first.get(key);
      if (key !== undefined && before)
        reader.refuse(one.at, `${what(key)} at ${placeText(before)} as well`, 'choose another');
      else if (key !== undefined) first.set(key, one.at);
    }
  };
  twins(
    all,
    ({ name }) => name,
    (name) => `the name ${quoted(name)} is taken in ${chassis.name},`,
  );
  twins(
    chassis.provision ?? [],
    ({ name }) => name,
    (name) => `a step called ${quoted(name)} is`,
  );
  twins(
    disks,
    ({ options }) => options.serial,
    (serial) => `a disk with the serial ${quoted(serial)} is`,
  );
  twins(
    cards,
    ({ options }) => options.mac,
    (mac) => `a card with the address ${mac} is`,
  );
  for (const { terms, slot, at } of mounts) {
    const isShared = slot !== undefined && mounts.filter((other) => other.slot === slot).length > 1;
    if (isShared && terms.overlay?.type === 'directory')
      reader.refuse(
        at,
        'a mount with a folder for its changes cannot share its slot',
        'give it another slot, or none',
      );
  }
  for (const one of all) {
    const slot = 'options' in one ? one.options.slot : one.slot;
    if (slot !== undefined && slots !== undefined && slot > slots)
      reader.refuse(
        one.at,
        `there is no slot ${slot}: ${chassis.name} has ${slots}`,
        'choose another, or more slots',
      );
  }
}

/** What Cloud Hypervisor cannot do, and what is for it alone. */
function checkVmm({ name, at, vmm, apiSocket, vm, mounts }: DesiredChassis, reader: NodeReader): void {
  if (vmm !== 'cloud-hypervisor') {
    if (apiSocket !== undefined)
      reader.refuse(at, 'apiSocket is where Cloud Hypervisor is driven', 'add vmm: cloud-hypervisor');
    return;
  }
  if (vm)
    reader.refuse(
      vm.at,
      'a manifest starts QEMU alone',
      `leave vm out, and start Cloud Hypervisor with the flags of: chassis args ${name}`,
    );
  const taken = new Set<number>();
  for (const { slot, via, at: place } of mounts) {
    if (via === 'queue')
      reader.refuse(place, 'Cloud Hypervisor takes no mounts on queues', 'leave via out, or say via: tree');
    if (slot === undefined) continue;
    if (taken.has(slot))
      reader.refuse(
        place,
        `slot ${slot} has a mount already, and a slot of Cloud Hypervisor one function`,
        'choose another, or leave slot out',
      );
    taken.add(slot);
  }
}

/** What is missing is told before anything is begun, with its place. */
function checkSources(chassis: readonly DesiredChassis[], reader: NodeReader, mayLack: boolean): void {
  for (const { mounts, disks } of chassis) {
    for (const { terms, at } of mayLack ? [] : mounts) {
      if (terms.source.type !== 'directory') continue;
      const kind = kindOf(terms.source.path);
      if (kind === undefined)
        reader.refuse(at, `there is no ${terms.source.path}`, 'create it, or check the spelling');
      else if (kind === 'other') reader.refuse(at, `${terms.source.path} is not a directory`);
    }
    for (const { options, at } of disks) {
      if ('path' in options.source && kindOf(options.source.path) === undefined)
        reader.refuse(at, `there is no ${options.source.path}`, 'create it, or check the spelling');
    }
  }
}

/** What cannot be looked at is left to the daemon to say. */
export function kindOf(path: string): 'directory' | 'other' | 'unknown' | undefined {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'other';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : 'unknown';
  }
}

function placeText({ file, line, column }: Position): string {
  return `${file}:${line}:${column}`;
}
