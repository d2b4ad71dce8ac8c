import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';

export const CHASSIS = fileURLToPath(new URL('../../bin/chassis.js', import.meta.url));

export interface CliResult {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
}

/** A daemon of the test's own, run as a user would, in a directory of its own; and the command line against it. */
export class TestDaemon {
  readonly directory: string;
  private process: ResultPromise;

  private constructor(directory: string, process: ResultPromise) {
    this.directory = directory;
    this.process = process;
  }

  static async start(): Promise<TestDaemon> {
    const directory = await mkdtemp(join(tmpdir(), 'chassis-test-'));
    return new TestDaemon(directory, (await serve(directory)).process);
  }

  /** Kills the daemon, and it alone, and starts the next. Answers once that serves. */
  async restart(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.process;
    this.process = (await serve(this.directory)).process;
  }

  /** Runs `chassis ARGUMENTS --dir …`. */
  async cli(...words: string[]): Promise<CliResult> {
    const split = words.indexOf('--');
    const at = split < 0 ? words.length : split;
    const line = [CHASSIS, ...words.slice(0, at), '--dir', this.directory, ...words.slice(at)];
    const { exitCode, stdout, stderr } = await execa(process.execPath, line, {
      reject: false,
      stdin: 'ignore',
    });
    return { exitCode, stdout, stderr };
  }

  /** The same with `--json`: what it printed, parsed; throws where it failed. */
  async json<T>(...words: string[]): Promise<T> {
    const { exitCode, stdout, stderr } = await this.cli(...words, '--json');
    if (exitCode !== 0) throw new Error(`chassis ${words.join(' ')}: exit ${exitCode}: ${stdout}${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** The error that the command fails with, as `--json` shows it, and its exit code. */
  async failure(
    ...words: string[]
  ): Promise<{ code: string; message: string; suggestion?: string; exitCode?: number }> {
    const { exitCode, stdout } = await this.cli(...words, '--json');
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; suggestion?: string } };
    return { ...error, exitCode };
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Ends the daemon as Ctrl-C would, with all its chassis, and removes its directory. Answers its exit code. */
  async stop(): Promise<number | undefined> {
    this.process.kill('SIGTERM');
    const { exitCode } = await this.process;
    await rm(this.directory, { recursive: true, force: true });
    return exitCode;
  }
}

/** Answers once it serves. In an object: the process itself is awaited until it ends. */
async function serve(directory: string): Promise<{ process: ResultPromise }> {
  const daemon = execa(process.execPath, [CHASSIS, 'serve', '--end', '--dir', directory], {
    reject: false,
    stdin: 'ignore',
    forceKillAfterDelay: 10_000,
  });
  const ready = await Promise.race([daemon.stdout[Symbol.asyncIterator]().next(), daemon]);
  if ('exitCode' in ready) throw new Error(`the daemon did not start: ${String(ready.stderr)}`);
  return { process: daemon };
}
