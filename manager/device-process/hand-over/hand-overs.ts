/** The hand-overs of one device process, to one that replaces it or from the one that it replaces. */
import type { ProcessPlace } from '../../process-main.js';
import type { FunctionSpec, HandOverOrder, TakeOverOrder } from '../protocol.js';
import type { HandOverConnections } from './connections.js';
import { handOver, type GivenFunction, type HandedOver } from './giving.js';
import type { Given } from './movable.js';
import { takeOver, type TakenFunction } from './taking.js';

export interface HandOversOptions {
  readonly connections: HandOverConnections;
  /** This process has taken the place of another one. */
  readonly onTakenOver: (place: ProcessPlace) => void;
  /** Another process serves all functions now: this one is to end at once, and to leave all files as they are. */
  readonly onHandedOver: () => void;
  /** The other process is to be ended, which a process that is confined may not do itself. */
  readonly onUnbegun: () => void;
}

/** What the answer to a hand-over may take to the daemon. */
const ANSWERED_MS = 10;

export class HandOvers {
  private readonly options: HandOversOptions;
  /** While true, and for good once it has succeeded, nothing may be changed here. */
  underWay = false;

  constructor(options: HandOversOptions) {
    this.options = options;
  }

  /** Where it resolves, this process serves nothing any more. @throws ChassisError UPGRADE_REFUSED: all is then as before */
  async give({ socketPath, pid }: HandOverOrder, functions: readonly GivenFunction[]): Promise<HandedOver> {
    this.underWay = true;
    try {
      const channel = await this.options.connections.connect(socketPath);
      const handed = await handOver({ channel, functions, endOther: () => this.endProcess(pid) });
      setTimeout(this.options.onHandedOver, ANSWERED_MS);
      return handed;
    } catch (error) {
      this.underWay = false;
      throw error;
    }
  }

  /** Answers the functions that this process serves from now on. @throws Error where the other one goes on */
  async take<Taken extends TakenFunction>(
    { socketPath, place }: TakeOverOrder,
    create: (spec: FunctionSpec, given: Given) => Promise<Taken>,
  ): Promise<ReadonlyMap<string, Taken>> {
    const channel = await this.options.connections.accept(socketPath);
    const taken = await takeOver({ channel, create });
    this.options.onTakenOver(place);
    return taken;
  }

  private endProcess(pid: number): void {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // Otherwise it has ended.
      if ((error as NodeJS.ErrnoException).code === 'EPERM') this.options.onUnbegun();
    }
  }
}
