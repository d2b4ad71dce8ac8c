/** What stands in the way of a plan: what guests use, what others made, and what slots allow. */
import type { Chassis, Mount } from '../../../manager/control/api.js';
import type { DesiredChassis, DesiredMount } from './desired.js';
import { mountDifferences } from './differences.js';
import { isHeld, neighbours } from './mount-steps.js';
import type { Kind, PlanItem } from './plan-item.js';

export type Things = Pick<Chassis, 'mounts' | 'disks' | 'cards'>;
export interface Owned {
  readonly managedBy?: string;
}

interface Holder extends Owned {
  readonly kind: Kind;
}
export interface Contents extends Things {
  readonly names: ReadonlyMap<string, Holder>;
}

export type Blocked = Pick<PlanItem, 'blocked'>;

export class Obstacles {
  private readonly manifest: string;
  private readonly options: { readonly prune: boolean; readonly force: boolean };

  constructor(manifest: string, options: { readonly prune: boolean; readonly force: boolean }) {
    this.manifest = manifest;
    this.options = options;
  }

  /** Its guest has it mounted. */
  held(mount: Mount): Blocked {
    if (this.options.force || !isHeld(mount)) return {};
    return {
      blocked: {
        reason: `the guest has ${mount.tag} mounted`,
        suggestion:
          'unmount it in the guest first (umount), or use --force, which takes it away all the same',
      },
    };
  }

  /** A guest looks at a slot once. */
  joining({ slot, name }: DesiredMount, wanted: DesiredChassis, { mounts }: Contents): Blocked {
    const isThere = (mount: Mount): boolean =>
      mount.slot === slot &&
      mount.via === 'function' &&
      mount.state === 'plugged' &&
      this.stays(mount, wanted);
    const isIn = mounts.some((mount) => mount.tag === name && isThere(mount));
    const other = slot === undefined || isIn ? undefined : mounts.find(isThere);
    if (!other) return {};
    return {
      blocked: {
        reason: `a VM has slot ${slot} already, with ${other.tag}, and nothing can join it there`,
        suggestion: 'choose another slot, or leave it out',
      },
    };
  }

  /** A VM ejects whole slots. */
  moving(current: Mount, mount: DesiredMount, wanted: DesiredChassis, there: Contents): Blocked {
    if (isInItsPlace(current, mount)) return {};
    const other = neighbours(current, there.mounts).find((each) => this.stays(each, wanted));
    if (!other) return this.joining(mount, wanted, there);
    return {
      blocked: {
        reason: `${current.tag} shares slot ${current.slot} with ${other.tag} in the VM, and cannot leave it alone`,
        suggestion: 'leave it where it is, or change both',
      },
    };
  }

  private stays(mount: Mount, { mounts }: DesiredChassis): boolean {
    const same = mounts.find(({ name }) => name === mount.tag);
    return same ? isInItsPlace(mount, same) : !(this.options.prune && mount.managedBy === this.manifest);
  }

  /** What another manifest made is for that one to change. */
  foreign({ managedBy }: Owned): Blocked {
    if (managedBy === undefined || managedBy === this.manifest) return {};
    return {
      blocked: {
        reason: `it is of another manifest: ${managedBy}`,
        suggestion: 'have it in one of the two, or give both the same name',
      },
    };
  }

  /** Also where it goes, if its function has to stay in the guest under its name. */
  keepsName(name: string, holder: Holder, wanted: DesiredChassis, { mounts }: Contents): boolean {
    if (!this.options.prune || holder.managedBy !== this.manifest) return true;
    const mount = mounts.find(({ tag }) => tag === name);
    return mount !== undefined && neighbours(mount, mounts).some((other) => this.stays(other, wanted));
  }
}

/** Those that operators attached: not what carries them, nor a function that is kept without one. */
export function mountsOf({ mounts }: Pick<Things, 'mounts'>): Mount[] {
  return mounts.filter(({ source }) => source?.type === 'directory' || source?.type === 'memory');
}

/** The new one shows something else, where the old one was. */
export function isInItsPlace(there: Mount, wanted: DesiredMount): boolean {
  return mountDifferences(there, wanted).place.length === 0;
}

/** What has which name. */
export function namesOf({ mounts, disks, cards }: Things): Contents['names'] {
  return new Map<string, Holder>([
    ...mounts.map(({ tag, managedBy }) => [tag, { kind: 'mount', managedBy }] as const),
    ...disks.map(({ name, managedBy }) => [name, { kind: 'disk', managedBy }] as const),
    ...cards.map(({ name, managedBy }) => [name, { kind: 'card', managedBy }] as const),
  ]);
}
