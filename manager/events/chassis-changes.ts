/**
 * Tells what changes in a chassis, by comparing what is with what it told last: nobody who changes something has to remember to say so, and
 * nothing is told that did not happen. It looks once what runs now has come to a pause, at what it was told is no longer as it was.
 */
import type { Chassis, EventBody, Vmm } from '../control/api.js';
import type { ChassisModel } from '../chassis/chassis.js';
import { changesOf } from './device-changes.js';
import { lookAt, type DeviceLook, type DeviceSight } from './device-look.js';

/** What there is to see of a chassis besides its mounts, disks and cards. */
export interface ChassisLook {
  readonly process: Omit<Chassis['deviceProcess'], 'restarts'>;
  readonly vmm: Vmm | undefined;
  readonly vmmProblem: string | undefined;
  /** The guest's helper reads what the tree tells. */
  readonly helper: boolean;
}

export interface ChassisChangesOptions {
  readonly model: ChassisModel;
  readonly sight: DeviceSight;
  readonly look: () => ChassisLook;
  readonly emit: (event: EventBody) => void;
}

const NOTHING_YET: ChassisLook = {
  process: { state: 'lost' },
  ...{ vmm: undefined, vmmProblem: undefined, helper: false },
};

export class ChassisChanges {
  private readonly options: ChassisChangesOptions;
  /** What was told, by name. */
  private readonly told = new Map<string, DeviceLook>();
  private toldOfChassis = NOTHING_YET;
  private readonly touched = new Set<string>();
  private state: 'not yet' | 'telling' | 'over' = 'not yet';
  private isLooking = false;

  constructor(options: ChassisChangesOptions) {
    this.options = options;
    options.model.onChange = (name) => this.changed(name);
  }

  /** From now on what changes is told. A new chassis is told of first; of one that was there, everything is as it is. */
  begin(isNew: boolean): void {
    const { model, look, emit } = this.options;
    this.state = 'telling';
    if (isNew) {
      emit({ type: 'chassis.created', slots: model.slotCount });
      return this.changed();
    }
    this.toldOfChassis = look();
    for (const name of this.names()) {
      const seen = lookAt(name, model, this.options.sight);
      if (seen) this.told.set(name, seen);
    }
  }

  /** Something may be no longer as it was: the mount, disk or card of that name; without one, what there is besides. */
  changed(name?: string): void {
    if (this.state === 'over') return;
    if (name !== undefined) this.touched.add(name);
    if (this.isLooking) return;
    this.isLooking = true;
    queueMicrotask(() => this.tell());
  }

  /** The chassis is removed. */
  end(): void {
    if (this.state === 'telling') this.options.emit({ type: 'chassis.removed' });
    this.leave();
  }

  /** The next daemon tells. */
  leave(): void {
    this.state = 'over';
  }

  private tell(): void {
    this.isLooking = false;
    const touched = [...this.touched];
    this.touched.clear();
    if (this.state !== 'telling') return;
    for (const event of this.changesOfChassis()) this.options.emit(event);
    for (const name of touched) {
      const seen = lookAt(name, this.options.model, this.options.sight);
      for (const event of changesOf(name, this.told.get(name), seen)) this.options.emit(event);
      if (seen) this.told.set(name, seen);
      else this.told.delete(name);
    }
  }

  private *changesOfChassis(): Generator<EventBody> {
    const before = this.toldOfChassis;
    const now = this.options.look();
    this.toldOfChassis = now;
    yield* processChanges(before.process, now.process);
    yield* vmChanges(before, now);
    if (now.helper !== before.helper) yield { type: now.helper ? 'helper.there' : 'helper.gone' };
  }

  private names(): string[] {
    const { model } = this.options;
    return [...model.devices().map(({ tag }) => tag), ...model.children.keys(), ...model.seats.keys()];
  }
}

function* processChanges(before: ChassisLook['process'], now: ChassisLook['process']): Generator<EventBody> {
  const { pid = 0, reason = '' } = now;
  if (now.state !== 'running') {
    if (now.state !== before.state)
      yield { type: 'process.lost', reason, recovering: now.state === 'recovering' };
  } else if (before.state !== 'running') {
    yield { type: 'process.started', pid };
  } else if (pid !== before.pid) {
    yield { type: 'process.upgraded', formerPid: before.pid ?? 0, pid };
  }
}

function* vmChanges(before: ChassisLook, now: ChassisLook): Generator<EventBody> {
  if (before.vmm !== now.vmm) {
    if (before.vmm) yield { type: 'vm.gone' };
    if (now.vmm) yield { type: 'vm.connected', vmm: now.vmm.type, version: now.vmm.version };
  }
  if (now.vmmProblem !== undefined && now.vmmProblem !== before.vmmProblem)
    yield { type: 'vm.refused', reason: now.vmmProblem };
}
