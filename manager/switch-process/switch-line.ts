/** A port of the switch, and the stream of whoever is plugged into it from another process. */
import { StreamFraming } from '../../devices/net/backends/stream/framing.js';
import { StreamConnection } from '../../devices/net/backends/stream/stream-connection.js';
import type { Frame } from '../../devices/net/frame.js';
import type { LearningSwitch } from '../../devices/net/switch/learning-switch.js';
import type { SwitchPort } from '../../devices/net/switch/switch-port.js';
import { closeFd, type Reactor } from '../../host/index.js';
import type { SwitchPortCounters } from '../control/api.js';
import type { LogMethod } from '../logging/log.js';
import { UnixListener } from '../ports/unix-listener.js';
import type { SwitchPortSpec } from './protocol.js';

export class SwitchLine {
  private readonly port: SwitchPort;
  private readonly listener: UnixListener;
  private readonly connection: StreamConnection;
  private dropped = 0;

  /** @throws RangeError as the switch has no such port, or HostError where the socket cannot be made */
  constructor(net: LearningSwitch, spec: SwitchPortSpec, reactor: Reactor, log: LogMethod) {
    const { port: name, socketPath: path } = spec;
    this.connection = new StreamConnection({ name, framing: StreamFraming.WITH_HEADER, reactor, log });
    this.listener = new UnixListener({ path, reactor, log, onConnection: (fd) => this.adopt(fd) });
    this.port = net.addPort(spec);
    this.join();
    try {
      this.listener.listen();
    } catch (error) {
      this.port.close();
      throw error;
    }
  }

  get connected(): boolean {
    return this.connection.linkUp;
  }

  get counters(): SwitchPortCounters {
    return { ...this.port.counters, dropped: this.dropped };
  }

  close(): void {
    this.listener.close();
    this.connection.close();
    this.port.close();
  }

  /** The switch never waits: who does not read in time loses what was for it. */
  private join(): void {
    const pass = (frame: Frame) => {
      if (!this.connection.send(frame)) this.dropped++;
    };
    const ignore = () => undefined;
    this.port.port = {
      offer: (frame) => (pass(frame), true),
      deliver: pass,
      sendable: ignore,
      linkChanged: ignore,
    };
    this.connection.port = {
      offer: (frame) => this.port.send(frame),
      deliver: (frame) => void this.port.send(frame),
      sendable: ignore,
      linkChanged: ignore,
    };
  }

  /** A port is one card's. */
  private adopt(fd: number): void {
    if (this.connection.linkUp) closeFd(fd);
    else this.connection.adopt(fd);
  }
}
