/** The commands that run in the guests of a device process's trees, for the requests of its daemon. */
import type { GuestCommand, Outcome } from '../../devices/9p/fs/mount-tree/exec/guest-command.js';
import { CommandError, type GuestCommands } from '../../devices/9p/fs/mount-tree/exec/guest-commands.js';
import {
  ChassisError,
  PIECE_MAX_BYTES,
  type ErrorCode,
  type ExecInput,
  type ExecPage,
  type ExecRequest,
  type Signal,
} from '../control/api.js';

/** How long a page waits for the guest to print something, and a piece of input for room. */
const WAIT_MS = 500;

const ERRORS: Readonly<Record<CommandError['code'], readonly [code: ErrorCode, suggestion?: string]>> = {
  off: ['COMMANDS_OFF', 'run the helper there with --exec, see: chassis guest-setup --exec'],
  full: ['CHASSIS_IN_USE', 'wait until one of them ends'],
  illegal: ['BAD_REQUEST'],
};

export class ServedCommands {
  readonly #commands = new Map<number, GuestCommand>();
  #last = 0;

  /** Answers its number. @throws ChassisError COMMANDS_OFF, CHASSIS_IN_USE or BAD_REQUEST */
  start(guest: GuestCommands, request: ExecRequest): number {
    const number = ++this.#last;
    this.#commands.set(number, begin(guest, request));
    return number;
  }

  /** Resolves once there is something to tell, or after half a second. @throws ChassisError GUEST_TIMEOUT, COMMAND_LOST */
  async output(number: number): Promise<ExecPage> {
    const { stdout, stderr, outcome } = await this.#find(number).output(PIECE_MAX_BYTES, WAIT_MS);
    if (outcome) this.#commands.delete(number);
    return {
      ...(stdout.length > 0 && { stdout: Buffer.from(stdout).toString('base64') }),
      ...(stderr.length > 0 && { stderr: Buffer.from(stderr).toString('base64') }),
      ...(outcome && { exitCode: exitCodeOf(outcome) }),
    };
  }

  /** False where there was no room for it in half a second: it is to be sent again. @throws ChassisError NO_COMMAND */
  async input(number: number, { data, end }: ExecInput): Promise<boolean> {
    const command = this.#find(number);
    if (data !== undefined && !(await command.input(Buffer.from(data, 'base64'), WAIT_MS))) return false;
    if (end) command.endInput();
    return true;
  }

  /** @throws ChassisError NO_COMMAND, also where it has not begun yet */
  signal(number: number, signal: Signal): void {
    if (!this.#find(number).signal(signal)) throw gone();
  }

  /** Ends it, if it is there still. */
  end(number: number): void {
    this.#commands.get(number)?.end();
    this.#commands.delete(number);
  }

  endAll(): void {
    for (const number of [...this.#commands.keys()]) this.end(number);
  }

  /** Their streams are in this process. @throws ChassisError UPGRADE_REFUSED while there is one */
  refuseUnderWay(): void {
    if (this.#commands.size === 0) return;
    throw new ChassisError(
      'UPGRADE_REFUSED',
      'a command runs in the guest: chassis exec, cp, or a step of a provisioning',
      'wait for it to end, or end it',
    );
  }

  #find(number: number): GuestCommand {
    const command = this.#commands.get(number);
    if (!command) throw gone();
    return command;
  }
}

function begin(guest: GuestCommands, request: ExecRequest): GuestCommand {
  try {
    return guest.start(request);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const [code, suggestion] = ERRORS[error.code];
    throw new ChassisError(code, error.message, suggestion);
  }
}

function exitCodeOf(outcome: Outcome): number {
  if ('exitCode' in outcome) return outcome.exitCode;
  switch (outcome.failure) {
    case 'untaken':
      throw new ChassisError(
        'GUEST_TIMEOUT',
        'the guest did not begin with the command in time',
        'see whether it is stuck; its helper can be started again',
      );
    case 'lost':
      throw new ChassisError(
        'COMMAND_LOST',
        'the guest, or what ran the command in it, went away before the command had ended',
        'see whether the VM runs: chassis show',
      );
    case 'gone':
      throw new ChassisError('COMMAND_LOST', 'the mount tree was taken from the guest meanwhile');
  }
}

function gone(): ChassisError {
  return new ChassisError('NO_COMMAND', 'the command has ended, or has not begun');
}
