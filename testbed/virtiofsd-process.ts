import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { TestbedError } from './errors.js';
import { findVirtiofsd } from './virtiofsd.js';

/** What of virtiofsd's `--cache` promises a guest about as much as a 9p mount's `cache=` does. */
const CACHE_POLICIES: Record<string, string> = { none: 'never', mmap: 'auto', loose: 'always' };
const READY = 'Waiting for vhost-user socket connection';

/** A virtiofsd that shares one directory. It ends by itself once its VM has ended. */
export class VirtiofsdProcess {
  readonly version: string;
  readonly cachePolicy: string;
  private readonly socketPath: string;
  private readonly process: ResultPromise;

  private constructor(version: string, cachePolicy: string, socketPath: string, process: ResultPromise) {
    this.version = version;
    this.cachePolicy = cachePolicy;
    this.socketPath = socketPath;
    this.process = process;
  }

  /**
   * Starts it as this user, without a sandbox: that takes no root, and the other sides have none either.
   * @param folder for its socket.
   * @param cache the 9p mounts' cache= option.
   * @param further options of its own.
   * @throws TestbedError where it cannot be had or does not start
   */
  static async start(
    folder: string,
    sharedDirectory: string,
    cache: string,
    further: readonly string[] = [],
  ): Promise<VirtiofsdProcess> {
    const { command, version } = await findVirtiofsd();
    const socketPath = join(folder, 'virtiofsd.sock');
    const cachePolicy = CACHE_POLICIES[cache] ?? 'auto';
    const [file, ...prefix] = command;
    const options = ['--socket-path', socketPath, '--shared-dir', sharedDirectory, ...further];
    const process = execa(file, [...prefix, ...options, '--cache', cachePolicy, '--sandbox', 'none'], {
      reject: false,
      stdin: 'ignore',
      forceKillAfterDelay: 5000,
    });
    // Read until its end, also once it is ready: it does not outlive a complaint that it cannot write.
    const lines = createInterface({ input: process.stderr });
    const ready = await new Promise<boolean>((resolve) => {
      lines.on('line', (line) => line.includes(READY) && resolve(true));
      lines.on('close', () => resolve(false));
    });
    if (ready) return new VirtiofsdProcess(version, cachePolicy, socketPath, process);
    const { stderr } = await process;
    throw new TestbedError('QEMU_UNUSABLE', `virtiofsd did not start: ${String(stderr)}`);
  }

  /** For QEMU, whose memory must be shared. */
  qemuArguments(tag: string): string[] {
    return [
      ...['-chardev', `socket,id=virtiofsd,path=${this.socketPath.replaceAll(',', ',,')}`],
      ...['-device', `vhost-user-fs-pci,chardev=virtiofsd,tag=${tag}`],
    ];
  }

  /** Answers what it complained of. */
  async stop(): Promise<string> {
    this.process.kill('SIGTERM');
    const { stderr } = await this.process;
    return String(stderr);
  }
}
