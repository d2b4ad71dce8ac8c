/** Chassis with drivers at work on them, under one daemon and the next, each with a state directory of its own. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Reactor } from '../../../host/index.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { Daemon } from '../../../manager/daemon.js';
import type { Sandbox } from '../../../manager/sandbox/sandbox.js';
import { NOFID, NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { BUILT_DEVICE_ENTRY, BUILT_SWITCH_ENTRY } from '../built.js';
import { GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { expectant, goOn } from '../ports/vhost-user/moved.js';
import { config, Feature, memTable, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';
import { silentLog } from '../../support/log.js';

export const MSIZE = 8192;
const Rread = 117;
export const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
export const CONFIG_WCE = 1n << 11n;
export const FLUSH = 1n << 9n;
const WRITEBACK = 32;
export const LAN = { type: 'switch', switch: 'lan', isolated: false, macLock: false } as const;

export const directory = (path: string) => ({ type: 'directory', path }) as const;

/** A driver's queue, and how it goes on elsewhere. */
export interface Guest {
  readonly frontEnd: RawFrontEnd;
  readonly ram: GuestRam;
  readonly queue: TestQueue;
  readonly features: bigint;
}

export class SavingLab {
  readonly home: string;
  /** A directory with `file`, which has `in the file`. */
  readonly shared: string;
  /** Where to save to. */
  readonly file: string;
  readonly reactor: Reactor;
  client: ChassisClient;
  private readonly sandbox: Sandbox | undefined;
  private readonly daemons: Daemon[] = [];
  private readonly frontEnds: RawFrontEnd[] = [];

  private constructor(home: string, sandbox: Sandbox | undefined) {
    this.home = home;
    this.sandbox = sandbox;
    this.shared = join(home, 'shared');
    this.file = join(home, 'saved');
    mkdirSync(this.shared);
    writeFileSync(join(this.shared, 'file'), 'in the file');
    this.reactor = new Reactor({ onError: (error) => console.error(error) });
    this.reactor.start();
    this.client = this.clientOf('a');
  }

  /** The daemon whose directory is `a` runs, and has the chassis `dev`. */
  static async start(home: string, sandbox?: Sandbox): Promise<SavingLab> {
    const lab = new SavingLab(home, sandbox);
    await lab.startDaemon('a');
    await lab.client.create('dev', { slots: 6 });
    return lab;
  }

  async end(): Promise<void> {
    for (const frontEnd of this.frontEnds.splice(0)) frontEnd.close();
    for (const daemon of this.daemons.splice(0)) await daemon.end();
    this.reactor.close();
  }

  clientOf(directoryName: string): ChassisClient {
    return new ChassisClient({ directory: join(this.home, directoryName) });
  }

  async startDaemon(directoryName: string): Promise<void> {
    const daemon = new Daemon({
      directory: join(this.home, directoryName),
      log: silentLog,
      onShutdown: () => undefined,
      deviceEntry: BUILT_DEVICE_ENTRY,
      switchEntry: BUILT_SWITCH_ENTRY,
      sandbox: this.sandbox,
    });
    this.daemons.push(daemon);
    await daemon.start();
  }

  /** The next daemon, with a state directory of its own; what the first one had is gone. */
  async elsewhere(): Promise<void> {
    await this.client.delete('dev', { force: true });
    this.client = this.clientOf('b');
    await this.startDaemon('b');
  }

  connect(slot: number, directoryName: string): RawFrontEnd {
    const path = new ChassisPaths(join(this.home, directoryName), 'dev').functionSocket(slot, 0);
    const frontEnd = new RawFrontEnd(this.reactor, path);
    this.frontEnds.push(frontEnd);
    return frontEnd;
  }

  /** A front-end that has said nothing of features, memory and rings. */
  expectant(slot: number, directoryName: string): Promise<RawFrontEnd> {
    return expectant({ connect: () => this.connect(slot, directoryName) });
  }

  /** The one that came last leaves. */
  leave(): void {
    this.frontEnds.pop()?.close();
  }

  /** A driver that begins, with its first queue or another one. */
  async drive(slot: number, features = FEATURES | 1n, index = 0): Promise<Guest> {
    const ram = new GuestRam('saved');
    const frontEnd = await this.connect(slot, 'a').negotiate(features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const queue = new TestQueue(this.reactor, ram, index);
    await queue.start(frontEnd);
    return { frontEnd, ram, queue, features };
  }

  /** Its VM is paused. Answers what has it go on elsewhere. */
  async pause(slot: number, { frontEnd, ram, queue, features }: Guest) {
    const base = await frontEnd.getVringBase(queue.index);
    return async (directoryName: string, from = base): Promise<RawFrontEnd> => {
      const next = await this.expectant(slot, directoryName);
      await goOn(next, ram, features, [[queue, from]]);
      return next;
    };
  }

  async attach(tag: string, via: 'function' | 'tree' | 'queue' = 'function'): Promise<number> {
    const mounts = [{ tag, source: directory(this.shared) }];
    const [mount] = await this.client.attach('dev', {
      mounts,
      via,
      ...(via === 'function' && { port: 'vhost-user' }),
    });
    // Served for a QEMU that has the generic device.
    const qemu = { version: '11.1.3', devices: ['vhost-user-test-device-pci'] };
    if (via !== 'function') await this.client.qemuArgs('dev', { qemu });
    return mount.slot;
  }

  async image(name: string, sizeBytes = 65536): Promise<{ path: string; slot: number }> {
    const path = join(this.home, name);
    writeFileSync(path, '');
    truncateSync(path, sizeBytes);
    const { slot } = await this.client.addDisk('dev', { name, source: { type: 'file', path } });
    return { path, slot };
  }

  /** The device process is killed. Resolves once another one has gone on for it. */
  async killDevices(): Promise<void> {
    const { pid } = (await this.client.get('dev')).deviceProcess;
    if (pid === undefined) throw new Error('there is no device process');
    process.kill(pid, 'SIGKILL');
    for (;;) {
      const { deviceProcess } = await this.client.get('dev');
      if (deviceProcess.state === 'running' && deviceProcess.pid !== pid) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

export async function openFile({ queue }: Guest, ...names: string[]): Promise<void> {
  await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
  await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
  await queue.exchange(T.walk(1, 0, 1, ...names), MSIZE);
  await queue.exchange(T.lopen(1, 1, 2), MSIZE);
}

/** What is in the file, or which message the answer is. */
export async function readFile({ queue }: Pick<Guest, 'queue'>): Promise<string> {
  const reply = await queue.exchange(T.read(1, 1, 0, 1000), MSIZE);
  return reply[4] === Rread ? reply.subarray(11).toString() : `message ${reply[4]}`;
}

/** A disk's driver chooses its cache mode: 0 for write-through. */
export function chooseCache({ frontEnd }: Pick<Guest, 'frontEnd'>, mode: number): Promise<void> {
  return frontEnd.set(Request.SET_CONFIG, config(WRITEBACK, 1, Uint8Array.of(mode)));
}

/** As the config space shows it. */
export async function cacheMode(frontEnd: RawFrontEnd): Promise<number> {
  return (await frontEnd.query(Request.GET_CONFIG, config(WRITEBACK, 1)))[12];
}
