import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DiskProgram } from '../../../testbed/disk-tools.js';
import type { DiskLab } from './disk-lab.js';

const START_TIMEOUT_MS = 20_000;
const LOOK_MS = 20;

/** Somebody else's NBD server, on a unix socket. */
export class NbdProcess {
  /** As `chassis disk add` takes it. */
  readonly source: string;
  private readonly start: () => ReturnType<DiskLab['onHost']>;
  private readonly socketPath: string;
  private process: ReturnType<DiskLab['onHost']>;

  private constructor(disks: DiskLab, program: DiskProgram, words: (socketPath: string) => string[]) {
    this.socketPath = disks.path(`${program}.sock`);
    this.source = `nbd+unix:///?socket=${this.socketPath}`;
    this.start = () => disks.onHost(program, ...words(this.socketPath));
    this.process = this.start();
  }

  /** A file's bytes as they are. */
  static nbdkit(disks: DiskLab, path: string): Promise<NbdProcess> {
    return NbdProcess.nbdkitWith(disks, path, [], []);
  }

  /** The same, on a medium that fails while there is a file `failing`. */
  static nbdkitFailing(disks: DiskLab, path: string, failing: string): Promise<NbdProcess> {
    const filter = ['--filter', disks.nbdkitModule('filter', 'error')];
    return NbdProcess.nbdkitWith(disks, path, filter, ['error-rate=100%', `error-file=${failing}`]);
  }

  private static nbdkitWith(
    disks: DiskLab,
    path: string,
    filter: readonly string[],
    parameters: readonly string[],
  ): Promise<NbdProcess> {
    const words = (socketPath: string) => [
      ...['--foreground', '--unix', socketPath, ...filter],
      ...[disks.nbdkitModule('plugin', 'file'), path, ...parameters],
    ];
    return new NbdProcess(disks, 'nbdkit', words).listening();
  }

  static qemuNbd(disks: DiskLab, path: string, format: 'raw' | 'qcow2'): Promise<NbdProcess> {
    const words = (socketPath: string) => [
      ...['--persistent', '--shared=4', '--discard=unmap'],
      ...['--socket', socketPath, '--format', format, path],
    ];
    return new NbdProcess(disks, 'qemu-nbd', words).listening();
  }

  /** Kills it, and leaves its socket: nobody answers there. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.process;
  }

  /** Starts it over, at the same address. */
  async again(): Promise<void> {
    rmSync(this.socketPath, { force: true });
    this.process = this.start();
    await this.listening();
  }

  async stop(): Promise<void> {
    this.process.kill('SIGTERM');
    await this.process;
  }

  private async listening(): Promise<this> {
    for (
      let waitedMs = 0;
      waitedMs < START_TIMEOUT_MS && this.process.exitCode === null;
      waitedMs += LOOK_MS
    ) {
      if (existsSync(this.socketPath)) return this;
      await sleep(LOOK_MS);
    }
    this.process.kill();
    throw new Error(`an NBD server did not start: ${String((await this.process).stderr)}`);
  }
}
