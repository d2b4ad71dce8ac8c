import { Flags } from '@oclif/core';
import { BaseCommand } from '../support/base-command.js';

const DAEMON = new URL('../../manager/main.js', import.meta.url).href;

export default class Serve extends BaseCommand {
  static override summary = 'Run the daemon in the foreground until it is interrupted.';
  static override description =
    'The daemon keeps the chassis of one user. Its control socket is private to that user. On SIGINT or SIGTERM it ends, and nothing ' +
    'else does: chassis and their devices go on, guests do not notice, and the next daemon finds them. With --end it ends them, too; VMs go ' +
    'on without the devices then. With --web it shows the chassis on a page, too, on loopback alone: the address that it prints has a token in it, and ' +
    'whoever has that can do what this user can. With --json it says that it is ready in one line of JSON.';
  static override examples = [
    '<%= config.bin %> serve',
    '<%= config.bin %> serve --dir /run/my-chassis',
    '<%= config.bin %> serve --end',
    '<%= config.bin %> serve --web',
    '<%= config.bin %> serve --json',
    '<%= config.bin %> serve --log-format json --log-level debug',
  ];
  static override flags = {
    sandbox: Flags.string({
      description:
        'Whether device processes and switches are confined (bubblewrap): where it can be, always, or never',
      options: ['auto', 'require', 'off'],
      default: 'auto',
    }),
    'log-format': Flags.string({
      description:
        'What its log is written as, on standard error: lines for people, or a record in JSON a line',
      options: ['text', 'json'],
      default: 'text',
    }),
    'log-level': Flags.string({
      description: 'How grave what is logged has to be; debug logs requests and events, too',
      options: ['error', 'warn', 'info', 'debug'],
      default: 'info',
    }),
    end: Flags.boolean({ description: 'End all chassis with the daemon, when that is interrupted' }),
    web: Flags.boolean({ description: 'Show the chassis on a page, on loopback' }),
    'web-port': Flags.integer({
      min: 1,
      max: 65_535,
      dependsOn: ['web'],
      description: "The page's port; any that is free without it",
    }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Serve);
    const switches = [
      ...['--sandbox', flags.sandbox],
      ...['--log-format', flags['log-format'], '--log-level', flags['log-level']],
      ...(flags.end ? ['--end'] : []),
      ...(flags.web ? ['--web', String(flags['web-port'] ?? 0)] : []),
      ...(this.jsonEnabled() ? ['--json'] : []),
      '--within',
    ];
    // In this process, not in one of its own: whoever kills the command means the daemon, which would live on.
    process.argv = [process.execPath, DAEMON, '--dir', await this.stateDirectory(), ...switches];
    await ((await import(DAEMON)) as { started: Promise<void> }).started;
  }

  /** What was begun before it went wrong would keep this process from ending. */
  protected override async catch(error: Error): Promise<never> {
    await super.catch(error);
    process.exit();
  }

  /** The daemon has printed its one line already; errors are still to be. */
  override logJson(json: unknown): void {
    if (typeof json === 'object' && json !== null && 'error' in json) super.logJson(json);
  }
}
