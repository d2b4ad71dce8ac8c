/**
 * What a network card is plugged into. A backend is written once and serves every device; it knows nothing of virtio, and frames
 * come and go with their unfinished work (see `Frame`): who takes a frame does what its own side cannot.
 *
 * Conventions:
 * - Calls are synchronous, one at a time, and do not throw for what the outside world can cause. A frame is the caller's again when the call
 *   returns. Both sides may be called from within each other's calls.
 * - Nobody keeps frames without bound. A frame that finds no room is either refused, which its sender hears, or dropped and counted
 *   where it was to go.
 */
import type { Frame } from '../frame.js';

/** The card, as its backend sees it. */
export interface NetPort {
  /**
   * Delivers a frame. False where the guest has no buffer for it now: then the frame may be offered again, after the backend's
   * `roomForMore` was called. True also where the guest does not want it, or nobody is there to want it.
   */
  offer(frame: Frame): boolean;
  /** Delivers a frame, or loses it: a guest that is slow to add buffers loses its own frames, and only those. */
  deliver(frame: Frame): void;
  /** There is room for frames again after `send` refused one. */
  sendable(): void;
  /** `linkUp` has changed. */
  linkChanged(): void;
}

/** A port that nobody has plugged a card into. */
export const UNPLUGGED: NetPort = {
  offer: () => true,
  deliver: () => {},
  sendable: () => {},
  linkChanged: () => {},
};

export abstract class NetBackend {
  /** The card; whoever uses the backend sets it. */
  port: NetPort = UNPLUGGED;

  /** Whether there is somebody at the other end. While not, nothing is sent. */
  abstract readonly linkUp: boolean;

  /** Sends a sound frame. False where there is no room: it may be sent again after `sendable`. True also where it got lost on the way. */
  abstract send(frame: Frame): boolean;

  /** The card takes what it refused, after `offer` answered false. */
  roomForMore(): void {}

  /** What unfinished work the card takes from now on: bits of `Offload`. A hint, since the card finishes what its guest does not take. */
  acceptsChanged(_offloads: number): void {}

  /** Lets go of what is held; nothing may be called afterwards. */
  abstract close(): void | Promise<void>;
}
