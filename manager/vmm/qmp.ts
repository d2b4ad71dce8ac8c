/** A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec) over a unix socket. */
import { connect, type Socket } from 'node:net';
import { JsonLineDecoder } from '../json-lines.js';

/** QEMU answered a command with an error. */
export class QmpCommandError extends Error {
  override readonly name = 'QmpCommandError';
  /** QEMU's error class: `GenericError`, `DeviceNotFound`, `CommandNotFound`… */
  readonly errorClass: string;

  constructor(errorClass: string, description: string) {
    super(description);
    this.errorClass = errorClass;
  }
}

/** The connection ended: QEMU is gone, or what answered was not QMP. */
export class QmpClosedError extends Error {
  override readonly name = 'QmpClosedError';
}

/** QEMU did not answer in time. The command may still take effect. */
export class QmpTimeoutError extends Error {
  override readonly name = 'QmpTimeoutError';
}

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/** Far above what any command used here answers. */
const MAX_LINE_BYTES = 8 << 20;
const DEFAULT_TIMEOUT_MS = 10_000;

/** A connection in command mode. It ends once, for good: `closed` tells. */
export class QmpClient {
  readonly version: QemuVersion;
  /** Resolves with the reason once the connection has ended. */
  readonly closed: Promise<QmpClosedError>;
  private readonly channel: QmpChannel;

  private constructor(channel: QmpChannel, version: QemuVersion) {
    this.channel = channel;
    this.version = version;
    this.closed = channel.closed;
  }

  /**
   * Connects and negotiates. QEMU serves one client of a monitor at a time and greets the next only when that one leaves.
   * @throws QmpClosedError, QmpTimeoutError, or the socket's own error (ENOENT, ECONNREFUSED…)
   */
  static async connect(
    path: string,
    timeoutMs = DEFAULT_TIMEOUT_MS,
    signal?: AbortSignal,
  ): Promise<QmpClient> {
    const channel = new QmpChannel(await openSocket(path));
    const abort = () => channel.end(new QmpClosedError('aborted'));
    signal?.addEventListener('abort', abort);
    try {
      const version = await channel.greeting(timeoutMs);
      await channel.execute('qmp_capabilities', {}, timeoutMs);
      return new QmpClient(channel, version);
    } catch (error) {
      channel.end(new QmpClosedError('negotiation failed'));
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Runs a command; answers its `return` value.
   * @throws QmpCommandError, QmpTimeoutError or QmpClosedError
   */
  execute(
    command: string,
    args: Record<string, unknown> = {},
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<unknown> {
    return this.channel.execute(command, args, timeoutMs);
  }

  /** Hears events until the answered function is called. Listeners run in the order in which they were added. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.channel.listeners.add(listener);
    return () => this.channel.listeners.delete(listener);
  }

  close(): void {
    this.channel.end(new QmpClosedError('closed'));
  }
}

/** The wire: lines in, lines out, answers matched to commands by id. */
class QmpChannel {
  readonly closed: Promise<QmpClosedError>;
  readonly listeners = new Set<(event: QmpEvent) => void>();
  private readonly socket: Socket;
  private readonly decoder = new JsonLineDecoder(MAX_LINE_BYTES);
  private readonly pending = new Map<number | 'greeting', Pending>();
  private greeted: QemuVersion | undefined;
  private nextId = 1;
  private ended: QmpClosedError | undefined;
  private resolveClosed: (reason: QmpClosedError) => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => (this.resolveClosed = resolve));
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('error', (error) => this.end(new QmpClosedError(error.message)));
    socket.on('close', () => this.end(new QmpClosedError('QEMU closed the connection')));
  }

  async greeting(timeoutMs: number): Promise<QemuVersion> {
    if (this.greeted) return this.greeted;
    return (await this.wait('greeting', 'greet', timeoutMs)) as QemuVersion;
  }

  execute(command: string, args: Record<string, unknown>, timeoutMs: number): Promise<unknown> {
    const id = this.nextId++;
    const answer = this.wait(id, `answer ${command}`, timeoutMs);
    if (!this.ended) this.socket.write(JSON.stringify({ execute: command, arguments: args, id }) + '\n');
    return answer;
  }

  end(reason: QmpClosedError): void {
    if (this.ended) return;
    this.ended = reason;
    this.socket.destroy();
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(reason);
    this.listeners.clear();
    this.resolveClosed(reason);
  }

  private wait(id: number | 'greeting', what: string, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended);
      const expire = () =>
        this.settle(id)?.reject(new QmpTimeoutError(`QEMU did not ${what} in ${timeoutMs} ms`));
      this.pending.set(id, { resolve, reject, timer: setTimeout(expire, timeoutMs) });
    });
  }

  private settle(id: number | 'greeting'): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private receive(chunk: Buffer): void {
    try {
      this.decoder.push(chunk, (value) => this.dispatch(value));
    } catch (error) {
      this.end(new QmpClosedError(`this is not QMP: ${(error as Error).message}`));
    }
  }

  private dispatch(value: unknown): void {
    if (this.ended) return;
    if (!isRecord(value)) throw new TypeError('a message is no object');
    if (!this.greeted) {
      this.greeted = parseGreeting(value);
      this.settle('greeting')?.resolve(this.greeted);
    } else if (typeof value.event === 'string') {
      const event = { event: value.event, data: isRecord(value.data) ? value.data : {} };
      for (const listener of [...this.listeners]) listener(event);
    } else if ('return' in value) {
      this.settle(value.id as number)?.resolve(value.return);
    } else if (isRecord(value.error)) {
      const { class: errorClass, desc } = value.error;
      this.settle(value.id as number)?.reject(new QmpCommandError(text(errorClass), text(desc)));
    } else {
      throw new TypeError('a message is neither an answer nor an event');
    }
  }
}

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** `{"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""}, "capabilities": []}}` */
function parseGreeting(value: Record<string, unknown>): QemuVersion {
  const version = isRecord(value.QMP) && isRecord(value.QMP.version) ? value.QMP.version.qemu : undefined;
  if (!isRecord(version)) throw new TypeError('there is no greeting');
  const { major, minor, micro } = version;
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number') {
    throw new TypeError('the greeting names no version');
  }
  return { major, minor, micro };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : 'unknown error';
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
