/** A daemon that is only a table: what an apply asks of one, with the rules that an apply has to know. */
import {
  DISK_QUEUES_DEFAULT,
  ChassisError,
  type Card,
  type Chassis,
  type Detached,
  type DetachQuery,
  type Disk,
  type ErrorCode,
  type Mount,
  type MountRequest,
} from '../../../manager/control/api.js';
import type {
  AddCardOptions,
  AddDiskOptions,
  AttachOptions,
  ChassisClient,
} from '../../../manager/control/client.js';
import type { ApplyClient } from '../../../cli/apply/execute.js';

type Method<K extends keyof ApplyClient> = ChassisClient[K];

export class FakeDaemon implements ApplyClient {
  readonly chassis = new Map<string, Chassis>();
  /** What it was asked to change: `attach dev src`. */
  readonly calls: string[] = [];
  /** VMs have what is attached from now on. */
  isBooted = false;
  /** The change with this number, from 0, is refused; and so are all later ones once the daemon is gone. */
  failAt: number | undefined;
  failWith: ErrorCode = 'VMM_REFUSED';

  list: Method<'list'> = async () =>
    structuredClone([...this.chassis.values()].sort((a, b) => (a.name < b.name ? -1 : 1)));

  get: Method<'get'> = async (name) => structuredClone(this.find(name));

  create: Method<'create'> = async (name, { slots = 8, vmm, apiSocket, managedBy } = {}) => {
    this.called(`create ${name}`);
    if (this.chassis.has(name)) throw new ChassisError('CHASSIS_EXISTS', name);
    const made: Chassis = {
      ...{ name, slots, slotsFree: slots, deviceProcess: { state: 'running', restarts: 0 }, qmpSocket: '' },
      ...{ mounts: [], kept: [], disks: [], cards: [] },
      ...(managedBy !== undefined && { managedBy }),
      ...(vmm === 'cloud-hypervisor' && { apiSocket: apiSocket ?? '/state/api.sock' }),
    };
    this.chassis.set(name, made);
    return made;
  };

  delete: Method<'delete'> = async (name) => {
    this.called(`delete ${name}`);
    const { mounts, disks, cards } = this.find(name);
    if (mounts.length + disks.length + cards.length > 0) throw new ChassisError('CHASSIS_IN_USE', name);
    this.chassis.delete(name);
    return { kept: [] };
  };

  attach: Method<'attach'> = async (name, options) => {
    this.called(`attach ${name} ${options.mounts.map(({ tag }) => tag).join(' ')}`);
    const chassis = this.find(name);
    const kept = chassis.mounts.filter(
      ({ tag, source }) => !source && options.mounts.some((mount) => mount.tag === tag),
    );
    if (kept.length > 0) return this.reuse(kept[0], options);
    for (const { tag } of options.mounts) this.checkName(chassis, tag);
    const via = this.viaOf(chassis, options);
    if (via === 'function') return this.attachFunctions(chassis, options);
    const carrier = this.carrier(chassis, via);
    const mounts = options.mounts.map((request) => ({ ...this.mount(name, request), via, ...carrier }));
    chassis.mounts.push(...mounts);
    return mounts;
  };

  detach: Method<'detach'> = async (name, tag, query = {}): Promise<Detached> => {
    this.called(`detach ${name} ${tag}${query.keepFunction ? ' (kept)' : ''}${query.slot ? ' (slot)' : ''}`);
    const chassis = this.find(name);
    const mount = chassis.mounts.find((each) => each.tag === tag);
    if (!mount) throw new ChassisError('NO_MOUNT', tag);
    if ((mount.counters?.fids ?? 0) > 0 && !query.force) throw new ChassisError('MOUNT_BUSY', tag);
    if (query.keepFunction) return this.keep(mount);
    const leaving = this.leaving(chassis, mount, query);
    chassis.mounts = chassis.mounts.filter((each) => !leaving.includes(each));
    return { tags: leaving.map((each) => each.tag) };
  };

  changePolicy: Method<'changePolicy'> = async (name, tag, { set = {}, unset = [] }) => {
    this.called(`policy ${name} ${tag}`);
    const mount = this.find(name).mounts.find((each) => each.tag === tag);
    if (!mount) throw new ChassisError('NO_MOUNT', tag);
    const merged: Record<string, unknown> = { readOnly: mount.readOnly, ...mount.policy };
    for (const setting of unset) delete merged[setting];
    const { readOnly = false, ...policy } = { ...merged, ...set } as { readOnly?: boolean };
    mount.readOnly = readOnly;
    delete mount.policy;
    if (Object.keys(policy).length > 0) mount.policy = policy;
    return { readOnly, revoked: false, policy };
  };

  addDisk: Method<'addDisk'> = async (name, options) => {
    this.called(`add disk ${name} ${options.name}`);
    const chassis = this.find(name);
    this.checkName(chassis, options.name);
    const disk = this.disk(chassis, options);
    chassis.disks.push(disk);
    return disk;
  };

  resizeDisk: Method<'resizeDisk'> = async (name, disk, { sizeBytes, shrink }) => {
    this.called(`resize ${name} ${disk}`);
    const there = this.find(name).disks.find((each) => each.name === disk);
    if (!there) throw new ChassisError('NO_DISK', disk);
    if (sizeBytes < (there.sizeBytes ?? 0) && !shrink) throw new ChassisError('SIZE_INVALID', disk);
    there.sizeBytes = sizeBytes;
    if (there.source.type === 'memory') there.source = { ...there.source, sizeBytes };
    return there;
  };

  removeDisk: Method<'removeDisk'> = async (name, disk) => {
    this.called(`remove disk ${name} ${disk}`);
    const chassis = this.find(name);
    chassis.disks = chassis.disks.filter((each) => each.name !== disk);
  };

  addCard: Method<'addCard'> = async (name, options) => {
    this.called(`add card ${name} ${options.name}`);
    const chassis = this.find(name);
    this.checkName(chassis, options.name);
    const card = this.card(chassis, options);
    if (chassis.cards.some(({ mac }) => mac === card.mac)) throw new ChassisError('MAC_IN_USE', card.mac);
    chassis.cards.push(card);
    return card;
  };

  setLink: Method<'setLink'> = async (name, card, up) => {
    this.called(`link ${name} ${card} ${up ? 'up' : 'down'}`);
    const there = this.find(name).cards.find((each) => each.name === card);
    if (!there) throw new ChassisError('NO_CARD', card);
    there.up = up;
    return there;
  };

  removeCard: Method<'removeCard'> = async (name, card) => {
    this.called(`remove card ${name} ${card}`);
    const chassis = this.find(name);
    chassis.cards = chassis.cards.filter((each) => each.name !== card);
  };

  private called(call: string): void {
    const isRefused =
      this.calls.length === this.failAt || (this.isGone() && this.calls.length > (this.failAt ?? 0));
    this.calls.push(call);
    if (isRefused) throw new ChassisError(this.failWith, `refused: ${call}`, 'try again');
  }

  private isGone(): boolean {
    return this.failAt !== undefined && this.failWith === 'NO_DAEMON';
  }

  private find(name: string): Chassis {
    const chassis = this.chassis.get(name);
    if (!chassis) throw new ChassisError('NO_CHASSIS', name);
    return chassis;
  }

  private checkName({ mounts, disks, cards }: Chassis, name: string): void {
    const names = [...mounts.map(({ tag }) => tag), ...[...disks, ...cards].map((each) => each.name)];
    if (names.includes(name)) throw new ChassisError('TAG_IN_USE', name);
  }

  private freeSlot({ slots, mounts, disks, cards }: Chassis): number {
    const taken = new Set([...mounts, ...disks, ...cards].map(({ slot }) => slot));
    const free = Array.from({ length: slots }, (_, i) => i + 1).find((slot) => !taken.has(slot));
    if (free === undefined) throw new ChassisError('NO_SLOT_FREE', 'no slot is free');
    return free;
  }

  private viaOf(chassis: Chassis, { via = 'auto', mounts, slot }: AttachOptions): Mount['via'] {
    if (via !== 'auto') return via;
    if (mounts.some(({ target, watch }) => target !== undefined || watch)) return 'tree';
    const { slots, mounts: there, disks, cards } = chassis;
    const taken = new Set([...there, ...disks, ...cards].map((each) => each.slot)).size;
    return slot !== undefined || slots - taken > 1 ? 'function' : 'tree';
  }

  private mount(chassis: string, request: MountRequest | AttachOptions['mounts'][number]): Mount {
    const { overlay, readOnly = false, ...rest } = request;
    const upper = overlay?.type === 'kept' ? { ...overlay, path: `/kept/${request.tag}` } : overlay;
    return structuredClone({
      ...{ chassis, ...rest, readOnly, permanent: false, via: 'function', slot: 0, function: 0 },
      ...{ state: this.isBooted ? 'plugged' : 'parked', ...(upper && { overlay: upper }) },
    });
  }

  private attachFunctions(
    chassis: Chassis,
    { mounts, slot, function: fn, permanent = false }: AttachOptions,
  ): Mount[] {
    const at = slot ?? this.freeSlot(chassis);
    if (at > chassis.slots) throw new ChassisError('SLOT_UNKNOWN', String(at));
    const taken = new Set(chassis.mounts.filter((each) => each.slot === at).map((each) => each.function));
    if (taken.size > 0 && this.isBooted) throw new ChassisError('SLOT_TAKEN', `slot ${at}`);
    const isFree = (first: number): boolean => mounts.every((_, i) => !taken.has(first + i));
    const first = fn ?? Array.from({ length: 8 }, (_, i) => i).find(isFree);
    if (first === undefined || !isFree(first)) throw new ChassisError('SLOT_TAKEN', `slot ${at}`);
    const added = mounts.map((request, i) => ({
      ...this.mount(chassis.name, request),
      ...{ slot: at, function: first + i, permanent },
    }));
    chassis.mounts.push(...added);
    return added;
  }

  private carrier(chassis: Chassis, via: 'tree' | 'queue'): { slot: number; function: number } {
    const tag = via === 'tree' ? 'chassis' : 'chassis-queues';
    const there = chassis.mounts.find((each) => each.tag === tag);
    if (there) return { slot: there.slot, function: 0 };
    const carrier = {
      ...this.mount(chassis.name, { tag, source: { type: 'memory' } }),
      slot: this.freeSlot(chassis),
    };
    chassis.mounts.push({ ...carrier, source: { type: via === 'tree' ? 'tree' : 'queues' } });
    return { slot: carrier.slot, function: 0 };
  }

  private reuse(kept: Mount, { mounts }: AttachOptions): Mount[] {
    if (mounts.length > 1) throw new ChassisError('TAG_IN_USE', kept.tag);
    Object.assign(kept, { ...this.mount(kept.chassis, mounts[0]), slot: kept.slot, function: kept.function });
    return [kept];
  }

  private keep(mount: Mount): Detached {
    if (mount.state !== 'plugged' || mount.via !== 'function')
      throw new ChassisError('BAD_REQUEST', mount.tag);
    for (const key of ['source', 'policy', 'owner', 'overlay', 'managedBy'] as const) delete mount[key];
    return { tags: [mount.tag] };
  }

  private leaving(chassis: Chassis, mount: Mount, query: Partial<DetachQuery>): Mount[] {
    if (mount.via !== 'function') return [mount];
    const isCarrier = mount.source?.type === 'tree' || mount.source?.type === 'queues';
    const carried = mount.source?.type === 'tree' ? 'tree' : 'queue';
    if (isCarrier && chassis.mounts.some(({ via }) => via === carried))
      throw new ChassisError('SLOT_SHARED', mount.tag);
    const slotmates = chassis.mounts.filter(({ via, slot }) => via === 'function' && slot === mount.slot);
    if (mount.state !== 'plugged') return query.slot ? slotmates : [mount];
    const others = slotmates.filter((each) => each !== mount && each.source !== undefined);
    if (others.length > 0 && !query.slot) throw new ChassisError('SLOT_SHARED', mount.tag);
    return slotmates;
  }

  private disk(chassis: Chassis, options: AddDiskOptions): Disk {
    const {
      name,
      source,
      readOnly = false,
      overlay = false,
      overlayDirectory,
      serial = name,
      queues = DISK_QUEUES_DEFAULT,
      permanent = false,
      managedBy,
    } = options;
    return structuredClone({
      ...{ chassis: chassis.name, name, source, readOnly, overlay, serial, queues, permanent, function: 0 },
      ...{ slot: options.slot ?? this.freeSlot(chassis), state: this.isBooted ? 'plugged' : 'parked' },
      sizeBytes: source.type === 'memory' ? source.sizeBytes : 4096,
      ...(overlayDirectory !== undefined && { overlayDirectory }),
      ...(managedBy !== undefined && { managedBy }),
    });
  }

  private card(chassis: Chassis, options: AddCardOptions): Card {
    const { name, network, mac = macOf(name), mtu, queuePairs = 1, up = true } = options;
    const { permanent = false, managedBy } = options;
    return structuredClone({
      ...{ chassis: chassis.name, name, network, mac, queuePairs, up, permanent, function: 0 },
      ...{ slot: options.slot ?? this.freeSlot(chassis), state: this.isBooted ? 'plugged' : 'parked' },
      ...(mtu !== undefined && { mtu }),
      ...(managedBy !== undefined && { managedBy }),
    });
  }
}

function macOf(name: string): string {
  return `02:00:00:00:00:${name.charCodeAt(0).toString(16)}`;
}
