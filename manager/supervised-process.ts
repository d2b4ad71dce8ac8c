/** The daemon's end of a process of its own: starts it or finds it, asks it, and notices when it dies. */
import { rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { Value } from '@sinclair/typebox/value';
import { ChassisError, ErrorCode, type ErrorBody } from './control/api.js';
import { JsonLineDecoder } from './json-lines.js';
import type { LogSettings } from './logging/log.js';
import { FoundProcess, StartedProcess, type ProcessLife } from './process-life.js';
import { Answer, Hello, MAX_LINE_BYTES, PROTOCOL_VERSION } from './process-protocol.js';
import { isRunning, readStamp } from './process-stamp.js';
import type { Sandbox } from './sandbox/sandbox.js';

export interface SupervisedProcessOptions {
  /** Its script, for `runProcess`. */
  readonly entry: string;
  readonly socketPath: string;
  readonly logPath: string;
  /** How it logs; in text, at `info`, without them. */
  readonly logSettings?: LogSettings | undefined;
  /** Where it says which process it is. */
  readonly stampPath: string;
  /** What confines it, and the folders that it makes files in. Without one, nothing does. */
  readonly sandbox?: { readonly sandbox: Sandbox; readonly folders: readonly string[] } | undefined;
  /** What a request fails with once the process is gone. */
  readonly lost: (reason: string) => ChassisError;
  /** It died by itself. Called once. */
  readonly onLost: (reason: string) => void;
  /** It reported something on its own; what this throws ends the process. */
  readonly onEvent: (message: unknown) => void;
}

const STOP_TIMEOUT_MS = 3000;
/** Between two attempts to connect: it has to start first, or to notice that the last daemon is gone. */
const CONNECT_RETRY_MS = 10;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

export class SupervisedProcess {
  private options: SupervisedProcessOptions;
  private readonly life: ProcessLife;
  private readonly pending = new Map<number, Pending>();
  private socket: Socket | undefined;
  private nextId = 1;
  private lostReason: string | undefined;
  private up = false;
  /** Which requests it knows: see PROTOCOL_REVISION. */
  private known = 0;
  /** Its end is wanted, or that of the connection alone. */
  private parting: 'stop' | 'leave' | undefined;

  private constructor(options: SupervisedProcessOptions, life: ProcessLife) {
    this.options = options;
    this.life = life;
    void life.ended.then((reason) => this.lost(reason));
  }

  /**
   * Starts one, in place of any that is left there. Resolves once it takes requests.
   * @throws ChassisError, as `lost` makes it, where it does not come up in time
   */
  static async start(options: SupervisedProcessOptions, timeoutMs: number): Promise<SupervisedProcess> {
    const { logPath, stampPath, sandbox: confinement } = options;
    await endStamped(stampPath);
    const line = commandLine(options);
    const confined = await confinement?.sandbox.confine(line, confinement.folders);
    const started = new SupervisedProcess(options, await StartedProcess.start(line, logPath, confined));
    try {
      await started.connectWithin(timeoutMs);
      return started;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  /**
   * Takes over the one that an earlier daemon started; undefined where it is gone.
   * @throws ChassisError, as `lost` makes it, where it does not answer in time, or not to us: it is left alone then
   */
  static async find(
    options: SupervisedProcessOptions,
    timeoutMs: number,
  ): Promise<SupervisedProcess | undefined> {
    const stamp = readStamp(options.stampPath);
    if (!stamp || !isRunning(stamp)) return undefined;
    const found = new SupervisedProcess(options, new FoundProcess(stamp, options.logPath));
    try {
      await found.connectWithin(timeoutMs);
      return found;
    } catch (error) {
      found.leave();
      if (!isRunning(stamp)) return undefined;
      throw error;
    }
  }

  get pid(): number {
    return this.life.pid;
  }

  /** The PROTOCOL_REVISION that it was made with: older than ours where an older daemon started it. */
  get revision(): number {
    return this.known;
  }

  /** `grant` is the number of what it was given for this. @throws ChassisError of the process's own, or as `lost` makes it */
  ask(method: string, params: unknown, timeoutMs: number, grant?: number): Promise<unknown> {
    const { lost } = this.options;
    return new Promise((resolve, reject) => {
      if (this.lostReason !== undefined || !this.socket)
        return reject(lost(this.lostReason ?? 'it has not started'));
      const id = this.nextId++;
      const expire = () => this.settle(id)?.reject(lost(`it did not answer ${method} in ${timeoutMs} ms`));
      this.pending.set(id, { resolve, reject, timer: setTimeout(expire, timeoutMs) });
      this.socket.write(JSON.stringify({ id, method, params, grant }) + '\n');
    });
  }

  /** It has taken the place of another one, and is found there. */
  movedTo(place: Pick<SupervisedProcessOptions, 'socketPath' | 'stampPath'>): void {
    this.options = { ...this.options, ...place };
  }

  /** Lets it live on without this daemon. `onLost` is not called. */
  leave(reason = 'this daemon has left it'): void {
    this.parting = 'leave';
    this.lost(reason);
    this.life.forget();
  }

  /** Ends it in good order, or by force if that takes too long. `onLost` is not called. */
  async stop(): Promise<void> {
    this.parting = 'stop';
    // Before it has a connection, only a signal ends it.
    if (this.up) this.ask('end', {}, STOP_TIMEOUT_MS).catch(() => undefined);
    else this.life.signal('SIGTERM');
    const force = setTimeout(() => this.life.signal('SIGKILL'), STOP_TIMEOUT_MS);
    await this.life.ended;
    clearTimeout(force);
    rmSync(this.options.stampPath, { force: true });
  }

  private async connectWithin(timeoutMs: number): Promise<void> {
    const { lost } = this.options;
    const deadline = performance.now() + timeoutMs;
    let gone: string | undefined;
    void this.life.ended.then((reason) => (gone = reason));
    for (;;) {
      const leftMs = deadline - performance.now();
      if (gone !== undefined) throw lost(gone);
      if (leftMs <= 0) throw lost(`it was not ready in ${timeoutMs} ms`);
      const socket = await this.open();
      if (socket && (await this.greets(socket, leftMs))) break;
      socket?.destroy();
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
    this.up = true;
  }

  /** Undefined where nobody listens yet. */
  private open(): Promise<Socket | undefined> {
    return new Promise((resolve) => {
      const socket = connect(this.options.socketPath);
      const decoder = new JsonLineDecoder(MAX_LINE_BYTES);
      socket.on('data', (chunk) => {
        try {
          decoder.push(chunk, (message) => this.receive(message));
        } catch {
          // It is not what we took it for: see `closed`.
          socket.destroy();
        }
      });
      socket.once('connect', () => resolve(socket));
      socket.once('error', () => resolve(undefined));
      socket.once('close', () => this.closed(socket));
    });
  }

  /** False where it closes the connection: the last daemon's is still there. @throws ChassisError where it is not ours to manage */
  private async greets(socket: Socket, timeoutMs: number): Promise<boolean> {
    this.socket = socket;
    const closed = new Promise<undefined>((resolve) => socket.once('close', () => resolve(undefined)));
    const hello = await Promise.race([this.ask('hello', {}, timeoutMs), closed]);
    if (hello === undefined) {
      for (const id of [...this.pending.keys()]) this.settle(id);
      return false;
    }
    if (!Value.Check(Hello, hello)) throw this.options.lost('it does not answer as our processes do');
    if (hello.protocol !== PROTOCOL_VERSION)
      throw this.options.lost(
        `process ${this.pid} speaks protocol ${hello.protocol}, and this daemon ${PROTOCOL_VERSION}`,
      );
    this.known = hello.revision ?? 0;
    return hello.pid === this.pid;
  }

  /** A process that cannot be asked is ended, once it was up: nobody could manage it. */
  private closed(socket: Socket): void {
    if (socket !== this.socket) return;
    this.socket = undefined;
    if (this.parting !== 'leave') this.life.connectionLost();
    if (this.up && !this.parting) this.life.signal('SIGKILL');
  }

  private receive(message: unknown): void {
    if (!Value.Check(Answer, message)) return this.options.onEvent(message);
    if ('error' in message) this.settle(message.id)?.reject(asChassisError(message.error));
    else this.settle(message.id)?.resolve(message.result);
  }

  private settle(id: number): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private lost(reason: string): void {
    const { lost, onLost } = this.options;
    this.lostReason ??= reason;
    this.socket?.destroy();
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(lost(reason));
    if (this.up && !this.parting) onLost(reason);
  }
}

function commandLine({
  entry,
  socketPath,
  stampPath,
  logPath,
  logSettings,
}: SupervisedProcessOptions): string[] {
  const settings = logSettings ? ['--log-settings', JSON.stringify(logSettings)] : [];
  return [entry, '--socket', socketPath, '--stamp', stampPath, '--log', logPath, ...settings];
}

/** Ends what an earlier daemon left there. @throws Error where it does not go */
async function endStamped(stampPath: string): Promise<void> {
  const stamp = readStamp(stampPath);
  if (!stamp) return;
  const left = new FoundProcess(stamp, '');
  left.signal('SIGKILL');
  left.connectionLost();
  await left.ended;
}

function asChassisError({ code, message, suggestion }: ErrorBody): ChassisError {
  return new ChassisError(
    Object.hasOwn(ErrorCode, code) ? (code as ErrorCode) : 'INTERNAL',
    message,
    suggestion,
  );
}
