import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { BUILT_MAIN } from './built.js';
import type { Command } from './vmm/fake-qmp.js';
import { FakeQemu } from './vmm/fake-qemu.js';

/** A daemon as users run it. */
export class DaemonProcess {
  readonly exited: Promise<unknown[]>;
  /** What it said on standard error. */
  log = '';
  private readonly process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.process = process;
    this.exited = once(process, 'exit');
    process.stderr?.setEncoding('utf8').on('data', (text: string) => (this.log += text));
  }

  /** Resolves once it serves. `node` are options of Node's, `user` as whom it runs, if not as whoever tests, and `flags` its own. */
  static async start(
    directory: string,
    node: string[] = [],
    env = {},
    user: { readonly uid?: number; readonly gid?: number } = {},
    flags: string[] = [],
  ): Promise<DaemonProcess> {
    const line = [...node, BUILT_MAIN, '--dir', directory, ...flags];
    const child = spawn(process.execPath, line, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      ...user,
    });
    const daemon = new DaemonProcess(child);
    await Promise.race([once(child.stdout, 'data'), daemon.exited]);
    return daemon;
  }

  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<unknown[]> {
    this.signal(signal);
    return this.exited;
  }
}

/** The processes whose command line names the directory: daemons, device processes and switches, and not what started those confined. */
export function processesOf(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const words = commandLine(pid);
      return !words.includes('--userns-block-fd') && words.some((word) => word.startsWith(directory));
    })
    .map(Number);
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** A QEMU that opens the sockets of what is plugged into it, and keeps them until that is unplugged. */
export class ConnectingQemu extends FakeQemu {
  /** By id of the device, or of its character device. */
  readonly open = new Map<string, Socket>();

  constructor(slots: number) {
    super(slots);
    const { answer } = this;
    this.answer = async (command) => {
      const port = portOf(command);
      if (port) await this.connect(String(command.arguments.id), port);
      if (command.execute === 'chardev-remove') this.hangUpOn(String(command.arguments.id));
      return answer(command);
    };
  }

  override deleted(id: string): void {
    super.deleted(id);
    if (!this.chardevs.has(id)) this.hangUpOn(id);
  }

  override async stop(): Promise<void> {
    for (const id of [...this.open.keys()]) this.hangUpOn(id);
    await super.stop();
  }

  private async connect(id: string, { path, greeting }: Port): Promise<void> {
    const socket = connect(path);
    socket.on('error', () => undefined);
    socket.write(greeting);
    await once(socket, 'data');
    this.open.set(id, socket);
  }

  private hangUpOn(id: string): void {
    this.open.get(id)?.destroy();
    this.open.delete(id);
  }
}

interface Port {
  readonly path: string;
  /** What is answered. */
  readonly greeting: Buffer;
}

/** VHOST_USER_GET_FEATURES: request[4] flags[4] size[4]. */
export const VHOST_USER = Buffer.from(new Uint32Array([1, 1, 0]).buffer);
/** VFIO_USER_VERSION 0.0: id[2] command[2] size[4] flags[4] error[4] major[2] minor[2] capabilities. */
export const VFIO_USER = Buffer.concat([
  Buffer.from(new Uint16Array([1, 1, 23, 0, 0, 0, 0, 0, 0, 0]).buffer),
  Buffer.from('{}\0'),
]);

/** What a command makes QEMU connect to. */
function portOf({ execute, arguments: given }: Command): Port | undefined {
  const { socket, backend } = given as {
    socket?: { path: string };
    backend?: { data: { addr: { data: { path: string } } } };
  };
  if (execute === 'device_add' && socket) return { path: socket.path, greeting: VFIO_USER };
  if (execute !== 'chardev-add' || !backend) return undefined;
  return { path: backend.data.addr.data.path, greeting: VHOST_USER };
}
