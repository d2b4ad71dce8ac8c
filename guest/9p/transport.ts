/** What carries 9p messages: a virtqueue now, a socket as well. */

/** Bytes of a message, with the one view over them. */
export interface MessageBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Room for one request and its reply. Reused: nothing is kept of it after `release`. */
export interface Exchange {
  /** At least as many bytes as were asked for; the request is encoded in place. */
  readonly request: MessageBuffer;
  readonly reply: MessageBuffer;
  /** How many bytes of `reply` the other side may fill. */
  readonly replyCapacity: number;
  /**
   * Sends the first `lengthBytes` of `request`, a complete message with tag `tag`. Resolves with the reply's length as the
   * transport knows it, 0 where the other side gave the request back unanswered (it was flushed). Rejects with a GuestError
   * where the transport broke or went away.
   */
  send(lengthBytes: number, tag: number): Promise<number>;
  /**
   * Tells that the reply will not come: its request was flushed. `send` need not settle any more, and `release` may come first;
   * buffers that the other side still holds are kept from use until it lets them go.
   */
  cancel(): void;
  release(): void;
}

export interface Transport9p {
  /** The largest message, either way, in bytes. */
  readonly maxMessageBytes: number;
  /**
   * Waits until a request and reply of these sizes have room, first come first served. `urgent` ones, which are flushes, have a
   * place of their own, so that they can end requests that hold all others. Rejects with the signal's reason if it aborts
   * before; throws or rejects with a GuestError where the transport is broken or gone.
   */
  acquire(
    requestBytes: number,
    replyBytes: number,
    signal?: AbortSignal,
    urgent?: boolean,
  ): Exchange | Promise<Exchange>;
  /** Ends the connection: everything under way is rejected with EIO, and the transport is of no more use. */
  close(): Promise<void>;
}
