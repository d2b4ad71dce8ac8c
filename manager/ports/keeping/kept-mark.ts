/**
 * How far a process got with what its front-end said, as the socket itself remembers it (see `host/peeking.ts`): so that the next process knows,
 * wherever this one was killed.
 *
 * What comes from a front-end is served in chunks: a message, or what has come of one. Each step below is one that a kill falls before or after:
 *
 * 1. the chunk is looked at, which the kernel counts, and marked by its size and by whether its number is odd;
 * 2. it is served, which may be done again; its reply is put into the pipe;
 * 3. whoever keeps the connection is told what has changed, and that the chunk of this number is done. Where nothing has, the chunk gets the number
 *    that was told last, in a new mark, and the next one has this one's;
 * 4. the chunk is taken out of the socket, which lowers the mark by its size;
 * 5. the pipe is poured into the socket.
 *
 * A chunk that nobody is told of and that may be served again after all that it did goes without a number, and without a call for marks: what the
 * kernel has counted is its mark, and that the pipe is not empty says that it is done.
 */
import {
  bytesInPipe,
  dropBytes,
  emptyPipe,
  markOf,
  NO_MARK,
  setMark,
  type Pipe,
} from '../../../host/index.js';

/** Above the size of any chunk, and of whatever is looked at at once. */
const NUMBER_UNIT = 1 << 20;
const NOTHING_SEEN = 0;
/** Of a socket whose front-end was served without telling anybody. The kernel lowers it by what was taken since. */
const UNKEPT_MARK = 0x7fff_0000;
const LEAST_UNKEPT_MARK = UNKEPT_MARK / 2;
/** So much may be taken before such a socket is to be marked again. */
export const UNKEPT_BYTES = UNKEPT_MARK / 4;

/** Where the last process stood with a chunk, once it is known which number whoever keeps the connection was told last. */
export const Standing = {
  /** It had no chunk, or had begun to look at one. */
  BEFORE: 1,
  /** The marked chunk is to be served, and nothing that was done for it counts. */
  UNSERVED: 2,
  /** The marked chunk is done, but for taking it out, as far as that is not done, and for its reply, as far as that is not out. */
  SERVED: 3,
  /** Nobody knows. */
  UNKNOWN: 4,
} as const;
export type Standing = (typeof Standing)[keyof typeof Standing];

/** Nothing was looked at: what is looked at next is the socket's first byte. 0, or a negative errno. */
export function unmark(socket: number): number {
  return setMark(socket, NOTHING_SEEN);
}

/** Of what was looked at, so much is the chunk, which goes without a number. */
export function markSeen(socket: number, chunkBytes: number): void {
  setMark(socket, chunkBytes);
}

/**
 * The chunk of this size and number was looked at. What `bringsDescriptor` is answered with a descriptor, which no pipe holds: it is answered before it
 * is taken out of the socket, and a kill in between leaves it unknown whether it was.
 */
export function markChunk(
  socket: number,
  chunkBytes: number,
  number: number,
  bringsDescriptor: boolean,
): void {
  setMark(socket, NUMBER_UNIT * ((bringsDescriptor ? 3 : 1) + (number & 1)) + chunkBytes);
}

/** What comes is served without telling anybody. */
export function markUnkept(socket: number): void {
  setMark(socket, UNKEPT_MARK);
}

export function standingOf(socket: number, pipe: Pipe, numberTold: number): Standing {
  const mark = markOf(socket);
  if (mark === NOTHING_SEEN || mark === NO_MARK) return Standing.BEFORE;
  if (mark >= LEAST_UNKEPT_MARK) return Standing.UNKNOWN;
  if (mark < NUMBER_UNIT) return bytesInPipe(pipe) > 0 ? Standing.SERVED : Standing.UNSERVED;
  const kind = Math.floor(mark / NUMBER_UNIT) - 1;
  if ((kind & 1) === (numberTold & 1)) return Standing.SERVED;
  return kind > 1 ? Standing.UNKNOWN : Standing.UNSERVED;
}

/** Goes through with what the last process had begun. 0, or a negative errno; may be done again. */
export function complete(socket: number, pipe: Pipe, standing: Standing): number {
  if (standing === Standing.UNSERVED) emptyPipe(pipe);
  if (standing === Standing.SERVED) {
    const taken = dropBytes(socket, leftOf(socket));
    if (taken < 0) return taken;
  }
  return unmark(socket);
}

/** Bytes of the marked chunk that are in the socket. */
function leftOf(socket: number): number {
  return markOf(socket) % NUMBER_UNIT;
}
