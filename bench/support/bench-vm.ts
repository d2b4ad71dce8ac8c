import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';
import { ChassisClient } from '../../manager/control/client.js';

const CHASSIS = fileURLToPath(new URL('../../../bin/chassis.js', import.meta.url));
const GUEST_SOURCES = fileURLToPath(new URL('../../../bench/guest/', import.meta.url));

/** Programs that measure inside the guest. */
export type GuestProgram = 'fsbench' | 'blkbench' | 'netbench';

/** A folder, a daemon and a chassis for one measurement; gone when it is closed. */
export class Bench {
  readonly folder: string;
  /** Asks the daemon without the start of a command. */
  readonly client: ChassisClient;
  private readonly daemon: ResultPromise;

  private constructor(folder: string, daemon: ResultPromise) {
    this.folder = folder;
    this.client = new ChassisClient({ directory: join(folder, 'state') });
    this.daemon = daemon;
  }

  static async start(): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), 'chassis-bench-'));
    const daemon = execa(process.execPath, [CHASSIS, 'serve', '--dir', join(folder, 'state')], {
      reject: false,
      stdin: 'ignore',
      forceKillAfterDelay: 10_000,
    });
    await daemon.stdout[Symbol.asyncIterator]().next();
    const bench = new Bench(folder, daemon);
    await bench.chassis('create', 'bench', '--slots', '4');
    return bench;
  }

  async directory(name: string): Promise<string> {
    const path = join(this.folder, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  /** Runs `chassis … --json`; throws where it fails. */
  async chassis<T>(...words: string[]): Promise<T> {
    const line = [CHASSIS, ...words, '--dir', join(this.folder, 'state'), '--json'];
    const { stdout } = await execa(process.execPath, line, { stdin: 'ignore' });
    return JSON.parse(stdout) as T;
  }

  async close(): Promise<void> {
    this.daemon.kill('SIGTERM');
    await this.daemon;
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Compiles a program that measures inside the guest, as a static binary. */
  async guestProgram(name: GuestProgram): Promise<string> {
    const binary = join(this.folder, name);
    try {
      await execa('cc', ['-O2', '-static', '-o', binary, join(GUEST_SOURCES, `${name}.c`)]);
    } catch (error) {
      throw new Error('this benchmark needs a C compiler (Debian: gcc libc6-dev)', { cause: error });
    }
    return binary;
  }
}
