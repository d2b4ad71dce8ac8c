/**
 * Brings a chassis back that an earlier daemon kept: what the journal says and the device process lacks is made again; what the process has
 * and the journal does not say is taken away. No guest can have that: what it may see is noted first, and what it has let go, last.
 */
import { isCard, isDisk, type ChassisModel, type DeviceRecord, type MountRecord } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import { functionName } from './function-name.js';
import type { FoundFunction } from './device-process/protocol.js';
import { withSize } from './disks.js';
import type { JournalDocument } from './journal-format.js';
import type { Log } from './logging/log.js';
import { findMount } from './mount-lookup.js';
import type { VmSlots } from './vm-slots.js';

export interface RestorationOptions {
  /** As the journal says. */
  readonly model: ChassisModel;
  readonly document: JournalDocument;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Whether there is a VM: it has what the earlier daemon showed it. */
  readonly vmRuns: () => Promise<boolean>;
  readonly log: Log;
}

export class Restoration {
  private readonly options: RestorationOptions;

  constructor(options: RestorationOptions) {
    this.options = options;
  }

  /** @throws ChassisError DEVICE_PROCESS_LOST where there is no device process: all is as the journal says, and nothing is served */
  async run(): Promise<void> {
    const { model, document, devices, slots, vmRuns, log } = this.options;
    for (const slot of document.unplugging) slots.unfinished.add(slot);
    for (const { slot, function: fn, use } of document.devices)
      if (use) devices.noteUse({ slot, function: fn }, use);
    const found = await devices.find();
    if (!found) {
      log.warn('its device process is gone, and is started over');
      await devices.start();
      if (await vmRuns()) this.loseContents();
    }
    const left = new Map(found?.map((each) => [each.function, each]));
    for (const device of model.devices()) {
      const there = left.get(functionName(device));
      left.delete(functionName(device));
      try {
        if (there) await this.keep(device, there);
        // As it was: a VM may be about to connect to it.
        else await devices.provide(device, devices.lastUse(device) ?? slots.choose(device));
      } catch (error) {
        slots.note(device.slot, error);
      }
    }
    for (const name of left.keys()) devices.clear(name);
    await this.settleTerms();
  }

  /** What was written to memory, or to files without names, went with the process. */
  private loseContents(): void {
    const { model, devices } = this.options;
    for (const device of model.devices()) {
      if (!isDisk(device)) continue;
      const { source, overlay } = device.disk;
      if (overlay || (source.type === 'memory' && !device.readOnly)) devices.loseContents(device);
    }
  }

  private async keep(device: DeviceRecord, found: FoundFunction): Promise<void> {
    const { port, msix, empty } = found;
    const { devices } = this.options;
    const noted = devices.lastUse(device);
    const isAsNoted = noted?.port === port && noted.msix === msix;
    const reason = isAsNoted ? noted.reason : 'an earlier daemon chose it';
    await devices.keep(device, { port, msix, reason }, found);
    if (isDisk(device)) return this.keepSize(device);
    if (isCard(device)) return devices.setLink(device);
    if (device.tree) return this.keepChildren(device);
    if (device.mux) return this.keepSeats(device);
    // Attached to a function that was kept, or taken from it: the earlier daemon ended in between.
    if (empty !== (device.kept ?? false)) await devices.setSource(device);
  }

  /** It may have been changed last thing. */
  private keepSize(disk: Parameters<typeof withSize>[0]): void {
    const { model, devices } = this.options;
    const sizeBytes = devices.diskStatus(disk)?.sizeBytes;
    if (sizeBytes !== undefined) model.change(withSize(disk, sizeBytes));
  }

  private async keepChildren(tree: MountRecord): Promise<void> {
    const { model, devices, log } = this.options;
    const there = await devices.carried.childrenOf(tree);
    for (const tag of there.keys())
      if (!model.children.has(tag)) await devices.carried.removeChild(tree, tag);
    for (const child of model.children.values()) {
      if (there.has(child.tag)) continue;
      await devices.carried
        .addChild(tree, child)
        .catch((error: unknown) => log.with({ tag: child.tag }).warn('not in the tree', error));
    }
  }

  private async keepSeats(mux: MountRecord): Promise<void> {
    const { model, devices, log } = this.options;
    const there = new Set(devices.seatsOf(mux));
    const wanted = new Set(Array.from(model.seats.values(), ({ queue }) => queue));
    for (const queue of there) {
      if (wanted.has(queue)) continue;
      await devices.carried
        .removeSeat(mux, queue, false)
        .catch((error: unknown) => log.warn(`queue ${queue} keeps its mount`, error));
    }
    for (const seat of model.seats.values()) {
      if (there.has(seat.queue)) continue;
      await devices.carried
        .addSeat(mux, seat, [seat.queue])
        .catch((error: unknown) => log.with({ tag: seat.tag }).warn(`not on queue ${seat.queue}`, error));
    }
  }

  /** The earlier daemon ended while it changed them: the device process has the old ones or the new ones, and is told which hold. */
  private async settleTerms(): Promise<void> {
    const { model, devices, log } = this.options;
    for (const tag of model.changing) {
      const found = findMount(model, tag);
      if (!found) continue;
      const { mount, ref } = found;
      const { readOnly, policy, revoked } = mount;
      try {
        const host = devices.requireRunning();
        if (revoked) await host.revoke(ref);
        else await host.setPolicy({ ...ref, readOnly, policy });
      } catch (error) {
        log.with({ tag }).warn('its policy may be an earlier one', error);
      }
    }
    model.changing.clear();
  }
}
