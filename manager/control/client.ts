/** A typed client of the daemon's API: JSON over HTTP on its unix socket. */
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import {
  API_PREFIX,
  ChassisError,
  ErrorCode,
  type AddCardRequest,
  type AddDiskRequest,
  type AttachRequest,
  type Captured,
  type CaptureRequest,
  type Card,
  type AuditPage,
  type AuditQuery,
  type Chassis,
  type CreateChassisRequest,
  type Deleted,
  type DeleteChassisQuery,
  type Detached,
  type DetachQuery,
  type Disk,
  type GuestSetup,
  type GuestSetupQuery,
  type Health,
  type Mount,
  type MountRequest,
  type Plan,
  type PlanRequest,
  type PolicyChange,
  type PolicyView,
  type QemuArgs,
  type QemuArgsRequest,
  type RemoveCardQuery,
  type RemoveDiskQuery,
  type ResizeDiskRequest,
  type ReviewPage,
  type ReviewRequest,
  type TopologyNode,
  type Upgraded,
} from './api.js';
import { apiSocketPath, defaultStateDirectory } from './state-directory.js';

/** Nobody answers at the socket. */
export class DaemonNotRunningError extends ChassisError {
  constructor(socketPath: string) {
    super('NO_DAEMON', `no daemon answers at ${socketPath}`, 'start one with: chassis serve');
  }
}

/** What of a request has a default may be left out. */
export type AttachOptions = Partial<Omit<AttachRequest, 'mounts'>> & {
  mounts: (Omit<MountRequest, 'readOnly'> & Partial<Pick<MountRequest, 'readOnly'>>)[];
};

/** What of a disk has a default may be left out. */
export type AddDiskOptions = Partial<AddDiskRequest> & Pick<AddDiskRequest, 'name' | 'source'>;

/** What of a card has a default may be left out. */
export type AddCardOptions = Partial<AddCardRequest> & Pick<AddCardRequest, 'name' | 'network'>;

export interface ChassisClientOptions {
  /** The daemon's state directory; its default (`defaultStateDirectory`) when absent. */
  readonly directory?: string;
}

/** Each method rejects with ChassisError: the daemon's own, or DaemonNotRunningError where there is none. */
export class ChassisClient {
  private readonly socketPath: string;

  constructor(options: ChassisClientOptions = {}) {
    this.socketPath = apiSocketPath(options.directory ?? defaultStateDirectory());
  }

  health(): Promise<Health> {
    return this.call('GET', '/health');
  }

  list(): Promise<Chassis[]> {
    return this.call('GET', '/chassis');
  }

  create(name: string, options: Omit<CreateChassisRequest, 'name'> = {}): Promise<Chassis> {
    return this.call('POST', '/chassis', { name, ...options });
  }

  get(name: string): Promise<Chassis> {
    return this.call('GET', `/chassis/${encodeURIComponent(name)}`);
  }

  /** Answers the changes of guests that are kept. */
  delete(name: string, options: Partial<DeleteChassisQuery> = {}): Promise<Deleted> {
    return this.call('DELETE', `/chassis/${encodeURIComponent(name)}${query(options)}`);
  }

  /** Resolves once the VM has the mounts, or at once, parked, where no VM is connected. */
  attach(name: string, options: AttachOptions): Promise<Mount[]> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/attach`, options);
  }

  /** Resolves once the VM let go; answers the tags that went, more than one where `slot` was given. */
  detach(name: string, tag: string, options: Partial<DetachQuery> = {}): Promise<Detached> {
    return this.call('DELETE', mountPath(name, tag) + query(options));
  }

  policy(name: string, tag: string): Promise<PolicyView> {
    return this.call('GET', `${mountPath(name, tag)}/policy`);
  }

  /** Resolves once the guest's next operation passes under the new one. */
  changePolicy(name: string, tag: string, change: Partial<PolicyChange>): Promise<PolicyView> {
    return this.call('PATCH', `${mountPath(name, tag)}/policy`, change);
  }

  /** Takes a mount from its guest for good. */
  revoke(name: string, tag: string): Promise<PolicyView> {
    return this.call('POST', `${mountPath(name, tag)}/revoke`, {});
  }

  /** What was refused of late; with `waitMs`, what is next. */
  audit(name: string, tag: string, options: Partial<AuditQuery> = {}): Promise<AuditPage> {
    return this.call('GET', `${mountPath(name, tag)}/audit${query(options)}`);
  }

  /** Reviews what a guest changed in an overlay, page by page. Whoever stops asking stops it; what was done by then stays done. */
  async *review(name: string, tag: string, request: Partial<ReviewRequest>): AsyncGenerator<ReviewPage> {
    const path = `${API_PREFIX}${mountPath(name, tag)}/review`;
    const answer = await this.send('POST', path, request);
    const status = answer.statusCode ?? 500;
    if (status >= 400) throw refusal(status, parse(await textOf(answer)));
    try {
      for await (const line of createInterface({ input: answer })) {
        const page = parse(line) as ReviewPage | { error: unknown };
        if ('error' in page) throw refusal(500, page.error);
        yield page;
        if (page.done) return;
      }
    } finally {
      answer.destroy();
    }
    throw wentAway();
  }

  /** The mounts of one chassis, or of all. */
  mounts(name?: string): Promise<Mount[]> {
    return this.call('GET', name === undefined ? '/mounts' : `/chassis/${encodeURIComponent(name)}/mounts`);
  }

  /** Resolves once the VM has the disk, or at once, parked, where no VM is connected. */
  addDisk(name: string, options: AddDiskOptions): Promise<Disk> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/disks`, options);
  }

  /** Resolves once the guest is told. */
  resizeDisk(
    name: string,
    disk: string,
    options: Partial<ResizeDiskRequest> & Pick<ResizeDiskRequest, 'sizeBytes'>,
  ): Promise<Disk> {
    return this.call('POST', `${diskPath(name, disk)}/resize`, options);
  }

  /** Resolves once the VM let go. */
  async removeDisk(name: string, disk: string, options: Partial<RemoveDiskQuery> = {}): Promise<void> {
    await this.call('DELETE', diskPath(name, disk) + query(options));
  }

  /** The disks of one chassis, or of all. */
  disks(name?: string): Promise<Disk[]> {
    return this.call('GET', name === undefined ? '/disks' : `/chassis/${encodeURIComponent(name)}/disks`);
  }

  /** Resolves once the VM has the card, or at once, parked, where no VM is connected. */
  addCard(name: string, options: AddCardOptions): Promise<Card> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/cards`, options);
  }

  /** Pulls a card's cable, or plugs it in again. */
  setLink(name: string, card: string, up: boolean): Promise<Card> {
    return this.call('POST', `${cardPath(name, card)}/link`, { up });
  }

  /** Resolves once the capture has ended; it ends with this program, too. */
  capture(
    name: string,
    card: string,
    options: Partial<CaptureRequest> & Pick<CaptureRequest, 'path'>,
  ): Promise<Captured> {
    return this.call('POST', `${cardPath(name, card)}/capture`, options);
  }

  /** Ends the capture that is under way, if there is one. */
  async endCapture(name: string, card: string): Promise<void> {
    await this.call('DELETE', `${cardPath(name, card)}/capture`);
  }

  /** Resolves once the VM let go. */
  async removeCard(name: string, card: string, options: Partial<RemoveCardQuery> = {}): Promise<void> {
    await this.call('DELETE', cardPath(name, card) + query(options));
  }

  /** The network cards of one chassis, or of all. */
  cards(name?: string): Promise<Card[]> {
    return this.call('GET', name === undefined ? '/cards' : `/chassis/${encodeURIComponent(name)}/cards`);
  }

  /** What a guest is to be given, so that it mounts what is wanted by itself. */
  guestSetup(format: GuestSetupQuery['format']): Promise<GuestSetup> {
    return this.call('GET', `/guest-setup?format=${format}`);
  }

  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: Partial<PlanRequest> & Pick<PlanRequest, 'mounts'>): Promise<Plan> {
    return this.call('POST', '/plan', request);
  }

  /** The hierarchy, with what sits where. */
  tree(name: string): Promise<TopologyNode> {
    return this.call('GET', `/chassis/${encodeURIComponent(name)}/tree`);
  }

  /** Starts a lost device process over. */
  restart(name: string): Promise<Chassis> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/restart`, {});
  }

  /** Replaces a running device process by a new one of the installed version. */
  upgrade(name: string): Promise<Upgraded> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/upgrade`, {});
  }

  qemuArgs(name: string, options: Partial<QemuArgsRequest> = {}): Promise<QemuArgs> {
    return this.call('POST', `/chassis/${encodeURIComponent(name)}/qemu-args`, options);
  }

  /** Asks the daemon to stop; it answers before it does. */
  async shutdown(): Promise<void> {
    await this.call('POST', '/shutdown', {});
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { status, text } = await this.exchange(method, API_PREFIX + path, body);
    const value = parse(text);
    if (status >= 400) throw refusal(status, value);
    return value as T;
  }

  private async exchange(
    method: string,
    path: string,
    body: unknown,
  ): Promise<{ status: number; text: string }> {
    const answer = await this.send(method, path, body);
    return { status: answer.statusCode ?? 500, text: await textOf(answer) };
  }

  private send(method: string, path: string, body: unknown): Promise<IncomingMessage> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const headers = payload === undefined ? {} : { 'content-type': 'application/json' };
      // No agent: a connection kept alive would keep a command from ending.
      const outgoing = request({ socketPath: this.socketPath, method, path, headers, agent: false }, resolve);
      outgoing.on('error', (error: NodeJS.ErrnoException) => reject(this.connectionError(error)));
      outgoing.end(payload);
    });
  }

  private connectionError(error: NodeJS.ErrnoException): Error {
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
      return new DaemonNotRunningError(this.socketPath);
    if (error.code === 'EACCES') {
      return new ChassisError(
        'STATE_UNWRITABLE',
        `may not open ${this.socketPath}`,
        'run as the user who started the daemon',
      );
    }
    return error.code === 'ECONNRESET' ? wentAway() : error;
  }
}

/** It was killed, which leaves what was asked for done or not. */
function wentAway(): ChassisError {
  return new ChassisError(
    'NO_DAEMON',
    'the daemon went away before it was done',
    'start it again (chassis serve), and see what came of it: chassis show',
  );
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of answer) pieces.push(piece as Buffer);
  } catch {
    throw wentAway();
  }
  return Buffer.concat(pieces).toString('utf8');
}

function mountPath(chassis: string, tag: string): string {
  return `/chassis/${encodeURIComponent(chassis)}/mounts/${encodeURIComponent(tag)}`;
}

function diskPath(chassis: string, disk: string): string {
  return `/chassis/${encodeURIComponent(chassis)}/disks/${encodeURIComponent(disk)}`;
}

function cardPath(chassis: string, card: string): string {
  return `/chassis/${encodeURIComponent(chassis)}/cards/${encodeURIComponent(card)}`;
}

function query(options: Partial<DetachQuery & AuditQuery>): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined) parameters.set(key, String(value));
  }
  return parameters.size > 0 ? `?${parameters.toString()}` : '';
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw new ChassisError('INTERNAL', 'the daemon did not answer with JSON');
  }
}

function refusal(status: number, value: unknown): ChassisError {
  const { code, message, suggestion } = (value ?? {}) as Record<string, unknown>;
  const known = typeof code === 'string' && Object.hasOwn(ErrorCode, code);
  return new ChassisError(
    known ? (code as ErrorCode) : 'INTERNAL',
    typeof message === 'string' ? message : `the daemon answered with status ${status}`,
    typeof suggestion === 'string' ? suggestion : undefined,
  );
}
