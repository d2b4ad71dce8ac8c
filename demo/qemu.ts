import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { table } from '../cli/support/mounts-text.js';
import type { Mount, QemuArgs } from '../manager/control/api.js';
import { LinuxGuest } from '../testbed/guest.js';
import type { Progress } from '../testbed/progress.js';
import { findQemu, type QemuBinary } from '../testbed/qemu.js';
import type { Cleanup } from './cleanup.js';
import { formatDuration, type Narration } from './narration.js';

const CHASSIS = fileURLToPath(new URL('../../bin/chassis.js', import.meta.url));
const MEMORY_MIB = 512;

/** A command's answer, with how long the person who typed it waited. */
interface Answer<T> {
  readonly value: T;
  readonly durationMs: number;
}

/** The whole path with a real Linux in QEMU: daemon, chassis, guest, three mounts, one taken away again. */
export async function demoQemu(narration: Narration, cleanup: Cleanup, signal: AbortSignal): Promise<void> {
  const qemu = await findQemu(showProgress(narration), signal);
  narration.endProgress();
  await new Demo(narration, cleanup, signal, qemu).run();
}

function showProgress(narration: Narration): (progress: Progress) => void {
  let last = '';
  return ({ step, percent, detail }) => {
    const text = [step, percent !== undefined && `${Math.round(percent)} %`, detail]
      .filter(Boolean)
      .join(', ');
    if (text !== last) narration.progress(text);
    last = text;
  };
}

class Demo {
  private readonly narration: Narration;
  private readonly cleanup: Cleanup;
  private readonly signal: AbortSignal;
  private readonly qemu: QemuBinary;
  private root = '';

  constructor(narration: Narration, cleanup: Cleanup, signal: AbortSignal, qemu: QemuBinary) {
    this.narration = narration;
    this.cleanup = cleanup;
    this.signal = signal;
    this.qemu = qemu;
  }

  async run(): Promise<void> {
    this.root = await mkdtemp(join(tmpdir(), 'chassis-demo-'));
    this.cleanup.add('the demo directory', () => rm(this.root, { recursive: true, force: true }));
    const guest = await this.boot();
    await this.attachAll(guest);
    await this.use(guest);
    await this.takeOneAway(guest);
    await this.report();
  }

  private async boot(): Promise<LinuxGuest> {
    const { narration } = this;
    narration.heading(
      `A real Linux guest in QEMU ${this.qemu.version.join('.')} (emulated: no KVM is needed)`,
    );
    await narration.step('start the daemon: chassis serve', () => this.startDaemon());
    await narration.step('chassis create demo', () => this.chassis('create', 'demo', '--slots', '4'));
    const { value } = await this.chassis<QemuArgs>('args', '--memory', String(MEMORY_MIB));
    return narration.step(
      'boot Linux with the flags of: chassis args',
      async () => {
        const onProgress = showProgress(narration);
        const { qemu, signal } = this;
        const guest = await LinuxGuest.boot({ qemu, machineArgs: value.args, onProgress, signal });
        this.cleanup.add('the guest', () => guest.shutdown());
        narration.endProgress();
        return guest;
      },
      (guest) => `Linux ${guest.release}`,
    );
  }

  private async attachAll(guest: LinuxGuest): Promise<void> {
    const { narration, root } = this;
    for (const name of ['src', 'data']) {
      await mkdir(join(root, name));
      await writeFile(join(root, name, 'hello.txt'), `${name}: written on the host\n`);
    }
    narration.heading('Plug two directories and an in-memory file system into the running guest');
    await this.attach(guest, join(root, 'src'), 'src');
    await this.attach(guest, join(root, 'data'), 'data');
    await this.attach(guest, 'mem:', 'scratch');
  }

  private async attach(guest: LinuxGuest, source: string, tag: string): Promise<void> {
    const started = performance.now();
    const { value, durationMs } = await this.chassis<{ mounts: Mount[] }>('attach', source, '--tag', tag);
    await guest.waitFor(tagSeen(tag), 10_000, this.signal);
    const seenMs = performance.now() - started;
    const [mount] = value.mounts;
    this.narration.say(
      `  ✓ chassis attach ${source.replace(this.root, '…')} --tag ${tag}: slot ${mount.slot}, function ${mount.function}; ` +
        `the command took ${formatDuration(durationMs)}, the guest had it after ${formatDuration(seenMs)}`,
    );
    await this.inGuest(guest, `mkdir -p /mnt/${tag} && ${mount.mountCommand}`);
  }

  private async use(guest: LinuxGuest): Promise<void> {
    const { narration, root } = this;
    narration.heading('The guest lists, reads, writes and renames');
    await narration.step('ls and cat in the guest', () =>
      this.inGuest(guest, 'cd /mnt && ls */hello.txt && cat src/hello.txt'),
    );
    await this.inGuest(
      guest,
      'cd /mnt/data && echo written in the guest > draft && mv draft from-the-guest.txt',
    );
    await narration.step(
      'the host sees the file that the guest wrote and renamed',
      () => readFile(join(root, 'data', 'from-the-guest.txt'), 'utf8'),
      (text) => JSON.stringify(text.trimEnd()),
    );
    await narration.step(
      'a file in memory, written and read back in the guest',
      () => this.inGuest(guest, 'cd /mnt/scratch && echo never on a disk > note && mv note kept && cat kept'),
      (text) => JSON.stringify(text),
    );
  }

  private async takeOneAway(guest: LinuxGuest): Promise<void> {
    const { narration, root } = this;
    narration.heading('Pull one out; the others go on');
    await narration.step('umount /mnt/src in the guest', () => this.inGuest(guest, 'umount /mnt/src'));
    await narration.step('chassis detach src', () => this.chassis('detach', 'src'));
    await narration.step('"src" is gone in the guest', () =>
      guest.waitFor(`! { ${tagSeen('src')}; }`, 10_000, this.signal),
    );
    await narration.step(
      '"data" and "scratch" still work',
      async () => {
        await writeFile(join(root, 'data', 'later.txt'), 'written after the detach');
        return this.inGuest(guest, 'cat /mnt/data/later.txt /mnt/scratch/kept');
      },
      JSON.stringify,
    );
  }

  private async report(): Promise<void> {
    const { value } = await this.chassis<{ mounts: Mount[] }>('mounts');
    this.narration.heading('What crossed each function');
    const rows = value.mounts.map(({ tag, slot, function: fn, counters }) => [
      tag,
      `${slot}.${fn}`,
      ...[
        counters?.requests,
        counters?.kicks,
        counters?.interrupts,
        counters?.bytesRead,
        counters?.bytesWritten,
      ].map(String),
    ]);
    const headings = ['TAG', 'SLOT', 'REQUESTS', 'KICKS', 'INTERRUPTS', 'BYTES READ', 'BYTES WRITTEN'];
    this.narration.say(table(headings, rows).replaceAll(/^/gm, '  '));
  }

  private async startDaemon(): Promise<void> {
    const daemon = execa(process.execPath, [CHASSIS, 'serve', '--end', '--dir', this.root], {
      reject: false,
      stdin: 'ignore',
      detached: true,
      forceKillAfterDelay: 10_000,
    });
    this.cleanup.add('the daemon', async () => {
      daemon.kill('SIGTERM');
      await daemon;
    });
    const first = await Promise.race([daemon.stdout[Symbol.asyncIterator]().next(), daemon]);
    if ('exitCode' in first) throw new Error(`the daemon did not start: ${first.stderr}`);
  }

  /** Runs `chassis … --json` as a user would. */
  private async chassis<T>(...words: string[]): Promise<Answer<T>> {
    const started = performance.now();
    const line = [CHASSIS, ...words, '--dir', this.root, '--json'];
    const { stdout, stderr, exitCode } = await execa(process.execPath, line, {
      reject: false,
      stdin: 'ignore',
    });
    if (exitCode !== 0) throw new Error(`chassis ${words.join(' ')}: ${stdout}${stderr}`);
    return { value: JSON.parse(stdout) as T, durationMs: performance.now() - started };
  }

  private async inGuest(guest: LinuxGuest, script: string): Promise<string> {
    const { stdout } = await guest.ok(script, { signal: this.signal });
    return stdout.trimEnd().replaceAll('\n', ' | ');
  }
}

/** True in the guest while a device offers the tag. */
function tagSeen(tag: string): string {
  return `cat /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag 2>/dev/null | tr '\\0' '\\n' | grep -qx '${tag}'`;
}
