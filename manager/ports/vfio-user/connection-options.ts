/** What one client's connection needs of its server. */
import type { Reactor } from '../../../host/index.js';
import type { VfioUserDevice } from './device.js';

export interface ConnectionCounters {
  /** Messages received whole. */
  messages: number;
  /** Error replies, with those that No_reply kept back. */
  errors: number;
}

export interface ConnectionOptions {
  /** A connected socket, which the connection closes. */
  readonly fd: number;
  readonly reactor: Reactor;
  readonly device: VfioUserDevice;
  readonly counters: ConnectionCounters;
  readonly log: (message: string) => void;
  /** The client's version was agreed. */
  readonly onNegotiated: () => void;
  /** Somebody keeps the connection, and a message was served that is yet to be answered: writes down what it has changed. False where that cannot be. */
  readonly onServed: () => boolean;
  /** All that has come is served and answered. */
  readonly onQuiet: () => void;
  /** A message was served that cannot be kept: whoever keeps the connection is to hear of it anew once it is quiet. */
  readonly onUnkept: () => void;
  /** The connection has ended and its socket is closed; what the client gave the device is still there. */
  readonly onClosed: (reason: string) => void;
}
