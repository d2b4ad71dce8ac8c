/** The daemon's end of a process of its own: starts it, asks it, and notices when it dies. */
import { spawn, type ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { Value } from '@sinclair/typebox/value';
import { ChassisError, ErrorCode, type ErrorBody } from './control/api.js';
import { BoundedLog } from './device-process/bounded-log.js';
import { JsonLineDecoder } from './json-lines.js';
import { Answer, MAX_LINE_BYTES, READY_LINE } from './process-protocol.js';
import { stampOf } from './process-stamp.js';

export interface SupervisedProcessOptions {
  /** Its script, which listens at `--socket PATH`. */
  readonly entry: string;
  readonly socketPath: string;
  readonly logPath: string;
  /** Where it is kept which process it is, for the sweep after a crash. */
  readonly stampPath: string;
  /** What a request fails with once the process is gone. */
  readonly lost: (reason: string) => ChassisError;
  /** It died by itself. Called once. */
  readonly onLost: (reason: string) => void;
  /** It reported something on its own; what this throws ends the connection, and with it the process. */
  readonly onEvent: (message: unknown) => void;
}

const STOP_TIMEOUT_MS = 3000;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

export class SupervisedProcess {
  readonly pid: number;
  private readonly options: SupervisedProcessOptions;
  private readonly process: ChildProcess;
  private readonly log: BoundedLog;
  private readonly exited: Promise<string>;
  private readonly pending = new Map<number, Pending>();
  private socket: Socket | undefined;
  private nextId = 1;
  private lostReason: string | undefined;
  private up = false;
  private stopping = false;

  constructor(options: SupervisedProcessOptions) {
    const { entry, socketPath, logPath, stampPath } = options;
    this.options = options;
    this.log = new BoundedLog(logPath);
    this.process = spawn(process.execPath, [entry, '--socket', socketPath], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.pid = this.process.pid ?? 0;
    writeFileSync(stampPath, JSON.stringify(stampOf(this.pid) ?? null), { mode: 0o600 });
    this.process.stderr?.on('data', (bytes: Buffer) => this.log.write(bytes));
    this.exited = new Promise((resolve) => {
      this.process.once('error', (error) => resolve(`it could not be started: ${error.message}`));
      // 'close' comes after the last of standard error, which may say why.
      this.process.once('close', (code, signal) => resolve(exitReason(code, signal, this.log.tail)));
    });
    void this.exited.then((reason) => this.lost(reason));
  }

  /** Resolves once it takes requests. @throws ChassisError, as `lost` makes it, where it does not come up in time */
  async ready(timeoutMs: number): Promise<void> {
    const { lost } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(lost(`it was not ready in ${timeoutMs} ms`)), timeoutMs);
    });
    const died = this.exited.then((reason) => Promise.reject(lost(reason)));
    try {
      await Promise.race([this.connectOnceReady(), expired, died]);
      this.up = true;
    } finally {
      clearTimeout(timer);
    }
  }

  /** @throws ChassisError of the process's own, or as `lost` makes it */
  ask(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    const { lost } = this.options;
    return new Promise((resolve, reject) => {
      if (this.lostReason !== undefined || !this.socket)
        return reject(lost(this.lostReason ?? 'it has not started'));
      const id = this.nextId++;
      const expire = () => this.settle(id)?.reject(lost(`it did not answer ${method} in ${timeoutMs} ms`));
      this.pending.set(id, { resolve, reject, timer: setTimeout(expire, timeoutMs) });
      this.socket.write(JSON.stringify({ id, method, params }) + '\n');
    });
  }

  /** Ends it in good order, or by force if that takes too long. `onLost` is not called. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.socket?.destroy();
    // Before it has a connection to lose, only a signal ends it.
    if (!this.up) this.process.kill('SIGTERM');
    const force = setTimeout(() => this.process.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.exited;
    clearTimeout(force);
    rmSync(this.options.stampPath, { force: true });
  }

  private async connectOnceReady(): Promise<void> {
    await new Promise<void>((resolve) => {
      let text = '';
      this.process.stdout?.setEncoding('utf8').on('data', (piece: string) => {
        text = (text + piece).slice(-1024);
        if (text.includes(READY_LINE + '\n')) resolve();
      });
    });
    this.socket = await this.openControl();
  }

  private openControl(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.options.socketPath);
      const decoder = new JsonLineDecoder(MAX_LINE_BYTES);
      socket.on('data', (chunk) => {
        try {
          decoder.push(chunk, (message) => this.receive(message));
        } catch (error) {
          this.log.write(Buffer.from(`daemon: ${(error as Error).message}\n`));
          socket.destroy();
        }
      });
      socket.once('connect', () => resolve(socket));
      socket.once('error', (error) => reject(this.options.lost(error.message)));
      // Without its connection the process ends itself; one that cannot any more is ended.
      socket.once('close', () => {
        if (!this.stopping) this.process.kill('SIGKILL');
      });
    });
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
    this.lostReason = reason;
    this.socket?.destroy();
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(lost(reason));
    if (this.up && !this.stopping) onLost(reason);
  }
}

function exitReason(code: number | null, signal: NodeJS.Signals | null, tail: string): string {
  const how = signal === null ? `it exited with status ${code}` : `it was killed by ${signal}`;
  const last = lastWords(tail);
  return last === undefined ? how : `${how}: ${last}`;
}

/** The last line that says something: not a stack's, nor the version that Node ends its own with. */
function lastWords(tail: string): string | undefined {
  const lines = tail.split('\n').filter((line) => line.trim() !== '' && !/^\s+at |^Node\.js v/.test(line));
  return lines.at(-1)?.trim();
}

function asChassisError({ code, message, suggestion }: ErrorBody): ChassisError {
  return new ChassisError(
    Object.hasOwn(ErrorCode, code) ? (code as ErrorCode) : 'INTERNAL',
    message,
    suggestion,
  );
}
