/** A chassis to a file, and from one. Only inside the chassis's queue of jobs. */
import { rmSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { checkMount, type MountToAttach } from '../attachment.js';
import {
  isDisk,
  isMount,
  type ChassisModel,
  type ChildRecord,
  type DeviceRecord,
  type MountRecord,
  type SeatRecord,
} from '../chassis/chassis.js';
import { ChassisError } from '../control/api.js';
import type { ChassisPaths } from '../control/state-directory.js';
import type { DeviceFunctions } from '../device-functions.js';
import { documentOf, type JournalFacts } from '../journal-format.js';
import type { Overlays } from '../overlays.js';
import type { VmSlots } from '../vm-slots.js';
import { readBoundedThere, writePrivate } from './private-file.js';
import { SAVED_BYTES_MAX, type SavedChassis } from './saved-file.js';

export interface SavedChassisOptions {
  readonly chassis: string;
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  readonly overlays: Overlays;
  readonly paths: ChassisPaths;
  readonly facts: () => JournalFacts;
}

export class SavedChassisFiles {
  private readonly options: SavedChassisOptions;

  constructor(options: SavedChassisOptions) {
    this.options = options;
  }

  /**
   * What a chassis is at this moment, with the states of its functions or without. Nothing is changed.
   * @throws ChassisError SAVE_REFUSED, which names each that cannot be saved, or DEVICE_PROCESS_LOST
   */
  async take(withStates: boolean): Promise<SavedChassis> {
    const { chassis, model, devices, facts } = this.options;
    const problems = model.devices().flatMap(inMemory);
    for (const { tag, source, overlay } of carried(model))
      problems.push(...mountInMemory(tag, source, overlay));
    if (problems.length > 0)
      throw new ChassisError('SAVE_REFUSED', problems.join('\n'), 'detach it, or keep it in files');
    const states = withStates ? await this.states() : undefined;
    await devices.refresh();
    const document = {
      ...documentOf(chassis, model, { ...facts(), unplugging: [] }),
      ...{ changing: [], children: [...model.children.values()] },
    };
    const diskBytes = model.disks().map((disk) => [disk.tag, devices.diskStatus(disk)?.sizeBytes ?? 0]);
    return { document, diskBytes: Object.fromEntries(diskBytes) as Record<string, number>, states };
  }

  /**
   * Makes a new chassis, whose model is filled already, go on from there. Without states its guest is to come by migration.
   * @throws ChassisError RESTORE_REFUSED, which names all that is in the way: then the chassis is to be thrown away
   */
  async put({ document, diskBytes, states }: SavedChassis): Promise<void> {
    const { model, devices, slots, overlays } = this.options;
    const problems = this.problemsOfSources();
    const uses = new Map(document.devices.map(({ tag, use }) => [tag, use]));
    for (const device of model.devices()) {
      const use = uses.get(device.tag) ?? slots.choose(device);
      await noting(problems, device.tag, () => devices.provide(device, use, states === undefined));
    }
    if (problems.length === 0) problems.push(...(await this.problemsOfCarried()));
    await devices.refresh();
    for (const { tag, ...disk } of model.disks()) {
      const now = devices.diskStatus(disk)?.sizeBytes;
      if (now !== undefined && now !== diskBytes[tag])
        problems.push(`disk ${tag}: it has ${now} bytes here, and had ${diskBytes[tag]}`);
    }
    if (states !== undefined && problems.length === 0) problems.push(...(await this.load(states)));
    if (problems.length === 0)
      for (const mount of allMounts(model))
        await noting(problems, mount.tag, async () => overlays.adopt(mount));
    if (problems.length > 0) throw refusal(problems);
  }

  private async states(): Promise<Uint8Array> {
    const path = this.options.paths.states;
    try {
      await this.options.devices.requireRunning().saveStates(path);
      return readBoundedThere(path, SAVED_BYTES_MAX);
    } finally {
      rmSync(path, { force: true });
    }
  }

  private async load(states: Uint8Array): Promise<string[]> {
    const path = this.options.paths.states;
    try {
      writePrivate(path, states);
      return await this.options.devices.requireRunning().loadStates(path);
    } finally {
      rmSync(path, { force: true });
    }
  }

  /** The file is somebody else's: so what an attach would refuse is refused. */
  private problemsOfSources(): string[] {
    const problems: string[] = [];
    for (const mount of allMounts(this.options.model)) check(problems, mount.tag, () => checkMount(mount));
    for (const { tag, disk } of this.options.model.disks()) {
      for (const path of [disk.overlayDirectory, 'path' in disk.source ? disk.source.path : undefined])
        if (path !== undefined && (!isAbsolute(path) || path.includes('\0')))
          problems.push(`disk ${tag}: ${JSON.stringify(path)} is not an absolute path`);
    }
    return problems;
  }

  /** What fills trees and queues leaves out what it cannot show, and goes on. */
  private async problemsOfCarried(): Promise<string[]> {
    const { model, devices } = this.options;
    const { tree, mux } = model;
    const children = tree ? await devices.carried.childrenOf(tree) : new Map<string, unknown>();
    await devices.refresh();
    const queues = new Set(mux ? devices.seatsOf(mux) : []);
    const missing = [
      ...[...model.children.keys()].filter((tag) => !children.has(tag)),
      ...[...model.seats.values()].filter(({ queue }) => !queues.has(queue)).map(({ tag }) => tag),
    ];
    return missing.map((tag) => `mount ${tag}: it cannot be shown; the daemon's log says why`);
  }
}

function carried({ children, seats }: ChassisModel): (ChildRecord | SeatRecord)[] {
  return [...children.values(), ...seats.values()];
}

/** All that show something of the host. */
function allMounts(model: ChassisModel): MountToAttach[] {
  const own = model.devices().filter(isMount).filter(showsSource);
  return [...own, ...carried(model)] as MountToAttach[];
}

function showsSource({ source, kept }: MountRecord): boolean {
  return !kept && source.type !== 'tree' && source.type !== 'queues';
}

/** What is in the memory of the device process alone, or in files without names. */
function inMemory(device: DeviceRecord): string[] {
  const { tag } = device;
  if (isMount(device)) return device.kept ? [] : mountInMemory(tag, device.source, device.overlay);
  if (!isDisk(device)) return [];
  const { source, overlay } = device.disk;
  if (overlay) return [`disk ${tag}: the changes of its overlay are in no file that has a name`];
  return source.type === 'memory' && !device.readOnly ? [`disk ${tag}: it is in memory`] : [];
}

function mountInMemory(
  tag: string,
  source: { type: string },
  overlay: { type: string } | undefined,
): string[] {
  if (source.type !== 'memory' && overlay?.type !== 'memory') return [];
  return [`mount ${tag}: what it shows is in memory`];
}

async function noting(problems: string[], tag: string, job: () => Promise<void>): Promise<void> {
  try {
    await job();
  } catch (error) {
    problems.push(`${tag}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function check(problems: string[], tag: string, job: () => void): void {
  try {
    job();
  } catch (error) {
    problems.push(`mount ${tag}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function refusal(problems: readonly string[]): ChassisError {
  const distinct = [...new Set(problems)];
  return new ChassisError(
    'RESTORE_REFUSED',
    ['nothing was restored:', ...distinct.map((problem) => `  ${problem}`)].join('\n'),
    'bring it here as it was, and try again',
  );
}
