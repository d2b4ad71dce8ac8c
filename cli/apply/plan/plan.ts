/** From what is there to what manifests want: what becomes of each thing, and the steps in order. Pure. */
import type { Chassis, Mount } from '../../../manager/control/api.js';
import type { Desired, DesiredChassis, DesiredMount } from './desired.js';
import {
  cardArrival,
  cardDeparture,
  cardVerdict,
  diskArrival,
  diskDeparture,
  diskVerdict,
  held,
  inMemory,
  type Verdict,
} from './device-plans.js';
import { mountDifferences, policyChange } from './differences.js';
import { frameAdded, frameOf, frameSaid, frameVerdict } from './frame.js';
import { attachSteps, detachSteps, type ArrivingMount, type LeavingMount } from './mount-steps.js';
import {
  isInItsPlace,
  mountsOf,
  namesOf,
  Obstacles,
  type Contents,
  type Owned,
  type Things,
} from './obstacles.js';
import type { Step } from './operations.js';
import type { ApplyPlan, Kind, PlanItem } from './plan-item.js';

export interface PlanOptions {
  /** Removes what an earlier apply of the manifest made and it does not want any more. */
  readonly prune: boolean;
  /** Also takes away what guests use. */
  readonly force: boolean;
  /** Mounts that are left as they are, wanted or not: `chassis/tag`. */
  readonly aside?: ReadonlySet<string>;
}

export function planApply(desired: Desired, actual: readonly Chassis[], options: PlanOptions): ApplyPlan {
  const planner = new Planner(desired.manifest, options);
  for (const wanted of desired.chassis)
    planner.chassis(
      wanted,
      actual.find(({ name }) => name === wanted.name),
    );
  const wantedNames = new Set(desired.chassis.map(({ name }) => name));
  for (const there of actual) if (!wantedNames.has(there.name)) planner.unwanted(there);
  return planner.plan();
}

/** What a thing is before its fate is known. */
type Subject = Pick<PlanItem, 'kind' | 'chassis' | 'name' | 'at'>;

class Planner {
  private readonly manifest: string;
  private readonly options: PlanOptions;
  private readonly obstacles: Obstacles;
  private readonly items: PlanItem[] = [];
  /** In their order: names, slots and addresses are free again before somebody else has them. */
  private readonly phases = {
    create: [] as Step[],
    remove: [] as Step[],
    change: [] as Step[],
    add: [] as Step[],
    delete: [] as Step[],
  };

  constructor(manifest: string, options: PlanOptions) {
    this.manifest = manifest;
    this.options = options;
    this.obstacles = new Obstacles(manifest, options);
  }

  plan(): ApplyPlan {
    const { create, remove, change, add, delete: last } = this.phases;
    return {
      manifest: this.manifest,
      items: this.items,
      steps: [...create, ...remove, ...change, ...placedFirst(add), ...last],
    };
  }

  chassis(wanted: DesiredChassis, there: Chassis | undefined): void {
    const { name: chassis, at } = wanted;
    const subject: Subject = { kind: 'chassis', chassis, name: chassis, at };
    if (!there) {
      this.note(subject, 'add', { differences: frameAdded(wanted) });
      this.phases.create.push({
        operation: { do: 'create', chassis, managedBy: this.manifest, ...frameSaid(wanted) },
        undo: [{ do: 'delete', chassis }],
        at,
      });
    } else {
      const verdict = frameVerdict(wanted, there);
      this.note(subject, verdict.blocked ? 'change' : 'keep', verdict);
    }
    this.contents(wanted, there ?? EMPTY);
  }

  /** A chassis that the manifest does not name: something in it, or it itself, may be the manifest's. */
  unwanted(there: Chassis): void {
    const { name: chassis } = there;
    const isMine = there.managedBy === this.manifest;
    this.contents({ name: chassis, at: NOWHERE, mounts: [], disks: [], cards: [] }, there);
    if (!isMine) return;
    const subject: Subject = { kind: 'chassis', chassis, name: chassis };
    if (!this.options.prune) return this.note(subject, 'keep', { notes: [UNWANTED] });
    const others = [...mountsOf(there), ...there.disks, ...there.cards].filter(
      ({ managedBy }) => managedBy !== this.manifest,
    );
    if (others.length > 0) {
      const names = others.map((other) => nameOf(other)).join(', ');
      return this.note(subject, 'keep', { notes: [`it stays: others have something in it (${names})`] });
    }
    this.note(subject, 'remove');
    const { managedBy } = there;
    this.phases.delete.push({
      operation: { do: 'delete', chassis },
      undo: [{ do: 'create', chassis, ...frameOf(there), ...(managedBy !== undefined && { managedBy }) }],
    });
  }

  private contents(wanted: DesiredChassis, things: Things): void {
    const { mounts, disks, cards } = things;
    const there = { mounts, disks, cards, names: namesOf(things) };
    this.mounts(wanted, there);
    this.disks(wanted, there);
    this.cards(wanted, there);
  }

  private mounts(wanted: DesiredChassis, there: Contents): void {
    const { name: chassis } = wanted;
    const leaving: LeavingMount[] = [];
    const arriving: ArrivingMount[] = [];
    const known = new Map(mountsOf(there).map((mount) => [mount.tag, mount]));
    const isAside = (tag: string): boolean => this.options.aside?.has(`${chassis}/${tag}`) ?? false;
    for (const mount of wanted.mounts) {
      const current = known.get(mount.name);
      if (isAside(mount.name)) continue;
      const subject: Subject = { kind: 'mount', chassis, name: mount.name, at: mount.at };
      if (!current) {
        this.arrival(subject, mount.terms, [wanted, there], this.obstacles.joining(mount, wanted, there));
        arriving.push({ mount });
      } else if (
        this.isToReplace(subject, current, mount, this.obstacles.moving(current, mount, wanted, there))
      ) {
        const left = { mount: current, isReplaced: isInItsPlace(current, mount), at: mount.at };
        leaving.push(left);
        arriving.push({ mount, replaces: left });
      }
    }
    const names = new Set(wanted.mounts.map(({ name }) => name));
    for (const mount of known.values()) {
      if (names.has(mount.tag) || isAside(mount.tag)) continue;
      const subject: Subject = { kind: 'mount', chassis, name: mount.tag };
      if (this.isToRemove(subject, mount, this.obstacles.held(mount)))
        leaving.push({ mount, isReplaced: false });
    }
    const { mounts } = there;
    this.phases.remove.push(...detachSteps(chassis, mounts, leaving, this.options.force));
    this.phases.add.push(...attachSteps(chassis, mounts, arriving, this.manifest));
  }

  /** Notes what becomes of a mount that is there, and changes in place what can be. True where another has to come in its place. */
  private isToReplace(
    subject: Subject,
    there: Mount,
    wanted: DesiredMount,
    move: Pick<PlanItem, 'blocked'>,
  ): boolean {
    const { place, shown } = mountDifferences(there, wanted);
    const policy = policyChange(there, wanted);
    const differences = [...place, ...shown, ...(policy?.differences ?? [])];
    const notes = there.revoked ? ['its guest is refused everything: it was revoked'] : [];
    const foreign = differences.length > 0 ? this.obstacles.foreign(there) : {};
    if (place.length + shown.length > 0) {
      const lost =
        there.source?.type === 'memory' || there.overlay?.type === 'memory'
          ? ['what is in memory is lost']
          : [];
      this.note(subject, 'replace', {
        differences,
        notes: [...notes, ...lost],
        ...this.obstacles.held(there),
        ...move,
        ...foreign,
      });
      return true;
    }
    this.note(subject, policy ? 'change' : 'keep', { differences, notes, ...foreign });
    if (policy) {
      const { chassis, name: tag } = subject;
      this.phases.change.push({
        operation: { do: 'set-policy', chassis, tag, change: policy.change },
        undo: [{ do: 'set-policy', chassis, tag, change: policy.back }],
        at: wanted.at,
      });
    }
    return false;
  }

  private disks(wanted: DesiredChassis, there: Contents): void {
    const { force } = this.options;
    for (const disk of wanted.disks) {
      const subject: Subject = { kind: 'disk', chassis: wanted.name, name: disk.name, at: disk.at };
      const current = there.disks.find(({ name }) => name === disk.name);
      if (!current) this.arrival(subject, disk.options, [wanted, there]);
      const action = current ? this.settle(subject, current, diskVerdict(current, disk, force)) : 'add';
      if (current && action === 'replace') this.phases.remove.push(diskDeparture(current, force));
      if (action === 'add' || action === 'replace')
        this.phases.add.push(...diskArrival(wanted.name, disk, this.manifest));
    }
    for (const disk of unwantedOf(there.disks, wanted.disks)) {
      const subject: Subject = { kind: 'disk', chassis: wanted.name, name: disk.name };
      const notes = inMemory(disk) ? ['what was written to it is lost'] : [];
      if (this.isToRemove(subject, disk, { ...held(disk, force), notes }))
        this.phases.remove.push(diskDeparture(disk, force));
    }
  }

  private cards(wanted: DesiredChassis, there: Contents): void {
    for (const card of wanted.cards) {
      const subject: Subject = { kind: 'card', chassis: wanted.name, name: card.name, at: card.at };
      const current = there.cards.find(({ name }) => name === card.name);
      if (!current) this.arrival(subject, card.options, [wanted, there]);
      const action = current ? this.settle(subject, current, cardVerdict(current, card)) : 'add';
      if (current && action === 'replace') this.phases.remove.push(cardDeparture(current));
      if (action === 'add' || action === 'replace')
        this.phases.add.push(cardArrival(wanted.name, card, this.manifest));
    }
    for (const card of unwantedOf(there.cards, wanted.cards)) {
      if (this.isToRemove({ kind: 'card', chassis: wanted.name, name: card.name }, card, {}))
        this.phases.remove.push(cardDeparture(card));
    }
  }

  /** Something new: unless what stays there has its name. */
  private arrival(
    subject: Subject,
    terms: object,
    [wanted, there]: readonly [DesiredChassis, Contents],
    how: Pick<PlanItem, 'blocked'> = {},
  ): void {
    const { kind, name, chassis } = subject;
    const holder = there.names.get(name);
    const isTaken = holder && holder.kind !== kind && this.obstacles.keepsName(name, holder, wanted, there);
    this.note(subject, 'add', {
      differences: Object.entries(terms).map(([what, to]) => ({ what, to: to as unknown })),
      ...(isTaken && {
        blocked: {
          reason: `${chassis} has a ${KIND_NAMES[holder.kind]} called ${name}`,
          suggestion: 'choose another name, or remove that first',
        },
      }),
      ...how,
    });
  }

  private settle(subject: Subject, there: Owned, verdict: Verdict): PlanItem['action'] {
    const { action, differences, notes, blocked, inPlace } = verdict;
    const foreign = action === 'keep' ? {} : this.obstacles.foreign(there);
    this.note(subject, action, { differences, notes, ...(blocked && { blocked }), ...foreign });
    this.phases.change.push(...inPlace);
    return action;
  }

  /** True where it is the manifest's, not wanted any more, and to be removed. */
  private isToRemove(
    subject: Subject,
    there: Owned,
    how: Pick<PlanItem, 'blocked'> & { notes?: readonly string[] },
  ): boolean {
    if (there.managedBy !== this.manifest) return false;
    if (this.options.prune) this.note(subject, 'remove', how);
    else this.note(subject, 'keep', { notes: [UNWANTED] });
    return this.options.prune;
  }

  private note(
    subject: Subject,
    action: PlanItem['action'],
    more: Partial<Pick<PlanItem, 'differences' | 'notes' | 'blocked'>> = {},
  ): void {
    this.items.push({ action, ...subject, differences: [], notes: [], ...more });
  }
}

const EMPTY: Things = { mounts: [], disks: [], cards: [] };
const NOWHERE = { file: '', line: 1, column: 1 };
const UNWANTED = 'no longer in the manifest: --prune removes it';
const KIND_NAMES: Record<Kind, string> = {
  chassis: 'chassis',
  mount: 'mount',
  disk: 'disk',
  card: 'network card',
};

/** Who may be anywhere must not take the place of who may not. What is done to what was added comes after that. */
function placedFirst(steps: readonly Step[]): Step[] {
  const rank = ({ operation }: Step): number =>
    !('request' in operation)
      ? 3
      : 'function' in operation.request
        ? 0
        : operation.request.slot === undefined
          ? 2
          : 1;
  return [...steps].sort((a, b) => rank(a) - rank(b));
}

function nameOf(thing: { readonly tag: string } | { readonly name: string }): string {
  return 'tag' in thing ? thing.tag : thing.name;
}

function unwantedOf<T extends { readonly name: string }>(
  there: readonly T[],
  wanted: readonly { readonly name: string }[],
): T[] {
  const names = new Set(wanted.map(({ name }) => name));
  return there.filter(({ name }) => !names.has(name));
}
