/** A service for the control server that has nothing behind it. */
import type {
  Captured,
  Card,
  Chassis,
  Disk,
  Event,
  Mount,
  Plan,
  PolicyView,
  ExecPage,
  ReviewPage,
  TopologyNode,
  Saved,
  Upgraded,
} from '../../../manager/control/api.js';
import type { ChassisService } from '../../../manager/control/service.js';

export const MOUNT: Mount = {
  chassis: 'dev',
  tag: 'a/b ü',
  source: { type: 'memory' },
  readOnly: false,
  permanent: false,
  via: 'function',
  slot: 1,
  function: 0,
  state: 'parked',
  mountCommand: 'mount',
};
export const DISK: Disk = {
  ...{ chassis: 'dev', name: 'root', source: { type: 'memory', sizeBytes: 512 }, readOnly: false },
  ...{ overlay: false, serial: 'root', queues: 4, permanent: false, slot: 2, function: 0, state: 'parked' },
};
export const CARD: Card = {
  ...{ chassis: 'dev', name: 'lan0', network: { type: 'tap', interface: 't0' }, mac: '52:54:00:00:00:01' },
  ...{ queuePairs: 1, up: true, permanent: false, slot: 3, function: 0, state: 'parked' },
};
export const CHASSIS: Chassis = {
  name: 'dev',
  slots: 8,
  slotsFree: 7,
  deviceProcess: { state: 'running', pid: 7, restarts: 0 },
  qmpSocket: '/q',
  mounts: [MOUNT],
  kept: [],
  disks: [],
  cards: [],
};

export const PLAN: Plan = {
  vmm: 'qemu',
  via: 'function',
  mounts: 9,
  slots: 2,
  functionsPerSlot: 8,
  extensions: 0,
  extensionKind: 'switch',
  growsWhileRunning: false,
  room: 16,
  left: 7,
  oneByOne: 2,
};
export const POLICY: PolicyView = { readOnly: true, revoked: false, policy: { deny: ['**/.env'] } };
export const TREE: TopologyNode = { kind: 'root-complex', children: [] };

export const SAVED: Saved = { chassis: 'dev', path: '/f', bytes: 1 };
export const UPGRADED: Upgraded = { chassis: 'dev', formerPid: 1, pid: 2, pausedMs: 3 };

/** Notes what it is asked; answers from above. */
export class NotingService implements ChassisService {
  readonly calls: unknown[][] = [];
  failure: unknown;

  health() {
    return { version: '1.2.3', pid: 7 };
  }
  list = () => this.answer([CHASSIS], 'list');
  observe = (...args: unknown[]) => this.answer({ chassis: [CHASSIS], silent: [] }, 'observe', ...args);
  create = (...args: unknown[]) => this.answer(CHASSIS, 'create', ...args);
  get = (...args: unknown[]) => this.answer(CHASSIS, 'get', ...args);
  delete = (...args: unknown[]) => this.answer({ kept: [] }, 'delete', ...args);
  attach = (...args: unknown[]) => this.answer([MOUNT], 'attach', ...args);
  detach = (...args: unknown[]) => this.answer({ tags: ['a', 'b'] }, 'detach', ...args);
  policy = (...args: unknown[]) => this.answer(POLICY, 'policy', ...args);
  changePolicy = (...args: unknown[]) => this.answer(POLICY, 'changePolicy', ...args);
  revoke = (...args: unknown[]) => this.answer({ ...POLICY, revoked: true }, 'revoke', ...args);
  audit = (...args: unknown[]) => this.answer({ events: [], dropped: 3, next: 3 }, 'audit', ...args);
  pages: (ReviewPage | Error)[] = [];
  reviewEnded = false;
  async *review(...args: unknown[]): AsyncGenerator<ReviewPage> {
    await this.answer(undefined, 'review', ...args);
    try {
      for (const page of this.pages) {
        if (page instanceof Error) throw page;
        yield page;
      }
    } finally {
      this.reviewEnded = true;
    }
  }
  happened: Event[] = [];
  /** Ends with what happened, as a daemon that is stopped. */
  events(...args: unknown[]): AsyncGenerator<Event> {
    this.calls.push(['events', ...args]);
    if (this.failure !== undefined) throw this.failure as Error;
    return this.told();
  }
  private async *told(): AsyncGenerator<Event> {
    yield* this.happened;
  }
  mounts = (...args: unknown[]) => this.answer([MOUNT], 'mounts', ...args);
  execPages: (ExecPage | Error)[] = [];
  execEnded = false;
  async *exec(...args: unknown[]): AsyncGenerator<ExecPage> {
    await this.answer(undefined, 'exec', ...args);
    try {
      for (const page of this.execPages) {
        if (page instanceof Error) throw page;
        yield page;
      }
    } finally {
      this.execEnded = true;
    }
  }
  execInput = (...args: unknown[]) => this.answer(undefined, 'execInput', ...args);
  execSignal = (...args: unknown[]) => this.answer(undefined, 'execSignal', ...args);
  guestSetup(...args: unknown[]) {
    this.calls.push(['guestSetup', ...args]);
    return { text: 'mount' };
  }
  addDisk = (...args: unknown[]) => this.answer(DISK, 'addDisk', ...args);
  resizeDisk = (...args: unknown[]) => this.answer(DISK, 'resizeDisk', ...args);
  removeDisk = (...args: unknown[]) => this.answer(undefined, 'removeDisk', ...args);
  disks = (...args: unknown[]) => this.answer([DISK], 'disks', ...args);
  addCard = (...args: unknown[]) => this.answer(CARD, 'addCard', ...args);
  setLink = (...args: unknown[]) => this.answer(CARD, 'setLink', ...args);
  removeCard = (...args: unknown[]) => this.answer(undefined, 'removeCard', ...args);
  cards = (...args: unknown[]) => this.answer([CARD], 'cards', ...args);
  /** As a capture lasts until it is ended. */
  capture = async (...args: unknown[]) => {
    const ended = new Promise<Captured>((resolve) => (this.endOfCapture = resolve));
    await this.answer(undefined, 'capture', ...args);
    return ended;
  };
  endCapture = async (...args: unknown[]) => {
    await this.answer(undefined, 'endCapture', ...args);
    this.endOfCapture({ frames: 2, bytes: 300, reason: 'ended' });
  };
  endOfCapture: (captured: Captured) => void = () => undefined;
  plan = (...args: unknown[]) => this.answer(PLAN, 'plan', ...args);
  tree = (...args: unknown[]) => this.answer(TREE, 'tree', ...args);
  restart = (...args: unknown[]) => this.answer(CHASSIS, 'restart', ...args);
  upgrade = (...args: unknown[]) => this.answer(UPGRADED, 'upgrade', ...args);
  save = (...args: unknown[]) => this.answer(SAVED, 'save', ...args);
  restoreSaved = (...args: unknown[]) => this.answer(CHASSIS, 'restoreSaved', ...args);
  qemuArgs = (...args: unknown[]) =>
    this.answer({ vmm: 'qemu' as const, args: ['-m', '1'] }, 'qemuArgs', ...args);
  shutdown(): void {
    this.calls.push(['shutdown']);
  }

  /** The names of all that it can be asked for and notes. */
  get methods(): string[] {
    const notNoted = ['constructor', 'methods', 'health', 'answer', 'endOfCapture', 'told'];
    const own = Object.entries(this).filter(([, value]) => typeof value === 'function');
    return [...own.map(([name]) => name), ...Object.getOwnPropertyNames(NotingService.prototype)].filter(
      (name) => !notNoted.includes(name),
    );
  }

  private async answer<T>(value: T, ...call: unknown[]): Promise<T> {
    this.calls.push(call);
    if (this.failure !== undefined) throw this.failure as Error;
    return value;
  }
}
