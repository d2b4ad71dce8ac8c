/** The daemon's end of one switch: its process runs while it has ports, through daemons, and is started over, with all of them, when it dies. */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Value } from '@sinclair/typebox/value';
import { ChassisError, type InForce, type SwitchPortCounters } from '../control/api.js';
import type { SwitchPaths } from '../control/state-directory.js';
import { removeSwitchFiles } from '../leftovers.js';
import type { Log } from '../logging/log.js';
import { explainedSandbox } from '../sandbox/in-force.js';
import type { Sandbox } from '../sandbox/sandbox.js';
import { SerialQueue } from '../serial-queue.js';
import { SupervisedProcess, type SupervisedProcessOptions } from '../supervised-process.js';
import { SwitchStatus, type SwitchPortSpec } from './protocol.js';

export interface SwitchHostOptions {
  readonly name: string;
  readonly paths: SwitchPaths;
  /** The process's script; the one beside this file when absent. */
  readonly entry?: string;
  /** Without one, it sees all of the host. */
  readonly sandbox?: Sandbox | undefined;
  readonly log: Log;
}

const READY_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** Who lists cards does not wait for a switch that stands still. */
const STATUS_TIMEOUT_MS = 1000;
/** How long after its death a switch is started over; longer each time while it does not stay. */
const RESTART_MS = { first: 50, longest: 5000 } as const;
/** One that lived so long had stayed. */
const STAYED_MS = 10_000;
const DEFAULT_ENTRY = fileURLToPath(new URL('./entry.js', import.meta.url));

export class SwitchHost {
  private readonly options: SwitchHostOptions;
  private readonly log: Log;
  private readonly queue = new SerialQueue();
  private readonly ports = new Map<string, SwitchPortSpec>();
  /** Ports of an earlier daemon, of which nobody has said yet whose they are. */
  private readonly found = new Set<string>();
  private process: SupervisedProcess | undefined;
  private startedMs = 0;
  private restartMs: number = RESTART_MS.first;
  private restart: NodeJS.Timeout | undefined;

  constructor(options: SwitchHostOptions) {
    this.options = options;
    this.log = options.log.with({ switch: options.name });
  }

  get pid(): number | undefined {
    return this.process?.pid;
  }

  /** What confines it now. */
  get sandbox(): InForce | undefined {
    return this.process && explainedSandbox(this.process.pid, this.options.sandbox);
  }

  /** A port that device processes can connect to once it resolves. @throws ChassisError NETWORK_UNAVAILABLE or BAD_REQUEST */
  addPort(spec: SwitchPortSpec): Promise<void> {
    return this.queue.run(async () => {
      const process = await this.running();
      await process.ask('addPort', spec, REQUEST_TIMEOUT_MS);
      this.ports.set(spec.port, spec);
    });
  }

  /**
   * Takes over the process that an earlier daemon started, and answers its ports; none where it is gone.
   * @throws ChassisError NETWORK_UNAVAILABLE where it lives and does not answer
   */
  find(): Promise<string[]> {
    return this.queue.run(async () => {
      this.process = await SupervisedProcess.find(this.supervision(), READY_TIMEOUT_MS);
      if (!this.process) return [];
      this.startedMs = performance.now();
      for (const port of (await this.counters()).keys()) this.found.add(port);
      return [...this.found];
    });
  }

  /** A port that an earlier daemon made: where the switch has not lived on, it is made again. @throws ChassisError as `addPort` */
  async keepPort(spec: SwitchPortSpec): Promise<void> {
    if (!this.found.delete(spec.port)) return this.addPort(spec);
    this.ports.set(spec.port, spec);
  }

  /** Ends the ports that were found and that nobody kept; without any, the switch. */
  settle(): Promise<void> {
    return this.queue.run(async () => {
      for (const port of this.found) await this.process?.ask('removePort', { port }, REQUEST_TIMEOUT_MS);
      this.found.clear();
      if (this.ports.size === 0) await this.end();
    });
  }

  /** Lets the process go on as it is, for the next daemon. */
  leave(): void {
    clearTimeout(this.restart);
    this.process?.leave();
    this.process = undefined;
  }

  /** Without ports the switch ends. */
  removePort(port: string): Promise<void> {
    return this.queue.run(async () => {
      if (!this.ports.delete(port)) return;
      if (this.ports.size === 0) await this.end();
      // Where it died, it comes back without that port.
      else await this.process?.ask('removePort', { port }, REQUEST_TIMEOUT_MS).catch(() => undefined);
    });
  }

  /** What each port counted. While the switch is being started over, nothing. */
  async counters(): Promise<ReadonlyMap<string, SwitchPortCounters>> {
    try {
      const status = await this.process?.ask('status', {}, STATUS_TIMEOUT_MS);
      if (!Value.Check(SwitchStatus, status)) return new Map();
      return new Map(status.ports.map(({ port, counters }) => [port, counters]));
    } catch (error) {
      this.log.warn('it cannot be asked', error);
      return new Map();
    }
  }

  /** Ends the process. */
  stop(): Promise<void> {
    return this.queue.run(() => {
      this.ports.clear();
      return this.end();
    });
  }

  private async running(): Promise<SupervisedProcess> {
    if (this.process) return this.process;
    clearTimeout(this.restart);
    mkdirSync(this.options.paths.directory, { recursive: true, mode: 0o700 });
    this.process = await SupervisedProcess.start(this.supervision(), READY_TIMEOUT_MS);
    this.startedMs = performance.now();
    return this.process;
  }

  private supervision(): SupervisedProcessOptions {
    const { paths, entry = DEFAULT_ENTRY, sandbox } = this.options;
    return {
      entry,
      sandbox: sandbox && { sandbox, folders: [paths.directory] },
      ...{ socketPath: paths.controlSocket, logPath: paths.log, stampPath: paths.stamp },
      logSettings: this.log.settings,
      lost: (reason) => this.lostError(reason),
      onLost: (reason) => this.lost(reason),
      onEvent: () => {
        throw new TypeError('a switch reports nothing on its own');
      },
    };
  }

  private lost(reason: string): void {
    this.process = undefined;
    this.log.warn(`the switch is lost, and is started over: ${reason}`);
    if (performance.now() - this.startedMs > STAYED_MS) this.restartMs = RESTART_MS.first;
    this.restartSoon();
  }

  private restartSoon(): void {
    clearTimeout(this.restart);
    this.restart = setTimeout(() => void this.queue.run(() => this.startOver()), this.restartMs);
    this.restartMs = Math.min(this.restartMs * 2, RESTART_MS.longest);
  }

  /** The device processes connect to the new one by themselves. */
  private async startOver(): Promise<void> {
    if (this.ports.size === 0 || this.process) return;
    try {
      const process = await this.running();
      for (const spec of this.ports.values()) await process.ask('addPort', spec, REQUEST_TIMEOUT_MS);
    } catch (error) {
      this.log.warn('it cannot be started over', error);
      if (!this.process) this.restartSoon();
    }
  }

  private async end(): Promise<void> {
    clearTimeout(this.restart);
    const process = this.process;
    this.process = undefined;
    await process?.stop();
    removeSwitchFiles(this.options.paths);
  }

  private lostError(reason: string): ChassisError {
    return new ChassisError(
      'NETWORK_UNAVAILABLE',
      `the switch ${this.options.name} is lost: ${reason}`,
      'it is started over by itself: try again',
    );
  }
}
