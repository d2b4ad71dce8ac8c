/**
 * The life of one slot, as pure transitions: what the operator asks, what the VMM reports and what dies meanwhile, in any
 * order. The manager feeds events in and acts on the result; nothing here waits, so a timeout is no event: a slot that the
 * guest does not let go stays `unplugging` until DEVICE_DELETED comes or the VM ends.
 */

/** Functions 0–7 of a slot, one bit each. */
export type FunctionMask = number;

export type SlotState =
  /** Nothing is attached. */
  | 'empty'
  /** Functions are attached; none is in a VM. */
  | 'parked'
  /** The VMM is adding the functions; all of them or none will be there. */
  | 'plugging'
  | 'plugged'
  /** The guest was asked to let go. */
  | 'unplugging'
  /** In the VM, which connects again to the device process once that is there again: until then the guest's function answers nothing. */
  | 'recovering'
  /** In the VM, but cut off from the device process for good: the guest's function answers nothing. */
  | 'lost';

export interface SlotStatus {
  readonly state: SlotState;
  /** Functions attached to the slot. */
  readonly functions: FunctionMask;
  /** Those that the VM has; the others wait. */
  readonly present: FunctionMask;
}

export type SlotEvent =
  /** The operator attached functions. */
  | { readonly type: 'attached'; readonly functions: FunctionMask }
  /** Functions that no VM has were taken away. */
  | { readonly type: 'removed'; readonly functions: FunctionMask }
  | { readonly type: 'plug' }
  | { readonly type: 'plugged' }
  /** The VMM refused, and has none of the functions. */
  | { readonly type: 'plugFailed' }
  /** A VM came up with these functions on its command line, connected to us. */
  | { readonly type: 'found'; readonly functions: FunctionMask }
  /** A VM was met that has these functions, cut off from us for good. */
  | { readonly type: 'foundDead'; readonly functions: FunctionMask }
  | { readonly type: 'unplug' }
  /** The VM let functions go: asked for while `unplugging`, else the guest's own doing. */
  | { readonly type: 'deleted'; readonly functions: FunctionMask }
  | { readonly type: 'unplugRejected' }
  | { readonly type: 'vmLost' }
  | { readonly type: 'deviceProcessLost' }
  /** The VM has connected all functions of the slot again. */
  | { readonly type: 'reconnected' }
  /** The VM will not connect them again. */
  | { readonly type: 'cutOff' };

export const EMPTY_SLOT: SlotStatus = { state: 'empty', functions: 0, present: 0 };

/** The slot after `event`; undefined where the event is illegal in its state, which is a bug of the caller. */
export function step(slot: SlotStatus, event: SlotEvent): SlotStatus | undefined {
  switch (event.type) {
    case 'attached':
      return attached(slot, event.functions);
    case 'removed':
      return removed(slot, event.functions);
    case 'plug':
      return slot.state === 'parked' && (slot.functions & 1) !== 0
        ? { ...slot, state: 'plugging' }
        : undefined;
    case 'plugged':
      return slot.state === 'plugging' ? { ...slot, state: 'plugged', present: slot.functions } : undefined;
    case 'plugFailed':
      return slot.state === 'plugging' ? { ...slot, state: 'parked' } : undefined;
    case 'found':
      return found(slot, event.functions, 'plugged');
    case 'foundDead':
      return found(slot, event.functions, 'lost');
    case 'unplug':
      return slot.present === 0 ? undefined : { ...slot, state: 'unplugging' };
    case 'deleted':
      return deleted(slot, event.functions);
    case 'unplugRejected':
      return slot.state === 'unplugging' ? { ...slot, state: 'plugged' } : undefined;
    case 'vmLost':
      return slot.state === 'plugging' ? { ...slot, state: 'parked' } : deleted(slot, slot.present);
    case 'deviceProcessLost':
      return slot.state === 'plugged' ? { ...slot, state: 'recovering' } : slot;
    case 'reconnected':
      return isDead(slot) ? { ...slot, state: 'plugged' } : undefined;
    case 'cutOff':
      return slot.state === 'recovering' ? { ...slot, state: 'lost' } : undefined;
  }
}

/** True where the VM has what the device process does not serve it. */
export function isDead({ state }: SlotStatus): boolean {
  return state === 'recovering' || state === 'lost';
}

function attached(slot: SlotStatus, functions: FunctionMask): SlotStatus | undefined {
  const joinable = slot.state === 'empty' || slot.state === 'parked';
  if (!joinable || functions === 0 || (slot.functions & functions) !== 0) return undefined;
  return { state: 'parked', functions: slot.functions | functions, present: 0 };
}

function removed(slot: SlotStatus, functions: FunctionMask): SlotStatus | undefined {
  const waiting = slot.functions & ~slot.present;
  if (slot.state === 'plugging' || functions === 0 || (functions & ~waiting) !== 0) return undefined;
  return settle({ ...slot, functions: slot.functions & ~functions });
}

function found(slot: SlotStatus, functions: FunctionMask, state: SlotState): SlotStatus | undefined {
  if (slot.state !== 'parked' || functions === 0 || (functions & ~slot.functions) !== 0) return undefined;
  return { ...slot, state, present: functions };
}

/** A slot that was asked to go loses the functions; any other keeps them, parked, for the next VM. */
function deleted(slot: SlotStatus, functions: FunctionMask): SlotStatus {
  const gone = slot.present & functions;
  const kept = slot.state === 'unplugging' ? slot.functions & ~gone : slot.functions;
  return settle({ ...slot, functions: kept, present: slot.present & ~gone });
}

/** Gives a slot that the VM has nothing of the state that follows from what is attached. */
function settle(slot: SlotStatus): SlotStatus {
  if (slot.state === 'plugging' || slot.present !== 0) return slot;
  return slot.functions === 0 ? EMPTY_SLOT : { ...slot, state: 'parked' };
}

/** The bit of function `fn`. */
export function functionBit(fn: number): FunctionMask {
  return 1 << fn;
}

/** The functions of a mask, ascending. */
export function functionsIn(mask: FunctionMask): number[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].filter((fn) => (mask & (1 << fn)) !== 0);
}
