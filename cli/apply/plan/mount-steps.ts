/** The steps by which mounts leave and arrive: what shares a slot leaves and arrives together, and the neighbours of what leaves stay. */
import type { AttachRequest, Mount, MountRequest } from '../../../manager/control/api.js';
import type { Position } from '../manifest/problems.js';
import type { DesiredMount } from './desired.js';
import { overlayRequest } from './differences.js';
import type { Operation, Step } from './operations.js';

/** The most that one attach takes. */
const MOUNTS_PER_ATTACH = 8;

export interface LeavingMount {
  readonly mount: Mount;
  /** Another mount of its tag comes in its place, and can have its function. */
  readonly isReplaced: boolean;
  readonly at?: Position;
}

export interface ArrivingMount {
  readonly mount: DesiredMount;
  /** It comes in the place of this one. */
  readonly replaces?: LeavingMount;
}

/** The guest has it mounted, by itself: not by the helper, which unmounts what is to go. */
export function isHeld({ via, counters }: Mount): boolean {
  return via !== 'tree' && (counters?.fids ?? 0) > 0;
}

/** A VM has its slot, which it ejects as a whole. */
function isPlugged({ via, state }: Mount): boolean {
  return via === 'function' && (state === 'plugged' || state === 'unplugging');
}

/** Its function stays in the guest for the mount that comes in its place: no PCI event, and nothing for its neighbours to notice. */
function leavesFunction({ mount, isReplaced }: LeavingMount): boolean {
  return isReplaced && isPlugged(mount) && !isHeld(mount);
}

/** The others that a VM would eject with it. */
export function neighbours(mount: Mount, all: readonly Mount[]): Mount[] {
  if (!isPlugged(mount)) return [];
  return all.filter(
    (other) => other !== mount && isPlugged(other) && other.slot === mount.slot && other.source !== undefined,
  );
}

/** `all` are the mounts of the chassis. */
export function detachSteps(
  chassis: string,
  all: readonly Mount[],
  leaving: readonly LeavingMount[],
  force: boolean,
): Step[] {
  const whole = new Set(leaving.filter(({ isReplaced }) => !isReplaced).map(({ mount }) => mount));
  const done = new Set<Mount>();
  return leaving.flatMap((each) => {
    const { mount, at } = each;
    if (done.has(mount)) return [];
    const others = neighbours(mount, all);
    const isAlone = others.every((other) => whole.has(other));
    const keepFunction = leavesFunction(each) || (!isAlone && !isHeld(mount));
    const mounts = isAlone && !keepFunction ? [mount, ...others] : [mount];
    mounts.forEach((other) => done.add(other));
    const tags = mounts.map(({ tag }) => tag);
    const operation: Operation = { do: 'detach', chassis, tags, keepFunction, force: force && !keepFunction };
    const undo = runsOf(mounts).map((run) => attachAgain(chassis, run, keepFunction));
    const loss = lossOf(mounts);
    return [{ operation, undo, ...(loss !== undefined && { loss }), ...(at && { at }) }];
  });
}

/** Mounts side by side, since an attach has no gaps. */
function runsOf(mounts: readonly Mount[]): Mount[][] {
  const runs: Mount[][] = [];
  for (const mount of [...mounts].sort((a, b) => a.function - b.function)) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run && last && mount.via === 'function' && mount.function === last.function + 1) run.push(mount);
    else runs.push([mount]);
  }
  // A guest looks at a slot once function 0 is there: so that comes last.
  return runs.reverse();
}

function attachAgain(chassis: string, mounts: readonly Mount[], isKept: boolean): Operation {
  const [{ via, slot, function: fn, permanent }] = mounts;
  const isPlaced = via === 'function' && !isKept;
  return {
    ...{ do: 'attach', chassis },
    request: {
      mounts: mounts.map(requestOf),
      ...{ via, permanent, port: 'auto' },
      ...(isPlaced && { slot, function: fn }),
    },
  };
}

/** What makes a mount that is there, once more. */
function requestOf(mount: Mount): MountRequest {
  const { tag, source, readOnly, policy, owner, target, watch, managedBy } = mount;
  if (source?.type !== 'directory' && source?.type !== 'memory') throw new Error(`${tag} shows no source`);
  const overlay = overlayRequest(mount.overlay);
  return {
    ...{ tag, source, readOnly },
    ...(policy && { policy }),
    ...(owner && { owner }),
    ...(overlay && { overlay }),
    ...(target !== undefined && { target }),
    ...(watch && { watch }),
    ...(managedBy !== undefined && { managedBy }),
  };
}

function lossOf(mounts: readonly Mount[]): string | undefined {
  const inMemory = mounts.filter(
    ({ source, overlay }) => source?.type === 'memory' || overlay?.type === 'memory',
  );
  return inMemory.length === 0
    ? undefined
    : `what ${inMemory.map(({ tag }) => tag).join(', ')} had in memory is gone`;
}

export function attachSteps(
  chassis: string,
  all: readonly Mount[],
  arriving: readonly ArrivingMount[],
  managedBy: string,
): Step[] {
  return batches(arriving).map((batch) => attachStep({ chassis, managedBy, all }, batch));
}

function attachStep(
  {
    chassis,
    managedBy,
    all,
  }: { readonly chassis: string; readonly managedBy: string; readonly all: readonly Mount[] },
  batch: readonly ArrivingMount[],
): Step {
  const [{ mount, replaces }] = batch;
  const { via, permanent, port } = mount;
  const isKept = replaces !== undefined && leavesFunction(replaces);
  const place = isKept ? {} : placeOf(mount, replaces, all);
  const request: Omit<AttachRequest, 'timeoutMs'> = {
    mounts: batch.map(({ mount: { name, terms } }) => ({ tag: name, ...terms, managedBy })),
    ...{ via, permanent, port },
    ...place,
  };
  const tags = batch.map(({ mount: { name } }) => name);
  const shares = place.slot !== undefined && batch.length > 1;
  const leave = (some: readonly string[]): Operation => ({
    ...{ do: 'detach', chassis, tags: some, keepFunction: isKept, force: false },
  });
  return {
    operation: { do: 'attach', chassis, request },
    undo: shares ? [leave(tags)] : tags.reverse().map((tag) => leave([tag])),
    at: mount.at,
  };
}

/**
 * Where it is said to be; or where the one before was, while no VM has it and others share its slot: without function 0, the guest would
 * never look at them.
 */
function placeOf(
  { slot, via, terms }: DesiredMount,
  replaces: LeavingMount | undefined,
  all: readonly Mount[],
): { readonly slot?: number; readonly function?: number } {
  if (slot !== undefined) return { slot };
  const before = replaces?.mount;
  if (before?.via !== 'function' || before.state !== 'parked' || !isFunction(via, terms)) return {};
  const isShared = all.some(
    (other) => other !== before && other.via === 'function' && other.slot === before.slot,
  );
  return isShared ? { slot: before.slot, function: before.function } : {};
}

function isFunction(via: DesiredMount['via'], { target, watch }: DesiredMount['terms']): boolean {
  return via === 'function' || (via === 'auto' && target === undefined && !watch);
}

/** What one attach takes: those that share a slot, some of the tree, or one. */
function batches(arriving: readonly ArrivingMount[]): ArrivingMount[][] {
  const batches = new Map<string, ArrivingMount[]>();
  const full: ArrivingMount[][] = [];
  for (const each of arriving) {
    const key = batchKey(each);
    const batch = key === undefined ? undefined : batches.get(key);
    if (batch && batch.length < MOUNTS_PER_ATTACH) {
      batch.push(each);
      continue;
    }
    const begun = [each];
    full.push(begun);
    if (key !== undefined) batches.set(key, begun);
  }
  return full;
}

function batchKey({ mount, replaces }: ArrivingMount): string | undefined {
  const { via, slot, permanent, port, terms } = mount;
  // A folder for changes is for one mount of an attach alone, and so is a function that is kept.
  if (terms.overlay?.type === 'directory' || (replaces && leavesFunction(replaces))) return undefined;
  if (slot !== undefined) return JSON.stringify([slot, permanent, port]);
  if (via === 'tree') return 'tree';
  return via === 'auto' && !isFunction(via, terms) ? 'helper' : undefined;
}
