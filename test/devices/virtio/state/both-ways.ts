import { expect } from 'vitest';
import type { VirtioDevice } from '../../../../devices/virtio/device.js';
import type { GuestMemory } from '../../../../devices/virtio/memory/guest-memory.js';
import { decodeState } from '../../../../devices/virtio/state/codec.js';
import type { FunctionState } from '../../../../devices/virtio/state/function-state.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../../devices/virtio/transport/virtio-pci.js';

/** From and to, by BAR: the legacy registers without ISR status, some of the MSI-X table, and the common and device config. */
const READ_OFFSETS: Readonly<Record<number, readonly (readonly [number, number])[]>> = {
  0: [
    [0, 19],
    [20, 30],
  ],
  1: [[0, 64]],
  4: [
    [0, 64],
    [0x2000, 0x2010],
  ],
};

/** Makes functions like the one that is saved. */
export interface FunctionMaker {
  readonly memory: GuestMemory;
  readonly options: VirtioPciOptions;
  device(): VirtioDevice;
}

export function saved(fn: VirtioPciFunction): Uint8Array {
  const { blob, problem } = fn.saveState();
  if (blob === undefined) throw new Error(problem);
  return blob;
}

export function decoded(blob: Uint8Array): FunctionState {
  const state = decodeState(blob);
  if (typeof state === 'string') throw new Error(state);
  return state;
}

/**
 * Restores and replays what `blob` says, in functions of their own, and holds the two equal to it and, register by register, to each other.
 */
export function expectBothWays(
  blob: Uint8Array,
  make: FunctionMaker,
): { readonly restored: VirtioPciFunction; readonly replayed: VirtioPciFunction } {
  const [restored, replayed] = [0, 1].map(
    () => new VirtioPciFunction(make.device(), make.memory, make.options),
  );
  expect(restored.restoreState(blob)).toBeUndefined();
  expect(replayed.replayState(blob)).toBeUndefined();
  for (const fn of [restored, replayed]) {
    const again = saved(fn);
    if (Buffer.compare(again, blob) !== 0) expect(decoded(again)).toEqual(decoded(blob));
  }
  expect(readableRegisters(replayed)).toEqual(readableRegisters(restored));
  return { restored, replayed };
}

/** What a guest's reads show of a function, but for ISR status, which a read changes. */
function readableRegisters(fn: VirtioPciFunction): number[] {
  const seen: number[] = [];
  for (let offset = 0; offset < 0x100; offset += 4) seen.push(fn.readConfig(offset, 4));
  for (const { index } of fn.bars) {
    for (const offsets of READ_OFFSETS[index]) {
      for (let offset = offsets[0]; offset < offsets[1]; offset++) seen.push(fn.readBar(index, offset, 1));
    }
  }
  return seen;
}
