import { IoVector } from '../../../io-vector.js';
import { NbdCall } from './nbd-call.js';
import type { NbdConnection } from './nbd-connection.js';
import { NbdCommand } from './protocol.js';
import type { KeptWrite, UnflushedLog } from './unflushed-log.js';

/** Zeroes as data, for a server without a command for them. */
const ZEROES = new IoVector();
ZEROES.push(new Uint8Array(64 * 1024), 0, 64 * 1024, 0);

/**
 * Writes again what a server may have lost, one after the other: those that overlap have an order. 0, `CONNECTION_LOST`, or the errno
 * with which the server refused one.
 */
export async function replay(log: UnflushedLog, connection: NbdConnection): Promise<number> {
  const reply = new Reply();
  for (const kept of log.entries()) {
    for (let done = 0; done < kept.lengthBytes; done += reply.call.lengthBytes) {
      prepare(reply.call, kept, done, connection);
      const result = await reply.to(connection);
      if (result < 0) return result;
    }
  }
  return 0;
}

/** A call, used again and again, and the wait for its reply. */
class Reply {
  readonly call = new NbdCall(this);
  #resolve: (result: number) => void = () => {};

  to(connection: NbdConnection): Promise<number> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      connection.send(this.call);
    });
  }

  replied(_call: NbdCall, result: number): void {
    this.#resolve(result);
  }
}

/** What is kept from its byte `done` on, as much as one command takes. */
function prepare(call: NbdCall, kept: KeptWrite, done: number, { info }: NbdConnection): void {
  const { isZeroes } = kept;
  const at = kept.offsetBytes + done;
  const left = kept.lengthBytes - done;
  if (isZeroes && info.canWriteZeroes) {
    call.prepare(NbdCommand.NBD_CMD_WRITE_ZEROES, at, left);
    return;
  }
  const most = isZeroes ? ZEROES.byteLength : info.maxPayloadBytes;
  call.prepare(NbdCommand.NBD_CMD_WRITE, at, Math.min(left, most, info.maxPayloadBytes));
  call.vector = isZeroes ? ZEROES : kept.data;
  call.vectorOffset = isZeroes ? 0 : done;
}
