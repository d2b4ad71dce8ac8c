import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { BaseCommand } from '../support/base-command.js';

const DAEMON = fileURLToPath(new URL('../../manager/main.js', import.meta.url));

export default class Serve extends BaseCommand {
  static override summary = 'Run the daemon in the foreground until it is interrupted.';
  static override description =
    'The daemon keeps the chassis of one user. Its control socket is private to that user. On SIGINT or SIGTERM it ends ' +
    'its device processes and removes its sockets; VMs go on without the devices. With --json it says that it is ready in one line of JSON.';
  static override examples = [
    '<%= config.bin %> serve',
    '<%= config.bin %> serve --dir /run/my-chassis',
    '<%= config.bin %> serve --json',
  ];

  async run(): Promise<void> {
    const json = this.jsonEnabled() ? ['--json'] : [];
    const daemon = execa(process.execPath, [DAEMON, '--dir', await this.stateDirectory(), ...json], {
      stdio: 'inherit',
      reject: false,
    });
    // A terminal's Ctrl-C reaches both processes; a supervisor's SIGTERM reaches only this one.
    const passOn = (signal: NodeJS.Signals): void => void daemon.kill(signal);
    process.on('SIGINT', () => undefined);
    process.on('SIGTERM', passOn);
    process.on('SIGHUP', passOn);
    const { exitCode } = await daemon;
    process.exitCode = exitCode ?? 1;
  }

  /** The daemon has printed its one line already. */
  override logJson(): void {
    return;
  }
}
