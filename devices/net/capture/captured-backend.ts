import { NetBackend } from '../backends/net-backend.js';
import type { Frame } from '../frame.js';
import type { Capture } from './capture.js';
import { Direction } from './pcapng.js';

/** A backend whose frames may be captured on their way, one capture at a time. */
export class CapturedBackend extends NetBackend {
  readonly #backend: NetBackend;
  #capture: Capture | undefined;

  constructor(backend: NetBackend) {
    super();
    this.#backend = backend;
    backend.port = {
      offer: (frame) => {
        const taken = this.port.offer(frame);
        if (taken) this.#capture?.saw(frame, Direction.RECEIVED);
        return taken;
      },
      deliver: (frame) => {
        this.#capture?.saw(frame, Direction.RECEIVED);
        this.port.deliver(frame);
      },
      sendable: () => this.port.sendable(),
      linkChanged: () => this.port.linkChanged(),
    };
  }

  /** Starts a capture, in place of one that is under way; or ends it. */
  set capture(capture: Capture | undefined) {
    this.#capture?.end('ended');
    this.#capture = capture;
  }

  get linkUp(): boolean {
    return this.#backend.linkUp;
  }

  send(frame: Frame): boolean {
    const taken = this.#backend.send(frame);
    if (taken) this.#capture?.saw(frame, Direction.SENT);
    return taken;
  }

  override roomForMore(): void {
    this.#backend.roomForMore();
  }

  override acceptsChanged(offloads: number): void {
    this.#backend.acceptsChanged(offloads);
  }

  close(): void | Promise<void> {
    this.#capture?.end('removed');
    this.#capture = undefined;
    return this.#backend.close();
  }
}
