import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { Chassis, Mount, Port, QemuArgs } from '../../manager/control/api.js';
import { shellQuote } from '../../manager/control/shell-quote.js';
import { QemuUnavailableError } from '../../testbed/errors.js';
import { LinuxGuest, type ShellOptions } from '../../testbed/guest.js';
import type { ExtraFile } from '../../testbed/initramfs.js';
import type { KernelVersion } from '../../testbed/kernel.js';
import { findQemu, type QemuBinary } from '../../testbed/qemu.js';
import { TestDaemon } from '../support/daemon.js';

/** The QEMU to test with; undefined where this machine can have none. Under CI that is a failure. */
async function qemuOrReason(): Promise<QemuBinary | string> {
  try {
    return await findQemu();
  } catch (error) {
    if (process.env.CI === 'true' || !(error instanceof QemuUnavailableError)) throw error;
    return error.message.split('\n')[0];
  }
}
const qemu = await qemuOrReason();

/** The QEMU to test with. Only inside `describeRealGuest`. */
export function requireRealQemu(): QemuBinary {
  if (typeof qemu === 'string') throw new Error(qemu);
  return qemu;
}

/** The QEMU to test with, which is a program with arguments, as a user's is: a program, in `folder`. Answers its path. */
export async function qemuProgram(folder: string): Promise<string> {
  const path = join(folder, 'qemu');
  const command = requireRealQemu().command.map(shellQuote).join(' ');
  await writeFile(path, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  return path;
}

/** Groups tests that need a real guest: skipped, with the reason in the title, where none can be had. */
export function describeRealGuest(title: string, body: () => void): void {
  if (typeof qemu === 'string') describe.skip(`${title} (skipped: ${qemu})`, body);
  else describe(title, body);
}

/** The same tests once per port. */
export function describePerPort(title: string, body: (port: Port) => void): void {
  for (const port of ['vfio-user', 'vhost-user'] as const) {
    describeRealGuest(`${title}, over ${port}`, () => body(port));
  }
}

/** True in the guest while a virtio 9p device offers the tag. */
export function tagSeen(tag: string): string {
  return `cat /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag 2>/dev/null | tr '\\0' '\\n' | grep -qx '${tag}'`;
}

/** A daemon, a chassis and a running Linux on it, with a folder of the host to share from. */
export class Lab {
  readonly daemon: TestDaemon;
  readonly folder: string;
  private readonly port: Port;
  private running: LinuxGuest | undefined;

  private constructor(daemon: TestDaemon, folder: string, port: Port) {
    this.daemon = daemon;
    this.folder = folder;
    this.port = port;
  }

  static async start(port: Port, slots = 4): Promise<Lab> {
    const daemon = await TestDaemon.start();
    const lab = new Lab(daemon, await mkdtemp(join(tmpdir(), 'chassis-lab-')), port);
    await daemon.json('create', 'lab', '--slots', String(slots));
    return lab;
  }

  get guest(): LinuxGuest {
    if (this.running === undefined) throw new Error('no guest runs');
    return this.running;
  }

  /** Boots with the flags of `chassis args`, after `change` had its way with them. */
  async boot(
    kernel: KernelVersion,
    change = (args: string[]): string[] => args,
    extraFiles: readonly ExtraFile[] = [],
  ): Promise<LinuxGuest> {
    const { args } = await this.daemon.json<QemuArgs>('args', '--memory', '512');
    const machineArgs = change(args);
    this.running = await LinuxGuest.boot({ qemu: requireRealQemu(), kernel, machineArgs, extraFiles });
    return this.running;
  }

  /** A new folder of the host. */
  async directory(name: string): Promise<string> {
    const path = join(this.folder, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  async attach(...words: string[]): Promise<Mount[]> {
    return (await this.daemon.json<{ mounts: Mount[] }>('attach', ...words, '--port', this.port)).mounts;
  }

  /** Attaches a directory and mounts it at /mnt/TAG. */
  async mount(path: string, tag: string, ...words: string[]): Promise<void> {
    const [mount] = await this.attach(path, '--tag', tag, ...words);
    await this.mountInGuest(mount);
  }

  async mountInGuest(mount: Mount): Promise<void> {
    await this.guest.waitFor(tagSeen(mount.tag));
    // Linux shows a tag some milliseconds before it can be mounted.
    await this.guest.waitFor(`mkdir -p /mnt/${mount.tag} && ${mount.mountCommand}`);
  }

  async detach(...words: string[]): Promise<void> {
    await this.daemon.json('detach', ...words);
  }

  async show(): Promise<Chassis> {
    return this.daemon.json<Chassis>('show');
  }

  /** Runs a script in the guest, which has to succeed, and answers what it printed. */
  async sh(script: string, options?: ShellOptions): Promise<string> {
    return (await this.guest.ok(`set -e\n${script}`, { timeoutMs: 120_000, ...options })).stdout.trimEnd();
  }

  async stop(): Promise<void> {
    await this.running?.shutdown();
    await this.daemon.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
