/** One switch, which joins cards of any chassis: each is in a process of its own, and has a port here behind a socket. */
import { Value } from '@sinclair/typebox/value';
import { LearningSwitch } from '../../devices/net/switch/learning-switch.js';
import { ChassisError } from '../control/api.js';
import type { ProcessTools, ProcessWork } from '../process-main.js';
import { answerOf, type Reply } from '../process-protocol.js';
import { SwitchRequest, type SwitchPortSpec, type SwitchStatus } from './protocol.js';
import { SwitchLine } from './switch-line.js';

export class SwitchProcess implements ProcessWork {
  private readonly tools: ProcessTools;
  private readonly net = new LearningSwitch();
  private readonly lines = new Map<string, SwitchLine>();

  constructor(tools: ProcessTools) {
    this.tools = tools;
  }

  /** A card is plugged in. */
  get inUse(): boolean {
    return [...this.lines.values()].some(({ connected }) => connected);
  }

  receive(message: unknown, reply: Reply): void {
    if (!Value.Check(SwitchRequest, message)) throw new TypeError('not a request to a switch');
    void answerOf(message.id, () => this.perform(message), this.tools.log).then(reply);
  }

  daemonGone(): void {
    // Nothing here is for the daemon alone.
  }

  async close(): Promise<void> {
    for (const line of this.lines.values()) line.close();
    this.lines.clear();
  }

  private perform(request: SwitchRequest): object {
    switch (request.method) {
      case 'addPort':
        return this.addPort(request.params);
      case 'removePort':
        return this.removePort(request.params.port);
      case 'status':
        return this.status();
    }
  }

  private addPort(spec: SwitchPortSpec): object {
    const { reactor, log } = this.tools;
    if (this.lines.has(spec.port)) throw new Error(`port ${spec.port} is there already`);
    try {
      this.lines.set(spec.port, new SwitchLine(this.net, spec, reactor, log.with({ port: spec.port }).warn));
    } catch (error) {
      throw error instanceof RangeError ? new ChassisError('BAD_REQUEST', error.message) : error;
    }
    return {};
  }

  private removePort(port: string): object {
    this.lines.get(port)?.close();
    this.lines.delete(port);
    return {};
  }

  private status(): SwitchStatus {
    return { ports: Array.from(this.lines, ([port, { counters }]) => ({ port, counters })) };
  }
}
