/** A device process that is killed, its daemon's part in what comes then, and clients of what it serves. */
import { mkdirSync } from 'node:fs';
import { expect } from 'vitest';
import { Reactor } from '../../../host/index.js';
import { ConnectionKeeper } from '../../../manager/connection-keeper.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { handOverConnections } from '../../../manager/device-process/hand-over/connections.js';
import type { FunctionSpec } from '../../../manager/device-process/protocol.js';
import { spawnDeviceProcess, type DeviceHost } from '../../../manager/device-process/supervisor.js';
import { BUILT_DEVICE_ENTRY } from '../built.js';
import { notingLog } from '../../support/log.js';

type Device = FunctionSpec['device'];
/** How a function is served. */
export type Use = Pick<FunctionSpec, 'port' | 'msix'>;

export class KillableProcess {
  readonly paths: ChassisPaths;
  readonly reactor: Reactor;
  /** VMMs that were seen to leave, and what is wrong. */
  readonly log: string[] = [];
  keeper: ConnectionKeeper;
  /** Gives each function its mounts, where it carries many. */
  fill: (host: DeviceHost) => Promise<void> = () => Promise.resolve();
  private readonly served = new Map<string, { device: Device; use: Use }>();
  private current: DeviceHost | undefined;
  private onLost: () => void = () => undefined;

  constructor(folder: string) {
    this.paths = new ChassisPaths(folder, 'dev');
    mkdirSync(this.paths.directory);
    this.reactor = new Reactor({ onError: (error) => console.error(error) });
    this.reactor.start();
    this.keeper = this.newKeeper();
  }

  get host(): DeviceHost {
    if (!this.current) throw new Error('it does not run');
    return this.current;
  }

  async start(): Promise<this> {
    this.current = await spawnDeviceProcess({
      ...{ paths: this.paths, entry: BUILT_DEVICE_ENTRY },
      connections: handOverConnections(this.reactor),
      onLost: () => this.onLost(),
      ...{ onConnected: () => undefined, onHelper: () => undefined, onChild: () => undefined },
      onDisconnected: (name) => this.log.push(`${name} was left`),
    });
    await this.host.keep(this.keeper);
    return this;
  }

  /** Answers the socket. */
  async serve(device: Device, fn = 0, use: Use = { port: 'vhost-user', msix: false }): Promise<string> {
    const name = `slot1-fn${fn}`;
    this.served.set(name, { device, use });
    return this.provide(name);
  }

  /** SIGKILL, and all that the daemon does then. */
  async kill(): Promise<void> {
    const lost = new Promise<void>((resolve) => (this.onLost = resolve));
    process.kill(this.host.pid, 'SIGKILL');
    await lost;
    await this.revive();
  }

  /** Another process goes on with what the last one served. */
  async revive(): Promise<void> {
    await this.keeper.settled();
    await this.start();
    for (const name of this.served.keys()) await this.provide(name);
  }

  /** Another process takes over, while the first one lives. */
  async upgrade(): Promise<void> {
    this.current = (await this.host.replace()).host;
    await this.host.keep(this.keeper);
  }

  /** Another daemon comes, and the last one's part is gone. */
  async changeDaemon(): Promise<void> {
    this.keeper.close();
    this.keeper = this.newKeeper();
    await this.host.keep(this.keeper);
  }

  async stop(): Promise<void> {
    const log = [...this.log];
    await this.current?.stop();
    this.keeper.close();
    this.reactor.close();
    expect(log).toEqual([]);
  }

  private async provide(name: string): Promise<string> {
    const served = this.served.get(name);
    if (!served) throw new Error(`${name} is not served`);
    const socketPath = this.paths.functionSocket(1, Number(name.at(-1)));
    const resumes = this.keeper.has(name);
    if (resumes) await this.keeper.give(name);
    await this.host.addFunction({
      ...{ function: name, socketPath, ...served.use, device: served.device },
      files: this.paths.functionFiles(name),
    });
    await this.fill(this.host);
    if (resumes) await this.host.goOn(name);
    return socketPath;
  }

  private newKeeper(): ConnectionKeeper {
    return new ConnectionKeeper(notingLog(this.log).warn);
  }
}
