/** One call of the backend: the commands that it takes, one after the other, each on whatever connection there is then. */
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import type { BlockCompletion } from '../block-backend.js';
import { NbdCall, type CallOwner } from './nbd-call.js';
import { CONNECTION_LOST, type NbdConnection } from './nbd-connection.js';
import { NBD_ESHUTDOWN, NbdCommand } from './protocol.js';

/** Zeroes that are sent as data go out in pieces of this many bytes. */
const ZERO_PIECE_BYTES = 256 * 1024;
/** Trims and zeroes have no payload, but a server works on each for a while. */
const MAX_RANGE_PIECE_BYTES = 64 * 2 ** 20;
const NOTHING = new IoVector();
const NOBODY: BlockCompletion = { complete: () => {} };

const zeroes = new IoVector();
zeroes.push(new Uint8Array(ZERO_PIECE_BYTES), 0, ZERO_PIECE_BYTES, 0);

export const NbdOperationKind = { read: 0, write: 1, zeroes: 2, trim: 3, flush: 4 } as const;
export type NbdOperationKind = (typeof NbdOperationKind)[keyof typeof NbdOperationKind];

/** What an operation needs of the backend. */
export interface NbdService {
  /** Sends the operation's next command on a connection, as soon as there is one. */
  submit(operation: NbdOperation): void;
  /** A part of a write or of zeroes is acknowledged: keeps it until it is on the medium. False where that cannot be. */
  keep(operation: NbdOperation, offsetBytes: number, lengthBytes: number): boolean;
  /** A flush that was sent when the log had this sequence number has succeeded. */
  flushed(sequence: number): void;
  readonly sequence: number;
  /** So often a command is sent while connections break under it. */
  readonly maxAttempts: number;
  /** Whether the server has a flush. One that has none says that what it acknowledges is safe. */
  readonly canFlush: boolean;
  ended(operation: NbdOperation, result: number): void;
}

export class NbdOperation implements CallOwner {
  kind: NbdOperationKind = NbdOperationKind.read;
  completion: BlockCompletion = NOBODY;
  vector = NOTHING;
  /** Bytes that have been moved, zeroed or trimmed. */
  doneBytes = 0;
  readonly #service: NbdService;
  readonly #call = new NbdCall(this);
  #connection: NbdConnection | undefined;
  #offsetBytes = 0;
  #lengthBytes = 0;
  #mayUnmap = false;
  #durable = false;
  /** Whether a flush is to follow, since the server could not make everything durable by itself. */
  #flushDue = false;
  #sequence = 0;
  #attempts = 0;

  constructor(service: NbdService) {
    this.#service = service;
  }

  prepare(
    kind: NbdOperationKind,
    offsetBytes: number,
    lengthBytes: number,
    vector: IoVector,
    completion: BlockCompletion,
  ): void {
    this.kind = kind;
    this.completion = completion;
    this.vector = vector;
    this.doneBytes = 0;
    this.#offsetBytes = offsetBytes;
    this.#lengthBytes = lengthBytes;
    this.#mayUnmap = false;
    this.#durable = false;
    this.#flushDue = kind === NbdOperationKind.flush;
    this.#attempts = 0;
  }

  set mayUnmap(mayUnmap: boolean) {
    this.#mayUnmap = mayUnmap;
  }

  set durable(durable: boolean) {
    this.#durable = durable;
  }

  get endBytes(): number {
    return this.#offsetBytes + this.#lengthBytes;
  }

  /** Sends what comes next. */
  sendOn(connection: NbdConnection): void {
    this.#connection = connection;
    if (this.doneBytes < this.#lengthBytes) this.#preparePiece(connection);
    else {
      this.#sequence = this.#service.sequence;
      this.#call.prepare(NbdCommand.NBD_CMD_FLUSH, 0, 0);
    }
    connection.send(this.#call);
  }

  replied(call: NbdCall, result: number): void {
    if (result === CONNECTION_LOST) return this.#again();
    if (result === -NBD_ESHUTDOWN) {
      // It is going to leave: whatever else is under way there is to be sent again, too.
      this.#connection?.destroy('the server is shutting down');
      return this.#again();
    }
    if (result < 0) return this.#service.ended(this, result);
    if (call.command === NbdCommand.NBD_CMD_FLUSH) {
      this.#service.flushed(this.#sequence);
      return this.#service.ended(this, 0);
    }
    this.#pieceDone(call);
    if (this.doneBytes < this.#lengthBytes || this.#flushDue) this.#service.submit(this);
    else this.#service.ended(this, 0);
  }

  #again(): void {
    this.#attempts++;
    if (this.#attempts < this.#service.maxAttempts) this.#service.submit(this);
    else this.#service.ended(this, -Errno.EIO);
  }

  #pieceDone(call: NbdCall): void {
    const at = this.#offsetBytes + this.doneBytes;
    const changes = this.kind === NbdOperationKind.write || this.kind === NbdOperationKind.zeroes;
    if (changes && !call.durable && this.#service.canFlush) {
      const kept = this.#service.keep(this, at, call.lengthBytes);
      this.#flushDue ||= this.#durable || !kept;
    }
    this.doneBytes += call.lengthBytes;
  }

  #preparePiece({ info }: NbdConnection): void {
    const at = this.#offsetBytes + this.doneBytes;
    const left = this.#lengthBytes - this.doneBytes;
    const call = this.#call;
    switch (this.kind) {
      case NbdOperationKind.read:
        call.prepare(NbdCommand.NBD_CMD_READ, at, Math.min(left, info.maxPayloadBytes));
        call.vector = this.vector;
        call.vectorOffset = this.doneBytes;
        return;
      case NbdOperationKind.write:
        call.prepare(NbdCommand.NBD_CMD_WRITE, at, Math.min(left, info.maxPayloadBytes));
        call.vector = this.vector;
        call.vectorOffset = this.doneBytes;
        break;
      case NbdOperationKind.trim:
        call.prepare(NbdCommand.NBD_CMD_TRIM, at, Math.min(left, MAX_RANGE_PIECE_BYTES));
        return;
      default:
        this.#prepareZeroes(
          info.canWriteZeroes,
          at,
          Math.min(left, MAX_RANGE_PIECE_BYTES),
          info.maxPayloadBytes,
        );
    }
    call.durable = this.#durable && info.canFua;
  }

  #prepareZeroes(canWriteZeroes: boolean, at: number, lengthBytes: number, maxPayloadBytes: number): void {
    const call = this.#call;
    if (canWriteZeroes) {
      call.prepare(NbdCommand.NBD_CMD_WRITE_ZEROES, at, lengthBytes);
      call.noHole = !this.#mayUnmap;
      return;
    }
    call.prepare(NbdCommand.NBD_CMD_WRITE, at, Math.min(lengthBytes, maxPayloadBytes, ZERO_PIECE_BYTES));
    call.vector = zeroes;
  }
}
