import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa, type ResultPromise } from 'execa';
import type { Diod } from './diod.js';
import { TestbedError } from './errors.js';

const START_TIMEOUT_MS = 20_000;
const LOOK_MS = 20;

/** A diod that serves one directory, without authentication, on a unix socket. */
export class DiodServer {
  readonly pid: number;
  private readonly process: ResultPromise;

  private constructor(process: ResultPromise, pid: number) {
    this.process = process;
    this.pid = pid;
  }

  /** @throws TestbedError where it does not start */
  static async start({ server }: Diod, directory: string, socketPath: string): Promise<DiodServer> {
    const [file, ...prefix] = server;
    const options = ['--foreground', '--no-auth', '--config-file', '/dev/null', '--logdest', 'stderr'];
    const line = [...prefix, ...options, '--export', directory, '--listen', socketPath];
    const process = execa(file, line, { reject: false, stdin: 'ignore', forceKillAfterDelay: 5000 });
    for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS && process.exitCode === null; waitedMs += LOOK_MS) {
      if (existsSync(socketPath) && process.pid !== undefined) return new DiodServer(process, process.pid);
      await sleep(LOOK_MS);
    }
    process.kill();
    throw new TestbedError('QEMU_UNUSABLE', `diod did not start: ${String((await process).stderr)}`);
  }

  async stop(): Promise<void> {
    this.process.kill('SIGTERM');
    await this.process;
  }
}
