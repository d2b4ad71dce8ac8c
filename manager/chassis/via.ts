/** Decides what carries the mounts of an attach. Pure: it reads the model and changes nothing. */
import { ChassisError, type Plan, type PortChoice, type Via } from '../control/api.js';
import { planCapacity } from './capacity.js';
import type { ChassisModel } from './chassis.js';
import { emptySlots, type UnusableSlots } from './planner.js';

/** An attach, as far as this decision goes. */
export interface ViaRequest {
  readonly via: Via;
  readonly mounts: readonly { readonly tag: string; readonly target?: string; readonly watch?: boolean }[];
  readonly slot?: number;
  readonly function?: number;
  readonly permanent: boolean;
  readonly port: PortChoice;
}

/**
 * 'auto' means functions while slots are free, of which the last is left for the tree, and then the tree; never queues, which stock
 * guests do not use. A target or a watch needs the tree; a slot, a function, a port, a promise to stay, or a tag whose function is kept need
 * functions. The function that the first mount on a queue brings with it can have a port.
 * @throws ChassisError BAD_REQUEST for what cannot go together
 */
export function chooseVia<S>(
  model: ChassisModel<S>,
  request: ViaRequest,
  unusable: UnusableSlots,
): Plan['via'] {
  const { via, mounts } = request;
  const target = mounts.find((mount) => mount.target !== undefined);
  const helper = target ? '--target' : mounts.some((mount) => mount.watch) ? '--watch' : undefined;
  const option = functionOption(request);
  if (via === 'queue') {
    requireNone(helper ?? (option === '--port' ? undefined : option));
    return 'queue';
  }
  if (via === 'tree' || (via === 'auto' && helper)) {
    if (option === undefined) return 'tree';
    throw new ChassisError(
      'BAD_REQUEST',
      `${option} is for a mount on a function of its own, and ${via === 'tree' ? '--via tree' : helper} for one of the tree`,
      'leave one of them out',
    );
  }
  if (target) {
    throw new ChassisError(
      'BAD_REQUEST',
      `a mount on a function of its own cannot have the target ${target.target}: only the tree's helper mounts in the guest`,
      'use --via tree, or mount it in the guest yourself',
    );
  }
  if (helper) {
    throw new ChassisError(
      'BAD_REQUEST',
      'a mount on a function of its own cannot be watched: only the tree has a helper in the guest',
      'use --via tree',
    );
  }
  if (via === 'function' || option !== undefined) return 'function';
  if (mounts.some(({ tag }) => model.mount(tag)?.kept)) return 'function';
  return functionsLeft(model, unusable) ? 'function' : 'tree';
}

/** @throws ChassisError BAD_REQUEST for an option that a mount on a queue cannot have */
function requireNone(option: string | undefined): void {
  if (option === undefined) return;
  throw new ChassisError(
    'BAD_REQUEST',
    `a mount on a queue cannot have ${option}`,
    'leave it out, or use --via function or --via tree',
  );
}

/** What of the request only a function can have, as the command line calls it. */
function functionOption({ slot, function: fn, permanent, port }: ViaRequest): string | undefined {
  if (slot !== undefined) return '--slot';
  if (fn !== undefined) return '--function';
  if (permanent) return '--permanent';
  return port === 'auto' ? undefined : '--port';
}

/** True also where nothing is left for a tree: then the planner says so. */
function functionsLeft<S>(model: ChassisModel<S>, unusable: UnusableSlots): boolean {
  const free = emptySlots(model, unusable).length;
  return free > keptForTree(model) || (free === 0 && !model.tree);
}

/** The last slot is the tree's, or a chassis of many slots would end with one mount in the last of them. */
function keptForTree<S>(model: ChassisModel<S>): number {
  return model.tree || model.slotCount === 1 ? 0 : 1;
}

/** Whether so many further mounts fit, and how. @throws ChassisError NO_SLOT_FREE where not */
export function planBeside<S>(
  model: ChassisModel<S>,
  { mounts, via }: { readonly mounts: number; readonly via: Via },
  unusable: UnusableSlots,
): Plan {
  const free = emptySlots(model, unusable).length;
  const slots = via === 'auto' ? Math.max(0, free - keptForTree(model)) : free;
  const planned = planCapacity(model.rules, { mounts, via, slots });
  if (planned.via === 'function') return planned;
  const [carrier, carried, what] =
    planned.via === 'tree'
      ? [model.tree, model.children, 'the tree']
      : [model.mux, model.seats, 'the function whose queues carry mounts'];
  if (!carrier && free === 0) {
    throw new ChassisError('NO_SLOT_FREE', `no slot is free for ${what}`, 'detach a mount first');
  }
  return planCapacity(model.rules, { mounts: mounts + carried.size, via: planned.via, slots: free });
}
