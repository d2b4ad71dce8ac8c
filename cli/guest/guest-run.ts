/** Runs one command in a chassis's guest, with its streams. */
import type { ExecRequest, Signal } from '../../manager/control/api.js';
import { ChassisError, PIECE_MAX_BYTES } from '../../manager/control/api.js';
import type { ChassisClient } from '../../manager/control/client.js';

/** Where a guest is, as the daemon knows it. */
export interface GuestAddress {
  readonly client: ChassisClient;
  readonly chassis: string;
}

export interface GuestStreams {
  /** Without it, the command finds the end of its input at once. */
  readonly input?: AsyncIterable<Uint8Array>;
  /** Nothing further is asked for until it resolves. */
  readonly onStdout?: (bytes: Buffer) => void | Promise<void>;
  readonly onStderr?: (bytes: Buffer) => void | Promise<void>;
}

export class GuestRun {
  readonly #address: GuestAddress;
  readonly #request: Pick<ExecRequest, 'command'> & Partial<ExecRequest>;
  readonly #streams: GuestStreams;
  #command: number | undefined;
  #given = false;
  #inputFailure: Error | undefined;

  constructor(address: GuestAddress, request: GuestRun['request'], streams: GuestStreams = {}) {
    this.#address = address;
    this.#request = request;
    this.#streams = streams;
  }

  get request(): Pick<ExecRequest, 'command'> & Partial<ExecRequest> {
    return this.#request;
  }

  /**
   * Resolves with the command's exit code; undefined once it was given up.
   * @throws ChassisError COMMANDS_OFF, COMMAND_LOST and others of the route, or what the input or a callback failed with: the command is ended then
   */
  async finished(): Promise<number | undefined> {
    const { client, chassis } = this.#address;
    for await (const { command, stdout, stderr, exitCode } of client.exec(chassis, this.#request)) {
      if (command !== undefined) this.#started(command);
      if (stdout !== undefined) await this.#streams.onStdout?.(Buffer.from(stdout, 'base64'));
      if (stderr !== undefined) await this.#streams.onStderr?.(Buffer.from(stderr, 'base64'));
      if (this.#inputFailure) throw this.#inputFailure;
      if (exitCode !== undefined) return exitCode;
      if (this.#given) return undefined;
    }
    throw new ChassisError('INTERNAL', 'the daemon did not say how the command ended');
  }

  /** To all processes of the command. False where it has not begun, or has ended. */
  async signal(signal: Signal): Promise<boolean> {
    const { client, chassis } = this.#address;
    if (this.#command === undefined) return false;
    try {
      await client.execSignal(chassis, this.#command, signal);
      return true;
    } catch (error) {
      if (error instanceof ChassisError && error.code === 'NO_COMMAND') return false;
      throw error;
    }
  }

  /** Has it ended in the guest, and waits for that no longer. */
  giveUp(): void {
    this.#given = true;
  }

  #started(command: number): void {
    this.#command = command;
    this.#feed(command).catch((error: unknown) => {
      // That the command took no more is not for us to complain about.
      if (error instanceof ChassisError && error.code === 'NO_COMMAND') return;
      this.#inputFailure ??= error instanceof Error ? error : new Error(String(error));
    });
  }

  async #feed(command: number): Promise<void> {
    const { client, chassis } = this.#address;
    for await (const bytes of this.#streams.input ?? [])
      for (let at = 0; at < bytes.length; at += PIECE_MAX_BYTES) {
        const piece = Buffer.from(bytes.subarray(at, at + PIECE_MAX_BYTES));
        await client.execInput(chassis, command, { data: piece.toString('base64') });
      }
    await client.execInput(chassis, command, { end: true });
  }
}

/** What a short command prints, up to 64 KiB of each, as text. */
export async function outputOf(
  address: GuestAddress,
  command: readonly string[],
  user?: string,
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const printed = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const take = (pieces: Buffer[]) => (bytes: Buffer) => {
    const held = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (held < OUTPUT_MAX_BYTES) pieces.push(bytes.subarray(0, OUTPUT_MAX_BYTES - held));
  };
  const streams = { onStdout: take(printed.stdout), onStderr: take(printed.stderr) };
  const request = { command: [...command], ...(user !== undefined && { user }) };
  const exitCode = (await new GuestRun(address, request, streams).finished()) ?? 1;
  const text = (pieces: Buffer[]) => Buffer.concat(pieces).toString('utf8');
  return { exitCode, stdout: text(printed.stdout), stderr: text(printed.stderr) };
}

const OUTPUT_MAX_BYTES = 64 * 1024;
