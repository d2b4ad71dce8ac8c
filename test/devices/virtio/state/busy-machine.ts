import type { Chain, Virtqueue } from '../../../../devices/virtio/device.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { nullDevice } from '../null-device.js';
import { boot, enableMsix, plug, VERSION_1, type Machine } from '../transport/mock-pci-driver.js';
import type { FunctionMaker } from './both-ways.js';

export interface BusyMachine extends Machine {
  readonly held: readonly Chain[];
  readonly make: FunctionMaker;
}

const BUFFER_BYTES = 64;
const OPTIONS = { msix: true } as const;

/** What the device below has to say of itself: three bytes, of which the first is 1. */
export const OWN_STATE = Uint8Array.of(1, 2, 3);

function device(handleChain: (queue: Virtqueue, chain: Chain) => void, onRestore: () => void = () => {}) {
  let own: Uint8Array = OWN_STATE;
  return nullDevice({
    config: Uint8Array.of(1, 2, 3, 4),
    handleChain,
    saveState: () => own,
    restoreState: (bytes) => {
      if (bytes.length !== OWN_STATE.length || bytes[0] !== OWN_STATE[0]) return 'these are not the bytes';
      own = bytes;
      onRestore();
      return undefined;
    },
  });
}

/** A function at work, whose device was given three chains in queue 0 and has completed the second. */
export function busyMachine(): BusyMachine {
  const held: Chain[] = [];
  const queues: Virtqueue[] = [];
  const machine = plug(
    device((queue, chain) => {
      queues.push(queue);
      held.push(chain);
    }),
    OPTIONS,
  );
  enableMsix(machine);
  const queue = boot(machine, VERSION_1);
  for (let i = 0; i < 3; i++) {
    queue.add([
      { address: machine.buffer(2 * i), length: BUFFER_BYTES },
      { address: machine.buffer(2 * i + 1), length: BUFFER_BYTES, writable: true },
    ]);
    machine.driver.kick(0);
  }
  queues[1].push(held[1], BUFFER_BYTES);
  queues[1].flush();
  const make = { memory: machine.memory, options: OPTIONS, device: () => device(() => {}) };
  return { ...machine, held, make };
}

/** A function that was just powered up, in the same memory. `onRestore` is told when its device takes over a state. */
export function freshFunction({ memory }: BusyMachine, onRestore: () => void = () => {}): VirtioPciFunction {
  return new VirtioPciFunction(
    device(() => {}, onRestore),
    memory,
    OPTIONS,
  );
}
