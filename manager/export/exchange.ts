/** A request of a connection, from its first byte to its reply's last. Exchanges are reused, with their buffers. */
import { REQUEST_MAX_BYTES } from '../../devices/9p/protocol/constants.js';
import { IoVector } from '../../devices/io-vector.js';
import { MessageBuffer } from './buffer-pool.js';
import type { Received } from './receiver.js';

/**
 * Up to this, a request is copied out of what was received, so that one that takes long (a lock that is waited for) keeps
 * its own few bytes and not a whole buffer. Nearly all messages without data are shorter.
 */
export const COPIED_REQUEST_BYTES = 192;

/** No reply without data is longer: the server has no more room for its fields. */
export const SMALL_REPLY_BYTES = REQUEST_MAX_BYTES;

export class Exchange {
  readonly request = new IoVector();
  readonly reply = new IoVector();
  readonly copy = new MessageBuffer(COPIED_REQUEST_BYTES);
  /** The reply's room where it carries no more data than fits. */
  readonly small = new MessageBuffer(SMALL_REPLY_BYTES);
  /** Where the reply is: `small`, or a larger buffer of the pool. */
  target = this.small;
  /** What the request was received into, where it was not copied. */
  source: Received | undefined;
  replyBytes = 0;
  sentBytes = 0;
  /** The next one whose reply is to be sent. */
  next: Exchange | undefined;
}
