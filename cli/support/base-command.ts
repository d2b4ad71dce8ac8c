import { resolve } from 'node:path';
import { Command, Flags, type Interfaces } from '@oclif/core';
import { ChassisError } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { defaultStateDirectory } from '../../manager/control/state-directory.js';
import { ExitCode, exitCodes } from './exit-codes.js';

/** What every command shares: the state directory, `--json`, the daemon's client, and errors that become exit codes. */
export abstract class BaseCommand extends Command {
  static override enableJsonFlag = true;
  static override baseFlags: Interfaces.FlagInput = {
    dir: Flags.directory({
      description: "The daemon's state directory [default: $CHASSIS_DIR or the user's run-time directory]",
      env: 'CHASSIS_DIR',
      helpGroup: 'GLOBAL',
    }),
  };

  /** The exit code of all that goes wrong, where a command's own codes are another program's. */
  protected failureCode: number | undefined;
  private connection: ChassisClient | undefined;

  /** The client of the daemon that `--dir` names. */
  protected async client(): Promise<ChassisClient> {
    this.connection ??= new ChassisClient({ directory: await this.stateDirectory() });
    return this.connection;
  }

  protected async stateDirectory(): Promise<string> {
    const { flags } = await this.parse(this.ctor);
    return resolve((flags as { dir?: string }).dir ?? defaultStateDirectory());
  }

  /** The chassis named, or the only one there is. */
  protected async chassisName(named: string | undefined): Promise<string> {
    if (named !== undefined) return named;
    const all = await (await this.client()).list();
    if (all.length === 1) return all[0].name;
    if (all.length === 0) {
      throw new ChassisError('NO_CHASSIS', 'there is no chassis yet', 'make one first: chassis create dev');
    }
    const names = all.map(({ name }) => name).join(', ');
    throw new ChassisError('BAD_REQUEST', `there are several chassis: ${names}`, 'name one with --chassis');
  }

  protected override async catch(
    error: Error & { exitCode?: number; oclif?: { exit?: number } },
  ): Promise<unknown> {
    if (error instanceof ChassisError) {
      const { message, suggestion, code } = error;
      const { details } = error as { details?: object };
      const exit = this.failureCode ?? exitCodes[code];
      const shown = Object.assign(new Error(message), {
        code,
        suggestions: suggestion === undefined ? undefined : [suggestion],
        details,
        // Where oclif looks with --json, and where it looks without.
        exitCode: exit,
        oclif: { exit },
      });
      shown.name = 'Error';
      return super.catch(shown);
    }
    // A mistyped command line. oclif looks here with --json.
    if (this.failureCode !== undefined && error.oclif?.exit !== 0) error.oclif = { exit: this.failureCode };
    error.exitCode ??= error.oclif?.exit;
    return super.catch(error);
  }

  /** With `--json`, an error is `{"error": {"code", "message", "suggestion"}}` on standard output, with what else some have to say. */
  protected override toErrorJson(error: unknown): unknown {
    const { message, suggestions, details } = error as {
      message: string;
      suggestions?: string[];
      details?: object;
    };
    // oclif has its way out in the message.
    const [text, hint] = message.split('\nSee more help with --help');
    const suggestion = hint === undefined ? suggestions?.[0] : `chassis ${this.id?.replace(':', ' ')} --help`;
    return { error: { code: this.codeOf(error), message: text, suggestion, ...details } };
  }

  /** One of a closed set, since scripts decide by it: what the system says is in the message. */
  private codeOf(error: unknown): string {
    const { code, oclif } = error as { code?: string; oclif?: { exit?: number } };
    if (code !== undefined && (Object.hasOwn(exitCodes, code) || code === 'INTERRUPTED')) return code;
    return oclif?.exit === ExitCode.USAGE ? 'USAGE' : 'INTERNAL';
  }
}
