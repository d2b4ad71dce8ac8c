/** Commands in a chassis's guest: they go by its mount tree. Outside the queue, for each lasts as long as it likes. */
import type { ChassisModel } from './chassis/chassis.js';
import { ChassisError, type ExecInput, type ExecPage, type ExecRequest, type Signal } from './control/api.js';
import type { DeviceFunctions } from './device-functions.js';
import { functionName } from './function-name.js';

export interface CommandsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
}

export class Commands {
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** Whoever returns from it early ends the command. @throws ChassisError COMMANDS_OFF, CHASSIS_IN_USE, BAD_REQUEST, COMMAND_LOST, GUEST_TIMEOUT */
  async *exec(request: ExecRequest): AsyncGenerator<ExecPage> {
    const { model, devices } = this.#options;
    if (!model.tree)
      throw new ChassisError(
        'COMMANDS_OFF',
        'the guest has no mount tree, by which commands go to it',
        'attach a directory with --via tree, and run the helper in the guest: chassis guest-setup --exec',
      );
    const host = devices.requireRunning();
    const command = await host.startCommand({ function: functionName(model.tree), ...request });
    try {
      yield { command };
      for (;;) {
        const page = await host.commandOutput(command);
        yield page;
        if (page.exitCode !== undefined) return;
      }
    } finally {
      await host.endCommand(command).catch(() => undefined);
    }
  }

  /** Resolves once there was room for it. @throws ChassisError NO_COMMAND */
  async input(command: number, input: ExecInput): Promise<void> {
    while (!(await this.#options.devices.requireRunning().commandInput({ command, ...input })));
  }

  /** @throws ChassisError NO_COMMAND */
  async signal(command: number, signal: Signal): Promise<void> {
    await this.#options.devices.requireRunning().signalCommand({ command, signal });
  }
}
