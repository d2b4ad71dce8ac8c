/** The disks of one chassis: each a function in a slot of its own. */
import { isAbsolute } from 'node:path';
import {
  ChassisError,
  SERIAL_MAX_LENGTH,
  type AddDiskRequest,
  type Disk,
  type EventBody,
  type RemoveDiskQuery,
  type ResizeDiskRequest,
} from './control/api.js';
import type { ChassisModel, DiskRecord } from './chassis/chassis.js';
import { plan } from './chassis/planner.js';
import type { Departures } from './departures.js';
import type { DeviceFunctions } from './device-functions.js';
import { functionFacts } from './function-facts.js';
import { SerialQueue } from './serial-queue.js';
import { describeDisk } from './views.js';
import type { VmSlots } from './vm-slots.js';

export interface DisksOptions {
  readonly chassis: string;
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  readonly departures: Departures;
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Sees to it that devices can be attached. @throws ChassisError VMM_UNSUITABLE or DEVICE_PROCESS_LOST */
  readonly ready: () => Promise<void>;
  /** Takes what happens. */
  readonly emit: (event: EventBody) => void;
  /** Plugs it in, or parks it; where that fails, it is gone. */
  readonly plugIn: (disk: DiskRecord, timeoutMs: number) => Promise<void>;
}

export class Disks {
  private readonly options: DisksOptions;
  /** One after the other, so that the last one asked for is the one that is remembered. */
  private readonly resizes = new SerialQueue();

  constructor(options: DisksOptions) {
    this.options = options;
  }

  /**
   * Plugs a disk in, or parks it for the next VM.
   * @throws ChassisError TAG_IN_USE, SLOT_TAKEN, NO_SLOT_FREE, SOURCE_MISSING, SOURCE_NOT_DISK, SOURCE_IN_USE, SIZE_INVALID…
   */
  async add(request: AddDiskRequest): Promise<Disk> {
    checkRequest(request);
    const { devices, exclusively, ready, plugIn } = this.options;
    return exclusively(async () => {
      await ready();
      const disk = this.place(request);
      await plugIn(disk, request.timeoutMs);
      await devices.refresh();
      return this.view(disk);
    });
  }

  /** All of them, as of now. */
  async list(): Promise<Disk[]> {
    await this.options.devices.refresh();
    return this.known();
  }

  /** All of them, as of the last time that the device process was asked. */
  known(): Disk[] {
    return this.options.model.disks().map((disk) => this.view(disk));
  }

  /**
   * Changes a disk's size, and tells the guest. It may take as long as what the guest has under way, and keeps nobody else waiting.
   * @throws ChassisError NO_DISK, SIZE_INVALID
   */
  resize(name: string, { sizeBytes, shrink }: ResizeDiskRequest): Promise<Disk> {
    const { model, devices, exclusively, emit } = this.options;
    return this.resizes.run(async () => {
      const disk = this.find(name);
      await devices.resizeDisk(disk, sizeBytes, shrink);
      emit({ type: 'disk.resized', name, sizeBytes });
      return exclusively(async () => {
        // Where it was removed meanwhile, what has its name now is another.
        if (model.disk(name) === disk) model.change(withSize(disk, sizeBytes));
        await devices.refresh();
        return this.view(this.find(name));
      });
    });
  }

  /**
   * Unplugs a disk, or takes it away where no VM has it.
   * @throws ChassisError NO_DISK, MOUNT_BUSY where an unknown VMM has it, VMM_REFUSED, or GUEST_TIMEOUT, after which it works on
   */
  remove(name: string, query: RemoveDiskQuery): Promise<void> {
    return this.options.exclusively(async () => {
      await this.options.departures.leave(this.find(name), {
        ...query,
        ...{ slot: false, keepFunction: false, discard: false },
      });
    });
  }

  private find(name: string): DiskRecord {
    const disk = this.options.model.disk(name);
    if (disk) return disk;
    const mount = this.options.model.mount(name);
    throw new ChassisError(
      'NO_DISK',
      `no disk has the name ${JSON.stringify(name)}`,
      mount ? `it is a mount: chassis detach ${name}` : 'list them with: chassis disk list',
    );
  }

  private place(request: AddDiskRequest): DiskRecord {
    const { model, slots } = this.options;
    const { name, source, overlay, overlayDirectory, queues, permanent, port, slot, managedBy } = request;
    const readOnly = request.readOnly || source.type === 'cloud-init';
    const serial = request.serial ?? name.slice(0, SERIAL_MAX_LENGTH);
    const [place] = plan(model, { tags: [name], slot, alone: true }, slots.unusable);
    const twin = model.disks().find((other) => other.disk.serial === serial);
    if (twin) throw serialInUse(serial, twin.tag);
    return {
      tag: name,
      readOnly,
      permanent,
      port,
      managedBy,
      ...place,
      disk: { source, overlay, overlayDirectory, serial, queues },
    };
  }

  private view(disk: DiskRecord): Disk {
    const { chassis, model, devices, slots } = this.options;
    return describeDisk(model, disk, {
      ...functionFacts(chassis, disk, devices, slots),
      status: devices.diskStatus(disk),
    });
  }
}

/** What the schema cannot say. @throws ChassisError BAD_REQUEST */
function checkRequest({ source, overlay, overlayDirectory, readOnly }: AddDiskRequest): void {
  if ('path' in source) checkPath(source.path);
  if (overlayDirectory !== undefined) checkPath(overlayDirectory);
  if (overlayDirectory !== undefined && !overlay) {
    throw new ChassisError('BAD_REQUEST', 'a folder for the changes is for an overlay alone');
  }
  if (!overlay) return;
  if (readOnly) throw new ChassisError('BAD_REQUEST', 'an overlay is for writing, and the disk is read-only');
  if (source.type === 'memory') {
    throw new ChassisError('BAD_REQUEST', 'a disk in memory is thrown away as it is: it needs no overlay');
  }
  if (source.type === 'cloud-init') {
    throw new ChassisError('BAD_REQUEST', "a guest's first settings are for reading: they need no overlay");
  }
}

/** @throws ChassisError BAD_REQUEST */
function checkPath(path: string): void {
  if (isAbsolute(path) && !path.includes('\0')) return;
  throw new ChassisError(
    'BAD_REQUEST',
    `${JSON.stringify(path)} is not an absolute path`,
    'give the full path',
  );
}

/** What a disk is made of when its device process is started over. A file has its size itself. */
export function withSize(disk: DiskRecord, sizeBytes: number): DiskRecord {
  const { source, overlay } = disk.disk;
  if (source.type === 'memory') return { ...disk, disk: { ...disk.disk, source: { ...source, sizeBytes } } };
  return overlay ? { ...disk, disk: { ...disk.disk, overlayBytes: sizeBytes } } : disk;
}

function serialInUse(serial: string, name: string): ChassisError {
  return new ChassisError(
    'TAG_IN_USE',
    `the disk ${JSON.stringify(name)} has the serial ${JSON.stringify(serial)}, by which the guest tells disks apart`,
    'give this one another with --serial',
  );
}
