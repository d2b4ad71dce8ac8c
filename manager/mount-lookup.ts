/** Mounts by their tags, whatever carries them. */
import { ChassisError } from './control/api.js';
import type { ChassisModel, ChildRecord, MountRecord, SeatRecord } from './chassis/chassis.js';
import { functionName } from './function-name.js';
import type { MountRef } from './device-process/protocol.js';

export type AnyMount = MountRecord | ChildRecord | SeatRecord;

/** A mount, and what the device process calls it. */
export interface FoundMount {
  readonly mount: AnyMount;
  readonly via: 'function' | 'tree' | 'queue';
  readonly ref: MountRef;
}

/** Undefined where no mount has the tag, or only its function is left. */
export function findMount(model: ChassisModel, tag: string): FoundMount | undefined {
  const { tree, mux } = model;
  const child = model.children.get(tag);
  if (child && tree) return { mount: child, via: 'tree', ref: { function: functionName(tree), child: tag } };
  const seat = model.seats.get(tag);
  if (seat && mux)
    return { mount: seat, via: 'queue', ref: { function: functionName(mux), queue: seat.queue } };
  const mount = model.mount(tag);
  if (!mount || mount.kept || mount.tree || mount.mux) return undefined;
  return { mount, via: 'function', ref: { function: functionName(mount) } };
}

/** @throws ChassisError NO_MOUNT; BAD_REQUEST for what only carries mounts */
export function requireMount(model: ChassisModel, tag: string): FoundMount {
  const found = findMount(model, tag);
  if (found) return found;
  const carrier = model.mount(tag);
  if (carrier?.tree || carrier?.mux) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${JSON.stringify(tag)} carries mounts, and is none itself`,
      'name one of them; list them with: chassis mounts',
    );
  }
  throw new ChassisError(
    'NO_MOUNT',
    `no mount has the tag ${JSON.stringify(tag)}`,
    'list them with: chassis mounts',
  );
}

/** The directories that the mounts of a chassis show, and those that they keep changes in. */
export function directoriesOf(model: ChassisModel): string[] {
  const mounts = [...model.mounts(), ...model.children.values(), ...model.seats.values()];
  return mounts.flatMap(({ source, overlay }) => [
    ...(source.type === 'directory' ? [source.path] : []),
    ...(overlay && overlay.type !== 'memory' ? [overlay.path] : []),
  ]);
}
