/** The commands that run in the guest of a tree, or are to. */
import type { Failure } from '../../../../errno.js';
import type { FsNode, OpenFile } from '../../file-system.js';
import { commandScript, type CommandRequest } from './command-script.js';
import { GuestCommand, type CommandPatience } from './guest-command.js';
import { RequestQueue } from './request-queue.js';

/** Each may have three requests of the guest waiting, of the places that a device has for those of all. */
export const COMMANDS_MAX = 16;

export class CommandError extends Error {
  /** `off`: the guest runs no commands. `full`: COMMANDS_MAX of them run. `illegal`: the request cannot be. */
  readonly code: 'off' | 'full' | 'illegal';

  constructor(code: CommandError['code'], message: string) {
    super(message);
    this.name = 'CommandError';
    this.code = code;
  }
}

export class GuestCommands {
  readonly #requests = new RequestQueue();
  readonly #patience: Partial<CommandPatience>;
  /** Those whose directories are there. */
  readonly byId = new Map<number, GuestCommand>();
  #lastId = 0;

  constructor(patience: Partial<CommandPatience> = {}) {
    this.#patience = patience;
  }

  /** Numbers commands from there on: those up to it may be known in the guest. */
  numberAfter(lastId: number): void {
    this.#lastId = lastId;
  }

  /** A helper in the guest waits for commands. */
  get isEnabled(): boolean {
    return this.#requests.hasReader;
  }

  /** @throws CommandError */
  start(request: CommandRequest): GuestCommand {
    if (!this.isEnabled) throw new CommandError('off', 'the guest does not run commands');
    if (this.byId.size >= COMMANDS_MAX)
      throw new CommandError('full', `the guest runs ${COMMANDS_MAX} commands already`);
    const id = ++this.#lastId;
    const command = new GuestCommand({
      id,
      script: scriptOf(request),
      sendSignal: (pid, signal) => this.#requests.add(`signal ${pid} ${signal}\n`),
      onEnd: () => this.byId.delete(id),
      patience: this.#patience,
    });
    this.byId.set(id, command);
    this.#requests.add(`run ${id}\n`);
    return command;
  }

  /** A helper that comes is told what the one before it has left. */
  openRequests(node: FsNode, details?: Uint8Array): OpenFile | Failure {
    const file = this.#requests.open(node, details);
    if (typeof file === 'number') return file;
    for (const { id, isTaken } of this.byId.values()) if (!isTaken) this.#requests.add(`run ${id}\n`);
    return file;
  }

  /** All of them are over, whatever they do in the guest. */
  close(): void {
    for (const command of [...this.byId.values()]) command.abandon();
    this.#requests.end();
  }
}

/** @throws CommandError illegal */
function scriptOf(request: CommandRequest): Uint8Array {
  try {
    return commandScript(request);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CommandError('illegal', error.message);
  }
}
