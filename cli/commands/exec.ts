import { Flags } from '@oclif/core';
import type { Signal } from '../../manager/control/api.js';
import { ChassisError } from '../../manager/control/api.js';
import { GuestRun } from '../guest/guest-run.js';
import { writeFully } from '../guest/write-fully.js';
import { afterDashes } from '../support/after-dashes.js';
import { BaseCommand } from '../support/base-command.js';

/** What the command's end is when it is none of its own: docker's, and timeout(1)'s. */
const OWN_FAILURE = 125;
const TIMED_OUT = 124;
/** Between asking a command to end and no longer waiting for that. */
const GRACE_MS = 5000;
/** A shell starts what runs beside it deaf to SIGINT, so that arrives as SIGTERM. */
const FORWARDED = { SIGINT: 'TERM', SIGTERM: 'TERM', SIGHUP: 'HUP' } as const;

export default class Exec extends BaseCommand {
  static override strict = false;
  static override usage = 'exec [--chassis C] [--env K=V] [--cwd D] [--user U] [--timeout S] -- CMD ...';
  static override summary = 'Run a command in the guest, where its helper was started with --exec.';
  static override description =
    "Standard input, output and error are the command's. The exit code is its own, 128 and the signal's number where a signal ended " +
    'it, 124 after --timeout, and 125 where chassis itself failed. Ctrl-C and SIGTERM reach it as SIGTERM, a second one as SIGKILL. With --json ' +
    'what it prints goes to standard error, and its exit code to standard output.';
  static override examples = [
    '<%= config.bin %> exec -- uname -a',
    '<%= config.bin %> exec --cwd /work --env CI=1 -- sh -c "npm ci && npm test"',
    '<%= config.bin %> exec --user www-data -- psql < dump.sql',
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    env: Flags.string({
      char: 'e',
      description: "Sets a variable: K=V, or K for this command's own value",
      multiple: true,
    }),
    cwd: Flags.string({ char: 'w', description: 'The directory to run it in', default: '/' }),
    user: Flags.string({ char: 'u', description: 'A user of the guest [default: root]' }),
    timeout: Flags.integer({ description: 'Seconds after which it is ended', min: 1, max: 86_400 }),
  };

  protected override failureCode = OWN_FAILURE;
  private running: GuestRun | undefined;
  private asked = 0;
  private timedOut = false;

  async run(): Promise<{ exitCode: number }> {
    const { argv, flags } = await this.parse(Exec);
    const command = afterDashes(this.argv);
    if (argv.length > command.length)
      throw new ChassisError('BAD_REQUEST', `the command comes after --, not ${String(argv[0])}`);
    if (command.length === 0)
      throw new ChassisError('BAD_REQUEST', 'no command is given', 'write it after --');
    const address = { client: await this.client(), chassis: await this.chassisName(flags.chassis) };
    const { cwd, user } = flags;
    const request = { command, env: variables(flags.env ?? []), cwd, ...(user !== undefined && { user }) };
    const out = this.jsonEnabled() ? process.stderr : process.stdout;
    const run = new GuestRun(address, request, {
      input: process.stdin,
      onStdout: (bytes) => writeFully(out, bytes),
      onStderr: (bytes) => writeFully(process.stderr, bytes),
    });
    this.running = run;
    const exitCode = await this.withSignals(flags.timeout, run);
    process.exitCode = exitCode;
    return { exitCode };
  }

  private async withSignals(timeoutSeconds: number | undefined, run: GuestRun): Promise<number> {
    const listeners = Object.entries(FORWARDED).map(([name, signal]) => {
      const listener = () => this.end(signal);
      process.on(name, listener);
      return () => process.off(name, listener);
    });
    const timer =
      timeoutSeconds === undefined
        ? undefined
        : setTimeout(() => {
            this.timedOut = true;
            this.end('TERM');
          }, timeoutSeconds * 1000);
    try {
      const exitCode = await run.finished();
      return this.timedOut ? TIMED_OUT : (exitCode ?? 128 + 15);
    } finally {
      clearTimeout(timer);
      for (const remove of listeners) remove();
      // A terminal, or a pipe that nobody closes, would keep this program from ending.
      process.stdin.destroy();
    }
  }

  /** The first time as asked, then by force. Who asks by hand may wait as long as he likes; a timeout does not. */
  private end(signal: Signal): void {
    const { running: run } = this;
    if (!run) return;
    const isForced = this.asked++ > 0;
    void run.signal(isForced ? 'KILL' : signal).then(
      (was) => was || run.giveUp(),
      () => run.giveUp(),
    );
    if (isForced) setTimeout(() => run.giveUp(), GRACE_MS).unref();
    else if (this.timedOut) setTimeout(() => this.end('KILL'), GRACE_MS).unref();
  }
}

/** @throws ChassisError BAD_REQUEST */
function variables(given: readonly string[]): Record<string, string> {
  const entries = given.map((text): [string, string] => {
    const at = text.indexOf('=');
    if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
    const value = process.env[text];
    if (at < 0 && value !== undefined) return [text, value];
    throw new ChassisError('BAD_REQUEST', `--env ${text} is no variable`, 'write it as NAME=VALUE');
  });
  return Object.fromEntries(entries);
}
