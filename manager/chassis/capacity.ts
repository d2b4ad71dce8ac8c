/** Answers, before a VM boots, what layout a number of mounts needs and what that layout leaves. Pure. */
import { ChassisError, type Plan, type Via } from '../control/api.js';
import { extensionsFor, maxSlots, type PlacementRules } from './placement-rules.js';

/** Mounts that one multiplexing mount carries: a bound on what a directory listing of its root holds. */
export const TREE_MOUNTS_MAX = 65_536;

export interface CapacityRequest {
  readonly mounts: number;
  readonly via: Via;
  /** The slots there are; as many as it takes where left out. */
  readonly slots?: number;
}

/** @throws ChassisError NO_SLOT_FREE where they do not fit, BAD_REQUEST where the VMM has no such way */
export function planCapacity(rules: PlacementRules, request: CapacityRequest): Plan {
  const { mounts, via, slots } = request;
  const limit = slots ?? maxSlots(rules);
  const cards = Math.ceil(mounts / rules.functionsPerSlot);
  if (via === 'queue') return queues(rules, mounts);
  if (via === 'tree' || (via === 'auto' && cards > limit)) return tree(rules, mounts, slots ?? 1);
  if (cards > limit) throw tooMany(rules, mounts, limit, slots !== undefined);
  return functions(rules, mounts, slots ?? cards);
}

function functions(rules: PlacementRules, mounts: number, slots: number): Plan {
  const room = slots * rules.functionsPerSlot;
  return { ...layout(rules, slots), via: 'function', mounts, room, left: room - mounts, oneByOne: slots };
}

/** The tree's function takes a slot; whatever else is in the chassis is not its affair. */
function tree(rules: PlacementRules, mounts: number, slots: number): Plan {
  if (mounts > TREE_MOUNTS_MAX) {
    throw new ChassisError(
      'NO_SLOT_FREE',
      `${mounts} mounts are more than the ${TREE_MOUNTS_MAX} that the tree carries`,
      'spread them over several chassis',
    );
  }
  const left = TREE_MOUNTS_MAX - mounts;
  return {
    ...layout(rules, slots),
    via: 'tree',
    mounts,
    room: TREE_MOUNTS_MAX,
    left,
    oneByOne: TREE_MOUNTS_MAX,
  };
}

function queues(rules: PlacementRules, mounts: number): Plan {
  if (rules.muxFunctions === 0) throw queuesUnusable(rules);
  const devices = Math.ceil(mounts / QUEUES_PER_DEVICE);
  if (devices > rules.muxFunctions) throw queuesTaken(mounts, rules.muxFunctions * QUEUES_PER_DEVICE);
  const slots = Math.ceil(devices / rules.functionsPerSlot);
  const limit = maxSlots(rules);
  if (slots > limit) throw tooMany(rules, mounts, limit, false);
  const room = devices * QUEUES_PER_DEVICE;
  return { ...layout(rules, slots), via: 'queue', mounts, room, left: room - mounts, oneByOne: room };
}

/** Queues of a multiplexing device. */
export const QUEUES_PER_DEVICE = 64;

function layout(rules: PlacementRules, slots: number) {
  return {
    vmm: rules.vmm,
    slots,
    functionsPerSlot: rules.functionsPerSlot,
    extensions: extensionsFor(rules, slots),
    extensionKind: rules.extension.kind,
    growsWhileRunning: rules.growsWhileRunning,
  };
}

/** Of a VMM for which no multiplexing function is made. */
function queuesUnusable({ vmm }: PlacementRules): ChassisError {
  return new ChassisError(
    'BAD_REQUEST',
    `over ${vmm} a mount cannot have a queue of its own: Linux's driver uses the first queue of a 9p device only`,
    'use --via tree, which needs one function for all mounts, or --via function',
  );
}

/** So many mounts, together with those that are there, are more than the queues. */
export function queuesTaken(mounts: number, queues: number): ChassisError {
  return new ChassisError(
    'NO_SLOT_FREE',
    `${mounts} mounts are more than the ${queues} queues that a chassis has for them`,
    'use --via tree, which carries thousands on one function, or detach some',
  );
}

function tooMany(rules: PlacementRules, mounts: number, slots: number, fixed: boolean): ChassisError {
  const { functionsPerSlot, vmm } = rules;
  const room = slots * functionsPerSlot;
  const most = maxSlots(rules);
  const larger = Math.ceil(mounts / functionsPerSlot);
  const grow = larger <= most ? `, or a chassis with more slots: chassis create NAME --slots ${larger}` : '';
  return new ChassisError(
    'NO_SLOT_FREE',
    `${mounts} mounts do not fit ${fixed ? 'its' : `the ${vmm} limit of`} ${slots} slots of ${functionsPerSlot}: that is room for ${room}`,
    `use --via tree, which needs one function for all mounts${grow}`,
  );
}
