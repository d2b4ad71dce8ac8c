/**
 * What a protocol version brings: its messages and how it says no. The server's core knows no message but Tversion
 * and Tflush; everything else is a row of the negotiated dialect's table.
 */
import type { Decoder } from '../protocol/messages.js';
import type { MessageWriter } from '../protocol/cursor.js';
import type { Handler } from './and-then.js';

/** One kind of T-message. Its reply's type is the next number. */
export interface Operation {
  readonly decode: Decoder;
  readonly handle: Handler;
  /**
   * Smallest room for its reply: with less the request is refused before anything is done. The room for an error where replies
   * differ in length and the request changes nothing.
   */
  readonly replyBytes: number;
  /** Changes the file system, so that it is refused where the export is read-only. */
  readonly changes: boolean;
  /** Bytes before the data that the message carries, which is not fetched; 0 where it carries none. */
  readonly dataOffset: number;
}

export interface Dialect {
  /** As in Tversion. */
  readonly version: string;
  /** By message type. */
  readonly operations: readonly (Operation | undefined)[];
  /** The type of an error reply, and its fields: cut, where they are text, to a reply of `roomBytes`. */
  readonly errorType: number;
  encodeError(w: MessageWriter, errno: number, roomBytes: number): void;
}
