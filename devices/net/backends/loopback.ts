import type { Frame } from '../frame.js';
import { NetBackend, UNPLUGGED } from './net-backend.js';

/** A cable from a card to itself: what is sent comes back. For tests, and to measure a card alone. */
export class LoopbackBackend extends NetBackend {
  readonly linkUp = true;

  send(frame: Frame): boolean {
    this.port.deliver(frame);
    return true;
  }

  close(): void {
    this.port = UNPLUGGED;
  }
}
