/** Rings whose front-end gave no descriptor for kicks: they are looked at again and again. */
import type { DeviceSession } from '../../../devices/virtio/device-session.js';
import { RingPoller } from '../../../devices/virtio/ring-poller.js';
import type { Vring } from './vring.js';

export class UnkickedRings {
  readonly #vrings: readonly Vring[];
  readonly #session: () => DeviceSession | undefined;
  readonly #poller = new RingPoller((work) => void setImmediate(work));
  readonly #pollable = { poll: () => this.#poll() };

  /** @param session of the driver at work, if there is one and its rings may be looked at */
  constructor(vrings: readonly Vring[], session: () => DeviceSession | undefined) {
    this.#vrings = vrings;
    this.#session = session;
  }

  /** The ring runs, and is looked at from now on if it is one of these. */
  include(vring: Vring): void {
    if (vring.polled) this.#poller.start(this.#pollable);
  }

  stop(): void {
    this.#poller.stop();
  }

  #poll(): boolean {
    const session = this.#session();
    let looks = 0;
    let served = 0;
    for (const vring of this.#vrings) {
      if (session === undefined || vring.ring === undefined || !vring.polled) continue;
      looks++;
      served += session.poll(vring.index);
    }
    if (looks === 0) this.#poller.stop();
    return served > 0;
  }
}
