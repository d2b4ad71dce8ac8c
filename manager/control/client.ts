/** A typed client of the daemon's API: JSON over HTTP on its unix socket. */
import { request, type IncomingMessage } from 'node:http';
import {
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
  type Event,
  type EventsQuery,
  type ExecInput,
  type ExecPage,
  type ExecRequest,
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
  type RestoreRequest,
  type ReviewPage,
  type ReviewRequest,
  type Saved,
  type SaveRequest,
  type Signal,
  type TopologyNode,
  type Upgraded,
} from './api.js';
import { ROUTES, type AnswerOf, type Operation, type Parameters, type Route } from './routes.js';
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
    return this.call('health', {});
  }

  list(): Promise<Chassis[]> {
    return this.call('listChassis', {});
  }

  create(name: string, options: Omit<CreateChassisRequest, 'name'> = {}): Promise<Chassis> {
    return this.call('createChassis', {}, { name, ...options });
  }

  get(name: string): Promise<Chassis> {
    return this.call('getChassis', { name });
  }

  /** Answers the changes of guests that are kept. */
  delete(name: string, options: Partial<DeleteChassisQuery> = {}): Promise<Deleted> {
    return this.call('deleteChassis', { name }, options);
  }

  /** Resolves once the VM has the mounts, or at once, parked, where no VM is connected. */
  attach(name: string, options: AttachOptions): Promise<Mount[]> {
    return this.call('attach', { name }, options);
  }

  /** Resolves once the VM let go; answers the tags that went, more than one where `slot` was given. */
  detach(name: string, tag: string, options: Partial<DetachQuery> = {}): Promise<Detached> {
    return this.call('detach', { name, tag }, options);
  }

  policy(name: string, tag: string): Promise<PolicyView> {
    return this.call('getPolicy', { name, tag });
  }

  /** Resolves once the guest's next operation passes under the new one. */
  changePolicy(name: string, tag: string, change: Partial<PolicyChange>): Promise<PolicyView> {
    return this.call('changePolicy', { name, tag }, change);
  }

  /** Takes a mount from its guest for good. */
  revoke(name: string, tag: string): Promise<PolicyView> {
    return this.call('revoke', { name, tag });
  }

  /** What was refused of late; with `waitMs`, what is next. */
  audit(name: string, tag: string, options: Partial<AuditQuery> = {}): Promise<AuditPage> {
    return this.call('audit', { name, tag }, options);
  }

  /** Reviews what a guest changed in an overlay, page by page. Whoever stops asking stops it; what was done by then stays done. */
  async *review(name: string, tag: string, request: Partial<ReviewRequest>): AsyncGenerator<ReviewPage> {
    yield* this.lines('review', { name, tag }, request, ({ done }) => done);
  }

  /**
   * Runs a command in the guest: first its number, then what it prints, and its exit code with the last. Whoever stops asking ends it.
   */
  async *exec(
    name: string,
    request: Partial<ExecRequest> & Pick<ExecRequest, 'command'>,
  ): AsyncGenerator<ExecPage> {
    yield* this.lines('exec', { name }, request, ({ exitCode }) => exitCode !== undefined);
  }

  /** Resolves once there was room for it. */
  async execInput(name: string, command: number, input: Partial<ExecInput>): Promise<void> {
    await this.call('execInput', { name, command: String(command) }, input);
  }

  /** To all processes of the command. */
  async execSignal(name: string, command: number, signal: Signal): Promise<void> {
    await this.call('execSignal', { name, command: String(command) }, { signal });
  }

  /**
   * What happens, from now on or from what `since` names: begun once this resolves, so that what is listed after it lacks nothing that is not
   * told. Whoever stops asking, or aborts, hears no more; it throws NO_DAEMON where the daemon ends. `since` the last event's id goes on then.
   */
  async events(query: EventsQuery = {}, signal?: AbortSignal): Promise<AsyncGenerator<Event>> {
    const answer = await this.begun(await this.send('events', {}, query));
    const stop = () => answer.destroy();
    signal?.addEventListener('abort', stop);
    answer.once('close', () => signal?.removeEventListener('abort', stop));
    if (signal?.aborted) stop();
    return this.told(answer, signal);
  }

  private async *told(answer: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<Event> {
    try {
      for await (const line of linesOf(answer)) {
        if (line.startsWith(EVENT_DATA)) yield parse(line.slice(EVENT_DATA.length)) as Event;
      }
    } finally {
      answer.destroy();
    }
    if (!signal?.aborted) throw wentAway();
  }

  /** The mounts of one chassis, or of all. */
  mounts(name?: string): Promise<Mount[]> {
    return name === undefined ? this.call('listMounts', {}) : this.call('listMountsOfChassis', { name });
  }

  /** Resolves once the VM has the disk, or at once, parked, where no VM is connected. */
  addDisk(name: string, options: AddDiskOptions): Promise<Disk> {
    return this.call('addDisk', { name }, options);
  }

  /** Resolves once the guest is told. */
  resizeDisk(
    name: string,
    disk: string,
    options: Partial<ResizeDiskRequest> & Pick<ResizeDiskRequest, 'sizeBytes'>,
  ): Promise<Disk> {
    return this.call('resizeDisk', { name, disk }, options);
  }

  /** Resolves once the VM let go. */
  async removeDisk(name: string, disk: string, options: Partial<RemoveDiskQuery> = {}): Promise<void> {
    await this.call('removeDisk', { name, disk }, options);
  }

  /** The disks of one chassis, or of all. */
  disks(name?: string): Promise<Disk[]> {
    return name === undefined ? this.call('listDisks', {}) : this.call('listDisksOfChassis', { name });
  }

  /** Resolves once the VM has the card, or at once, parked, where no VM is connected. */
  addCard(name: string, options: AddCardOptions): Promise<Card> {
    return this.call('addCard', { name }, options);
  }

  /** Pulls a card's cable, or plugs it in again. */
  setLink(name: string, card: string, up: boolean): Promise<Card> {
    return this.call('setLink', { name, card }, { up });
  }

  /** Resolves once the capture has ended; it ends with this program, too. */
  capture(
    name: string,
    card: string,
    options: Partial<CaptureRequest> & Pick<CaptureRequest, 'path'>,
  ): Promise<Captured> {
    return this.call('capture', { name, card }, options);
  }

  /** Ends the capture that is under way, if there is one. */
  async endCapture(name: string, card: string): Promise<void> {
    await this.call('endCapture', { name, card });
  }

  /** Resolves once the VM let go. */
  async removeCard(name: string, card: string, options: Partial<RemoveCardQuery> = {}): Promise<void> {
    await this.call('removeCard', { name, card }, options);
  }

  /** The network cards of one chassis, or of all. */
  cards(name?: string): Promise<Card[]> {
    return name === undefined ? this.call('listCards', {}) : this.call('listCardsOfChassis', { name });
  }

  /** What a guest is to be given, so that it mounts what is wanted by itself. */
  guestSetup(
    format: GuestSetupQuery['format'],
    options: Partial<Pick<GuestSetupQuery, 'exec'>> = {},
  ): Promise<GuestSetup> {
    return this.call('guestSetup', {}, { format, ...options });
  }

  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: Partial<PlanRequest> & Pick<PlanRequest, 'mounts'>): Promise<Plan> {
    return this.call('plan', {}, request);
  }

  /** The hierarchy, with what sits where. */
  tree(name: string): Promise<TopologyNode> {
    return this.call('tree', { name });
  }

  /** Starts a lost device process over. */
  restart(name: string): Promise<Chassis> {
    return this.call('restart', { name });
  }

  /** Replaces a running device process by a new one of the installed version. */
  upgrade(name: string): Promise<Upgraded> {
    return this.call('upgrade', { name });
  }

  /** Writes a chassis whose VM is paused, or off, to a file of the daemon's user. */
  save(name: string, request: Partial<SaveRequest> & Pick<SaveRequest, 'path'>): Promise<Saved> {
    return this.call('save', { name }, request);
  }

  /** Makes a chassis of such a file. */
  restoreSaved(request: RestoreRequest): Promise<Chassis> {
    return this.call('restore', {}, request);
  }

  qemuArgs(name: string, options: Partial<QemuArgsRequest> = {}): Promise<QemuArgs> {
    return this.call('qemuArgs', { name }, options);
  }

  /** Asks the daemon to stop; it answers before it does. */
  async shutdown(): Promise<void> {
    await this.call('shutdown', {});
  }

  /** What crossed all devices, in Prometheus's text format. */
  async metrics(): Promise<string> {
    const answer = await this.send('metrics', {});
    const text = await textOf(answer);
    const status = answer.statusCode ?? 500;
    if (status >= 400) throw refusal(status, parse(text));
    return text;
  }

  /** Describes the API of this daemon: an OpenAPI 3.1 document. */
  openapi(): Promise<AnswerOf<'openapi'>> {
    return this.call('openapi', {});
  }

  /** The answer's lines, up to the last. */
  private async *lines<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input: object,
    isLast: (line: AnswerOf<K>) => boolean,
  ): AsyncGenerator<AnswerOf<K>> {
    const answer = await this.begun(await this.send(operation, parameters, input));
    try {
      for await (const text of linesOf(answer)) {
        const line = parse(text) as object;
        if ('error' in line) throw refusal(500, line.error);
        yield line as AnswerOf<K>;
        if (isLast(line)) return;
      }
    } finally {
      answer.destroy();
    }
    throw wentAway();
  }

  /** `input` is its body, or where it takes none, its query. */
  private async call<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input?: object,
  ): Promise<AnswerOf<K>> {
    const answer = await this.send(operation, parameters, input);
    const status = answer.statusCode ?? 500;
    const value = parse(await textOf(answer));
    if (status >= 400) throw refusal(status, value);
    return value as AnswerOf<K>;
  }

  /** An answer that comes piece by piece, unless it is a refusal. */
  private async begun(answer: IncomingMessage): Promise<IncomingMessage> {
    const status = answer.statusCode ?? 500;
    if (status >= 400) throw refusal(status, parse(await textOf(answer)));
    return answer;
  }

  private send<K extends Operation>(
    operation: K,
    parameters: Parameters<K>,
    input?: object,
  ): Promise<IncomingMessage> {
    const { method, path: template, body, query }: Route = ROUTES[operation];
    const path = pathOf(template, parameters) + (query && input ? queryText(input) : '');
    const payload = body && JSON.stringify(input ?? {});
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

/** What an event's line of JSON begins with: https://html.spec.whatwg.org/multipage/server-sent-events.html */
const EVENT_DATA = 'data: ';

/** Whole lines, until the connection ends, however it does. */
async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const piece of answer.setEncoding('utf8')) {
      const lines = `${rest}${piece as string}`.split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch {
    // The daemon was killed, or it was we who ended it: what was whole by then has been told.
  }
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

function pathOf(template: string, parameters: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(parameters[name]));
}

function queryText(options: object): string {
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
