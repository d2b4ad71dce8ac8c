import { DEVICES, FUNCTIONS } from './defs.js';
import { SlotPort, UpstreamPort } from './ports.js';
import type { Occupant, Slot } from './slot.js';

/**
 * A switch in a box of its own, which is what an extension chassis is: one upstream port, and a downstream port with a slot for
 * each of its slot numbers. It goes into a slot as a card does, while the machine runs, with or without cards in its own slots.
 */
export class Switch implements Occupant {
  readonly functions: readonly [UpstreamPort];
  readonly downstreamPorts: readonly SlotPort[];
  seat: Slot | undefined;

  /** One to 32 slot numbers, each 1–8191 and unique on the chassis. */
  constructor(physicalSlotNumbers: readonly number[]) {
    const count = physicalSlotNumbers.length;
    if (count < 1 || count > DEVICES)
      throw new RangeError(`a switch has 1 to ${DEVICES} slots, not ${count}`);
    this.downstreamPorts = physicalSlotNumbers.map(
      (physicalSlotNumber, device) =>
        new SlotPort({
          type: 'downstream',
          devfn: device * FUNCTIONS,
          physicalSlotNumber,
          multiFunction: false,
        }),
    );
    this.functions = [new UpstreamPort(this.downstreamPorts)];
  }

  /** The slots, in the order of their ports. */
  get slots(): Slot[] {
    return this.downstreamPorts.map(({ slot }) => slot);
  }
}
