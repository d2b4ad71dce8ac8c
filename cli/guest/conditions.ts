/** What `chassis wait` waits for, as far as the daemon can tell. */
import { ChassisError, type Chassis, type Mount } from '../../manager/control/api.js';

export const CONDITIONS = ['mounted', 'booted', 'provisioned', 'gone'] as const;
export type Condition = (typeof CONDITIONS)[number];
/** The guest alone knows whether it is provisioned. */
export type SeenFromOutside = Exclude<Condition, 'provisioned'>;

/**
 * True once it is so.
 * @throws ChassisError BAD_REQUEST where nothing could tell
 */
export function isMet(condition: SeenFromOutside, chassis: Chassis, tag: string | undefined): boolean {
  switch (condition) {
    case 'mounted':
      return tag === undefined ? areMounted(chassis) : isMounted(chassis.mounts.find(named(tag)));
    case 'booted':
      return hasBooted(chassis);
    case 'gone':
      return tag === undefined ? chassis.vmm === undefined : !chassis.mounts.some(named(tag));
  }
}

function named(tag: string): (mount: Mount) => boolean {
  return (mount) => mount.tag === tag;
}

/** All that are wanted somewhere. */
function areMounted({ name, mounts }: Chassis): boolean {
  const wanted = mounts.filter(({ target }) => target !== undefined);
  if (wanted.length > 0) return wanted.every(isMounted);
  throw new ChassisError(
    'BAD_REQUEST',
    `no mount of ${name} has a target that it could be mounted at`,
    'name the mount: --mount TAG',
  );
}

/** At its target where it has one; else the guest has a file of it. */
function isMounted(mount: Mount | undefined): boolean {
  if (mount === undefined) return false;
  if (mount.target !== undefined) return mount.inGuest === 'mounted';
  return (mount.held?.fids ?? mount.counters?.fids ?? 0) > 0;
}

/** A helper is at work; without a tree, that a mount has its driver has to do: a firmware drives disks as well. */
function hasBooted({ name, vmm, guestHelper, guestCommands, mounts }: Chassis): boolean {
  if (mounts.some(({ via }) => via === 'tree'))
    return vmm !== undefined && Boolean(guestHelper ?? guestCommands);
  if (mounts.length > 0) return vmm !== undefined && mounts.some(({ driver }) => driver !== undefined);
  throw new ChassisError(
    'BAD_REQUEST',
    `${name} has no mount, by which its guest would be heard of`,
    'attach a directory with --via tree, and run the helper in the guest: chassis guest-setup',
  );
}
