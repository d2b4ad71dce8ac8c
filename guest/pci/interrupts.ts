/** The guest's interrupt controller: messages (MSI-X) by number, and one line that all functions share (INTx). */
import type { GuestBus } from '../bus.js';

/** Where messages go: the local APIC's range of physical addresses, processor 0. */
export const MESSAGE_ADDRESS = 0xfee0_0000;

/** Deliveries of the shared line in a row that nobody claims before the line is given up on, as kernels do. */
const MAX_UNCLAIMED = 1000;

/** Answers true where the interrupt was its function's. */
export type IntxHandler = () => boolean;

export class InterruptController {
  readonly #messages: ((() => void) | undefined)[] = [];
  readonly #freeMessages: number[] = [];
  readonly #intx: IntxHandler[] = [];
  readonly #disableIntx: () => void;
  #unclaimed = 0;

  /** `disableIntx` silences whichever functions hold the line without a driver that claims it. */
  constructor(bus: GuestBus, disableIntx: () => void) {
    this.#disableIntx = disableIntx;
    bus.onMessage((address, data) => this.#deliver(address, data));
    bus.onIntx((asserted) => {
      if (asserted) this.#deliverIntx();
    });
  }

  /** A message's data that calls `handler` each time it arrives. */
  allocateMessage(handler: () => void): number {
    const data = this.#freeMessages.pop() ?? this.#messages.length;
    this.#messages[data] = handler;
    return data;
  }

  /** Later arrivals of the message are ignored. */
  freeMessage(data: number): void {
    this.#messages[data] = undefined;
    this.#freeMessages.push(data);
  }

  addIntx(handler: IntxHandler): void {
    this.#intx.push(handler);
  }

  removeIntx(handler: IntxHandler): void {
    const index = this.#intx.indexOf(handler);
    if (index >= 0) this.#intx.splice(index, 1);
  }

  #deliver(address: number, data: number): void {
    if (address !== MESSAGE_ADDRESS) return;
    this.#messages[data]?.();
  }

  /** Asks every driver: two functions can hold the line at once. */
  #deliverIntx(): void {
    let claimed = false;
    for (const handler of [...this.#intx]) claimed = handler() || claimed;
    this.#unclaimed = claimed ? 0 : this.#unclaimed + 1;
    if (this.#unclaimed <= MAX_UNCLAIMED) return;
    this.#unclaimed = 0;
    this.#disableIntx();
  }
}
