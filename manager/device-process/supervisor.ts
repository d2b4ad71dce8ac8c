/** The daemon's end of a device process: starts it, asks it, and notices when it dies. */
import { spawn, type ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { TSchema, Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { ChassisError, ErrorCode, Lost, type ErrorBody } from '../control/api.js';
import type { ChassisPaths } from '../control/state-directory.js';
import { JsonLineDecoder } from '../json-lines.js';
import { stampOf } from '../process-stamp.js';
import { BoundedLog } from './bounded-log.js';
import {
  ChildList,
  CHILDREN_PAGE,
  MAX_LINE_BYTES,
  READY_LINE,
  Report,
  Status,
  type ChildSpec,
  type ChildStatus,
  type DiskResize,
  type FunctionSpec,
  Seated,
  type FunctionStatus,
  type SeatRemoval,
  type SeatSpec,
  type SourceChange,
} from './protocol.js';

/** A running device process, as the manager sees it. Calls reject with DEVICE_PROCESS_LOST once it is gone. */
export interface DeviceHost {
  readonly pid: number;
  addFunction(spec: FunctionSpec): Promise<void>;
  /** Resolves also where there is no such function. */
  removeFunction(name: string): Promise<void>;
  /** @throws ChassisError MOUNT_BUSY while the guest has mounted what is there, or as the source cannot be opened */
  setSource(change: SourceChange): Promise<void>;
  /** @throws ChassisError SIZE_INVALID, or NO_DISK where it is gone */
  resizeDisk(change: DiskResize): Promise<void>;
  /** @throws ChassisError TAG_INVALID, TAG_IN_USE, or as the source cannot be opened */
  addChild(child: ChildSpec): Promise<void>;
  /** Resolves once the guest's helper has mounted it. @throws ChassisError GUEST_REFUSED or GUEST_TIMEOUT with the reason */
  childMounted(fn: string, name: string, timeoutMs: number): Promise<void>;
  /** Resolves once the guest's helper has let it go. @throws ChassisError MOUNT_BUSY, naming who holds it, or GUEST_TIMEOUT */
  releaseChild(fn: string, name: string, timeoutMs: number): Promise<void>;
  /** Takes it away, in use or not; answers what the guest had of it. Where there is none, nothing. */
  removeChild(fn: string, name: string): Promise<Lost>;
  children(fn: string): Promise<ChildStatus[]>;
  /** Answers the queue. @throws ChassisError NO_SLOT_FREE where none of those asked for is free, or as the source cannot be opened */
  addSeat(seat: SeatSpec): Promise<number>;
  /** Answers what the guest had of it. Where there is none, nothing. @throws ChassisError MOUNT_BUSY, unless forced */
  removeSeat(removal: SeatRemoval): Promise<Lost>;
  status(): Promise<FunctionStatus[]>;
  /** Ends it in good order, or by force if that takes too long. `onLost` is not called. */
  stop(): Promise<void>;
}

export interface DeviceHostHooks {
  /** It died by itself. Called once. */
  readonly onLost: (reason: string) => void;
  readonly onConnected: (name: string) => void;
  readonly onDisconnected: (name: string) => void;
}

export interface SpawnOptions extends DeviceHostHooks {
  readonly paths: ChassisPaths;
  /** The executable's script; the one beside this file when absent. */
  readonly entry?: string;
  readonly readyTimeoutMs?: number;
}

const READY_TIMEOUT_MS = 20_000;
/** Beyond what a guest may take where a request waits for one: then the process hangs. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A smaller disk waits for what is under way on it, which waits for a server that is lost as long as the NBD client does. */
const RESIZE_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 3000;
const DEFAULT_ENTRY = fileURLToPath(new URL('./entry.js', import.meta.url));

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/** @throws ChassisError DEVICE_PROCESS_LOST where it does not come up */
export async function spawnDeviceProcess(options: SpawnOptions): Promise<DeviceHost> {
  const child = new DeviceChild(options);
  try {
    await child.ready(options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  } catch (error) {
    await child.stop();
    throw error;
  }
  return child;
}

class DeviceChild implements DeviceHost {
  readonly pid: number;
  private readonly options: SpawnOptions;
  private readonly process: ChildProcess;
  private readonly log: BoundedLog;
  private readonly exited: Promise<string>;
  private readonly pending = new Map<number, Pending>();
  private socket: Socket | undefined;
  private nextId = 1;
  private lostReason: string | undefined;
  private up = false;
  private stopping = false;

  constructor(options: SpawnOptions) {
    const { paths } = options;
    this.options = options;
    this.log = new BoundedLog(paths.deviceLog);
    this.process = spawn(process.execPath, [options.entry ?? DEFAULT_ENTRY, '--socket', paths.deviceSocket], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.pid = this.process.pid ?? 0;
    writeFileSync(paths.deviceStamp, JSON.stringify(stampOf(this.pid) ?? null), { mode: 0o600 });
    this.process.stderr?.on('data', (bytes: Buffer) => this.log.write(bytes));
    this.exited = new Promise((resolve) => {
      this.process.once('error', (error) => resolve(`it could not be started: ${error.message}`));
      // 'close' comes after the last of standard error, which may say why.
      this.process.once('close', (code, signal) => resolve(exitReason(code, signal, this.log.tail)));
    });
    void this.exited.then((reason) => this.lost(reason));
  }

  async ready(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(lostError(`it was not ready in ${timeoutMs} ms`)), timeoutMs);
    });
    const died = this.exited.then((reason) => Promise.reject(lostError(reason)));
    try {
      await Promise.race([this.connectOnceReady(), expired, died]);
      this.up = true;
    } finally {
      clearTimeout(timer);
    }
  }

  async addFunction(spec: FunctionSpec): Promise<void> {
    await this.ask('addFunction', spec);
  }

  async removeFunction(name: string): Promise<void> {
    await this.ask('removeFunction', { function: name });
  }

  async setSource(change: SourceChange): Promise<void> {
    await this.ask('setSource', change);
  }

  async resizeDisk(change: DiskResize): Promise<void> {
    await this.ask('resizeDisk', change, RESIZE_TIMEOUT_MS);
  }

  async addChild(child: ChildSpec): Promise<void> {
    await this.ask('addChild', child);
  }

  async childMounted(fn: string, name: string, timeoutMs: number): Promise<void> {
    await this.ask('childMounted', { function: fn, name, timeoutMs }, timeoutMs + REQUEST_TIMEOUT_MS);
  }

  async releaseChild(fn: string, name: string, timeoutMs: number): Promise<void> {
    await this.ask('releaseChild', { function: fn, name, timeoutMs }, timeoutMs + REQUEST_TIMEOUT_MS);
  }

  async removeChild(fn: string, name: string): Promise<Lost> {
    return decode(Lost, await this.ask('removeChild', { function: fn, name }));
  }

  async children(fn: string): Promise<ChildStatus[]> {
    const all: ChildStatus[] = [];
    for (;;) {
      const { children } = decode(ChildList, await this.ask('children', { function: fn, from: all.length }));
      all.push(...children);
      if (children.length < CHILDREN_PAGE) return all;
    }
  }

  async addSeat(seat: SeatSpec): Promise<number> {
    return decode(Seated, await this.ask('addSeat', seat)).queue;
  }

  async removeSeat(removal: SeatRemoval): Promise<Lost> {
    return decode(Lost, await this.ask('removeSeat', removal));
  }

  async status(): Promise<FunctionStatus[]> {
    return decode(Status, await this.ask('status', {})).functions;
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.socket?.destroy();
    // Before it has a connection to lose, only a signal ends it.
    if (!this.up) this.process.kill('SIGTERM');
    const force = setTimeout(() => this.process.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.exited;
    clearTimeout(force);
    rmSync(this.options.paths.deviceStamp, { force: true });
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
      const socket = connect(this.options.paths.deviceSocket);
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
      socket.once('error', (error) => reject(lostError(error.message)));
      // Without its connection the process ends itself; one that cannot any more is ended.
      socket.once('close', () => {
        if (!this.stopping) this.process.kill('SIGKILL');
      });
    });
  }

  private ask(method: string, params: unknown, timeoutMs = REQUEST_TIMEOUT_MS): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.lostReason !== undefined || !this.socket)
        return reject(lostError(this.lostReason ?? 'it has not started'));
      const id = this.nextId++;
      const expire = () =>
        this.settle(id)?.reject(lostError(`it did not answer ${method} in ${timeoutMs} ms`));
      this.pending.set(id, { resolve, reject, timer: setTimeout(expire, timeoutMs) });
      this.socket.write(JSON.stringify({ id, method, params }) + '\n');
    });
  }

  private receive(message: unknown): void {
    const report = decode(Report, message);
    if ('event' in report) {
      const hear = report.event === 'connected' ? this.options.onConnected : this.options.onDisconnected;
      hear(report.function);
    } else if ('error' in report) {
      this.settle(report.id)?.reject(asChassisError(report.error));
    } else {
      this.settle(report.id)?.resolve(report.result);
    }
  }

  private settle(id: number): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending) clearTimeout(pending.timer);
    this.pending.delete(id);
    return pending;
  }

  private lost(reason: string): void {
    this.lostReason = reason;
    this.socket?.destroy();
    for (const id of [...this.pending.keys()]) this.settle(id)?.reject(lostError(reason));
    if (this.up && !this.stopping) this.options.onLost(reason);
  }
}

function decode<T extends TSchema>(schema: T, message: unknown): Static<T> {
  if (!Value.Check(schema, message))
    throw new TypeError('the device process sent what is not in its protocol');
  return message;
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

function lostError(reason: string): ChassisError {
  return new ChassisError(
    'DEVICE_PROCESS_LOST',
    `the device process is lost: ${reason}`,
    'start it over with `chassis restart`',
  );
}

function asChassisError({ code, message, suggestion }: ErrorBody): ChassisError {
  return new ChassisError(
    Object.hasOwn(ErrorCode, code) ? (code as ErrorCode) : 'INTERNAL',
    message,
    suggestion,
  );
}
