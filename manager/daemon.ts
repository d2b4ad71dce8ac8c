/**
 * The daemon: keeps chassis by name and serves the API, in a state directory of its own. What serves guests does not end with it: it may be
 * stopped, killed and started at any time.
 */
import { Reactor } from '../host/index.js';
import { ChassisRegistry } from './chassis-registry.js';
import { ChassisError } from './control/api.js';
import { ControlServer } from './control/server.js';
import { apiSocketPath, openStateDirectory, type StateDirectory } from './control/state-directory.js';
import { DaemonService } from './daemon-service.js';
import { EventLog } from './events/event-log.js';
import { sweepStateDirectory } from './leftovers.js';
import type { Log } from './logging/log.js';
import type { Sandbox } from './sandbox/sandbox.js';
import { Switches } from './switches.js';

export interface DaemonOptions {
  /** The state directory; made if need be, held until `leave` or `end`. */
  readonly directory: string;
  readonly log: Log;
  /** Somebody asked over the API that the daemon stop: the owner calls `leave` or `end`. */
  readonly onShutdown: () => void;
  /** What confines device processes; nothing, without one. */
  readonly sandbox?: Sandbox | undefined;
  /** The device process's script, where it is not beside the daemon's own (tests run from sources). */
  readonly deviceEntry?: string;
  /** A switch's, likewise. */
  readonly switchEntry?: string;
}

/** What is asked of a daemon that stops may take so long; what takes longer is for the next one to go on with. */
const LEAVE_GRACE_MS = 500;

export class Daemon {
  private readonly options: DaemonOptions;
  private readonly switches: Switches;
  private readonly happened = new EventLog();
  private readonly reactor: Reactor;
  private readonly registry: ChassisRegistry;
  private server: ControlServer | undefined;
  private state: StateDirectory | undefined;
  private starting: Promise<void> | undefined;
  private stopping: Promise<void> | undefined;

  constructor(options: DaemonOptions) {
    this.options = options;
    const { directory, log, sandbox, deviceEntry, switchEntry: entry } = options;
    const { happened } = this;
    const reactor = new Reactor({ onError: (error) => log.error('a bug', error), maxSpinMicros: 0 });
    const switches = new Switches({ directory, log, sandbox, ...(entry !== undefined && { entry }) });
    this.registry = new ChassisRegistry({
      directory,
      switches,
      happened,
      reactor,
      sandbox,
      deviceEntry,
      log,
    });
    this.reactor = reactor;
    this.switches = switches;
  }

  /** Brings back what an earlier daemon kept. @throws ChassisError STATE_UNWRITABLE, or CHASSIS_IN_USE where another daemon has the directory */
  start(): Promise<void> {
    this.starting = this.startAll();
    return this.starting;
  }

  /** Lets the directory go, and everything in it go on: the next daemon finds it. */
  leave(): Promise<void> {
    this.stopping ??= this.leaveAll();
    return this.stopping;
  }

  /** Ends all chassis, removes sockets and files, lets the directory go. VMs go on, without their mounts. */
  end(): Promise<void> {
    this.stopping ??= this.endAll();
    return this.stopping;
  }

  private async startAll(): Promise<void> {
    const { directory, log } = this.options;
    this.state = openStateDirectory(directory);
    this.reactor.start();
    try {
      const killed = await sweepStateDirectory(directory);
      if (killed.length > 0) log.info(`ended processes of an earlier daemon: ${killed.join(', ')}`);
      await this.registry.restoreAll();
      this.server = new ControlServer({ socketPath: apiSocketPath(directory), service: this.service(), log });
      await this.server.start();
    } catch (error) {
      this.reactor.close();
      this.state.release();
      throw error;
    }
  }

  private service(): DaemonService {
    const { registry, happened } = this;
    return new DaemonService({ registry, happened, onShutdown: this.options.onShutdown });
  }

  private async leaveAll(): Promise<void> {
    this.registry.refuseNew();
    await this.starting?.catch(() => undefined);
    const { server, state } = this;
    await server?.idle(LEAVE_GRACE_MS);
    server?.interrupt(interrupted());
    // From here on nothing reaches a process or a journal: what is under way is as if the daemon had been killed.
    this.switches.leaveAlone();
    const left = this.registry.leaveAll();
    this.happened.close();
    await left;
    await server?.stop();
    this.reactor.close();
    state?.release();
  }

  private async endAll(): Promise<void> {
    this.registry.refuseNew();
    await this.starting?.catch(() => undefined);
    const { server, state } = this;
    await this.registry.endAll();
    await this.switches.stop();
    this.happened.close();
    await server?.stop();
    this.reactor.close();
    state?.release();
  }
}

function interrupted(): ChassisError {
  return new ChassisError(
    'NO_DAEMON',
    'the daemon was stopped before this was done',
    'what had begun is gone on with, or undone, when it is started again: chassis serve, then chassis show',
  );
}
