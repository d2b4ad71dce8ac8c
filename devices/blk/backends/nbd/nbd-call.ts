import { IoVector } from '../../../io-vector.js';
import { Coverage } from './coverage.js';
import { NbdCommand, NbdCommandFlag, NBD_REQUEST_MAGIC, RequestField } from './protocol.js';

/** Payloads up to this go out in one piece with their header: a copy is cheaper than a call for each segment. */
const STAGED_MAX_BYTES = 16 * 1024;
const TWO_POW_32 = 0x1_0000_0000;
const NOTHING = new IoVector();

/** Whoever waits for a command. */
export interface CallOwner {
  /** The server has replied (0 or a negative errno), or the connection broke (-ENOTCONN: it can be sent again). */
  replied(call: NbdCall, result: number): void;
}

/** One command on the wire, from being sent to its reply. Pooled by its owner. */
export class NbdCall {
  readonly owner: CallOwner;
  command: NbdCommand = NbdCommand.NBD_CMD_READ;
  offsetBytes = 0;
  lengthBytes = 0;
  /** Where the reply's data goes, or the payload comes from, and from which byte of it on. */
  vector = NOTHING;
  vectorOffset = 0;
  /** What the reply has said so far. */
  readonly coverage = new Coverage();
  error = 0;
  /** Names the call on the wire, with a number that is never used again: a late or repeated reply finds nobody. */
  slot = 0;
  serial = 0;
  #flags = 0;
  readonly #bytes = new Uint8Array(RequestField.BYTES + STAGED_MAX_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #header = this.#bytes.subarray(0, RequestField.BYTES);

  constructor(owner: CallOwner) {
    this.owner = owner;
  }

  prepare(command: NbdCommand, offsetBytes: number, lengthBytes: number): void {
    this.command = command;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.vector = NOTHING;
    this.vectorOffset = 0;
    this.#flags = 0;
  }

  /** The reply comes only once the data is on the medium. */
  set durable(durable: boolean) {
    if (durable) this.#flags |= NbdCommandFlag.NBD_CMD_FLAG_FUA;
  }

  get durable(): boolean {
    return (this.#flags & NbdCommandFlag.NBD_CMD_FLAG_FUA) !== 0;
  }

  /** Zeroes must keep their space. */
  set noHole(noHole: boolean) {
    if (noHole) this.#flags |= NbdCommandFlag.NBD_CMD_FLAG_NO_HOLE;
  }

  get hasPayload(): boolean {
    return this.command === NbdCommand.NBD_CMD_WRITE;
  }

  /** Whether header and payload go out as one. */
  get isStaged(): boolean {
    return this.lengthBytes <= STAGED_MAX_BYTES;
  }

  /** The header, and a short payload with it. Good until the reply. */
  encode(slot: number, serial: number): Uint8Array {
    this.slot = slot;
    this.serial = serial;
    this.error = 0;
    this.coverage.clear();
    const view = this.#view;
    view.setUint32(RequestField.MAGIC, NBD_REQUEST_MAGIC);
    view.setUint16(RequestField.FLAGS, this.#flags);
    view.setUint16(RequestField.TYPE, this.command);
    view.setUint32(RequestField.COOKIE, serial);
    view.setUint32(RequestField.COOKIE + 4, slot);
    view.setUint32(RequestField.OFFSET, Math.floor(this.offsetBytes / TWO_POW_32));
    view.setUint32(RequestField.OFFSET + 4, this.offsetBytes % TWO_POW_32);
    view.setUint32(RequestField.LENGTH, this.lengthBytes);
    if (!this.hasPayload || !this.isStaged) return this.#header;
    this.vector.gather(this.vectorOffset, this.#bytes, RequestField.BYTES, this.lengthBytes);
    return this.#bytes.subarray(0, RequestField.BYTES + this.lengthBytes);
  }
}
