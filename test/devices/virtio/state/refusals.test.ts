/** Blobs come from outside. One that is not right in all its parts is refused, and then nothing has changed: see THREATS. */
import { describe, expect, it } from 'vitest';
import { encodeState } from '../../../../devices/virtio/state/codec.js';
import type { FunctionState, QueueState } from '../../../../devices/virtio/state/function-state.js';
import type { ChainState } from '../../../../devices/virtio/ring/chain-state.js';
import { nullDevice } from '../null-device.js';
import { plug } from '../transport/mock-pci-driver.js';
import { MockLegacyDriver } from '../transport/mock-legacy-driver.js';
import { busyMachine, freshFunction } from './busy-machine.js';
import { decoded, expectBothWays, saved } from './both-ways.js';

const HEADER_BYTES = 16;
const FIELDS_BYTES = 36;
const machine = busyMachine();
const good = saved(machine.fn);
const state = decoded(good);
/** Where the device's config space is in the blob. */
const { configSpace, msixTable, msixPending, deviceConfig } = state;
const deviceConfigAt =
  HEADER_BYTES + FIELDS_BYTES + 4 + configSpace.length + 4 + msixTable.length + 4 + msixPending.length + 4;
const DEVICE_CONFIG = [deviceConfigAt, deviceConfigAt + deviceConfig.length] as const;

/** CRC-32C, by another way than the one under test: with no table. */
function reseal(blob: Uint8Array): Uint8Array {
  let crc = 0xffff_ffff;
  for (let i = 0; i < blob.length; i++) {
    if (i >= 12 && i < HEADER_BYTES) continue;
    crc ^= blob[i];
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f6_3b78);
  }
  new DataView(blob.buffer, blob.byteOffset).setUint32(12, ~crc >>> 0, true);
  return blob;
}

/** Offers blobs to one function, which stays as it was as long as it refuses them. */
class Refuser {
  restores = 0;
  readonly fn = freshFunction(machine, () => this.restores++);
  readonly #before = saved(this.fn);

  /** The two answers, which are the same. */
  offer(blob: Uint8Array): string | undefined {
    const problem = this.fn.restoreState(blob);
    if (problem === undefined) return undefined;
    expect(this.fn.replayState(blob)).toBe(problem);
    return problem;
  }

  expectUnchanged(): void {
    expect(this.restores).toBe(0);
    expect(Buffer.compare(saved(this.fn), this.#before)).toBe(0);
  }
}

function withQueue(change: Partial<QueueState>): FunctionState {
  return { ...state, queues: [{ ...state.queues[0], ...change }, state.queues[1]] };
}

function withChain(change: Partial<ChainState>): FunctionState {
  const { chains } = state.queues[0];
  return withQueue({ chains: [{ ...chains[0], ...change }, ...chains.slice(1)] });
}

function withBytes(bytes: Uint8Array, at: number, value: number): Uint8Array {
  return bytes.with(at, value);
}

/** A completed chain is used by the first look that may: and so by the one that saves the function again. */
function expectUsedAlike(blob: Uint8Array): void {
  const [restored, replayed] = [freshFunction(machine), freshFunction(machine)];
  expect(restored.restoreState(blob)).toBeUndefined();
  expect(replayed.replayState(blob)).toBeUndefined();
  const again = saved(restored);
  expect(Buffer.compare(saved(replayed), again)).toBe(0);
  const [{ nextUsed, chains }] = decoded(again).queues;
  expect([nextUsed, chains.length]).toEqual([
    state.queues[0].nextUsed + 1,
    state.queues[0].chains.length - 1,
  ]);
}

describe('a blob', () => {
  it('that is right is taken by a function that refused others before', () => {
    const refuser = new Refuser();
    expect(refuser.offer(new Uint8Array(3))).toBeDefined();
    refuser.expectUnchanged();
    expect(refuser.offer(good)).toBeUndefined();
    expect(refuser.restores).toBe(1);
    expect(Buffer.compare(saved(refuser.fn), good)).toBe(0);
  });

  it('cut off anywhere is refused', () => {
    const refuser = new Refuser();
    for (let length = 0; length < good.length; length++) {
      expect(refuser.offer(good.subarray(0, length))).toBeTypeOf('string');
    }
    refuser.expectUnchanged();
  });

  it('with any one bit flipped is refused', () => {
    const refuser = new Refuser();
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const flipped = good.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      expect(refuser.offer(flipped)).toBeTypeOf('string');
    }
    refuser.expectUnchanged();
  });

  it('with any one bit flipped and a checksum to match is refused, or one that a driver could have brought about', () => {
    let refuser = new Refuser();
    let refused = 0;
    let accepted = 0;
    for (let bit = 8 * HEADER_BYTES; bit < 8 * good.length; bit++) {
      const tampered = good.slice();
      tampered[bit >> 3] ^= 1 << (bit & 7);
      // A device whose config is not the one that was seen shows another generation: that is below.
      if (tampered.subarray(...DEVICE_CONFIG).some((byte, i) => byte !== state.deviceConfig[i])) continue;
      reseal(tampered);
      if (refuser.offer(tampered) !== undefined) {
        refused++;
        refuser.expectUnchanged();
        continue;
      }
      accepted++;
      refuser = new Refuser();
      const completed = decoded(tampered).queues.some(({ chains }) =>
        chains.some((chain) => chain.completed),
      );
      if (completed) expectUsedAlike(tampered);
      else expectBothWays(tampered, machine.make);
    }
    expect(refused).toBeGreaterThan(2000);
    // BARs, selectors, addresses of buffers and MSI-X messages: of such fields most values are as good as others.
    expect(accepted).toBeGreaterThan(100);
  });

  it.each<[string, FunctionState, string]>([
    [
      'of a function with other ids',
      { ...state, configSpace: withBytes(state.configSpace, 2, 0x77) },
      'differ in config space at 0x0',
    ],
    [
      'with another capability',
      { ...state, configSpace: withBytes(state.configSpace, 0x44, 9) },
      'differ in config space at 0x44',
    ],
    [
      'with less config space',
      { ...state, configSpace: state.configSpace.slice(4) },
      '252 bytes of PCI config space',
    ],
    [
      'with more MSI-X vectors',
      { ...state, msixTable: new Uint8Array(64) },
      '64 bytes of MSI-X table, and this function 48',
    ],
    [
      'with more pending bits',
      { ...state, msixPending: new Uint8Array(16) },
      '16 bytes of MSI-X pending bits',
    ],
    [
      'with another device config',
      { ...state, deviceConfig: new Uint8Array(5) },
      '5 bytes of device config space',
    ],
    ['with fewer queues', { ...state, queues: state.queues.slice(1) }, '1 queues, and this function 2'],
    [
      'with reserved bits in an MSI-X address',
      { ...state, msixTable: withBytes(state.msixTable, 0, 1) },
      'reserved bits',
    ],
    [
      'with reserved bits in a vector control',
      { ...state, msixTable: withBytes(state.msixTable, 12, 3) },
      'reserved bits',
    ],
    [
      'with a vector pending beyond the table',
      { ...state, msixPending: withBytes(state.msixPending, 0, 8) },
      'pending that is not there',
    ],
    ['with a config vector beyond the table', { ...state, configVector: 3 }, 'beyond the table'],
    ['with a queue vector beyond the table', withQueue({ vector: 3 }), 'beyond the table'],
    ['with an ISR status of more than two bits', { ...state, isrStatus: 4 }, 'ISR status'],
    ['of a driver with unknown registers', { ...state, interface: 3 }, 'registers that do not exist'],
    ['of a legacy driver on a modern function', { ...state, interface: 2 }, 'no legacy registers'],
    ['of no driver, with a status', { ...state, interface: 0 }, 'there is no driver'],
    ['with a step of the status left out', { ...state, status: 0x0e }, 'a step of the status is left out'],
    ['without FEATURES_OK', { ...state, status: 0x07 }, 'a step of the status is left out'],
    ['with an unknown status bit', { ...state, status: 0x1f }, 'bits that do not exist'],
    ['at work without DRIVER_OK', { ...state, status: 0x0b }, 'without DRIVER_OK'],
    ['with DRIVER_OK and not at work', { ...state, started: 0 }, 'without DRIVER_OK, or not with it'],
    ['with a flag of 2', { ...state, started: 2 }, 'neither 0 nor 1'],
    ['with NEEDS_RESET and no fault', { ...state, status: 0x4f }, 'DEVICE_NEEDS_RESET'],
    ['with a fault and no NEEDS_RESET', { ...state, faulted: 1 }, 'DEVICE_NEEDS_RESET'],
    ['with a fault before the start', { ...state, status: 0x4b, started: 0, faulted: 1 }, 'never at work'],
    ['with features that are not offered', { ...state, driverFeatures0: 1 }, 'does not offer'],
    ['without VIRTIO_F_VERSION_1', { ...state, driverFeatures1: 0 }, 'does not offer'],
    [
      'with a queue enabled before FEATURES_OK',
      { ...state, status: 3, started: 0 },
      'enabled before FEATURES_OK',
    ],
    ['with a queue of 16 where 8 is most', withQueue({ size: 16 }), 'not within 1 to 8'],
    ['with a split queue of 6', withQueue({ size: 6 }), 'not a power of two'],
    ['with a queue neither enabled nor not', withQueue({ enabled: 2 }), 'neither enabled nor disabled'],
    [
      'with descriptors that are not aligned',
      withQueue({ descriptorAreaLow: 0x1_0008 }),
      'not aligned to 16',
    ],
    ['with descriptors outside memory', withQueue({ descriptorAreaHigh: 1 }), 'not in memory'],
    ['with a used ring outside memory', withQueue({ deviceAreaLow: 0x7fff_0000 }), 'not in memory'],
    [
      'with a disabled queue that has a position',
      withQueue({ enabled: 0 }),
      'has a position and does not run',
    ],
    [
      'with a position ahead of its chains',
      withQueue({ nextAvail: 4 }),
      'not those that its position tells of',
    ],
    ['with a position behind', withQueue({ nextUsed: 2 }), 'not those that its position tells of'],
    ['with a chain that the ring does not hold', withChain({ id: 8 }), 'none of a split ring'],
    [
      'with a split chain of two entries',
      withQueue({
        nextAvail: 4,
        chains: state.queues[0].chains.map((chain, i) => ({ ...chain, ringEntries: 2 - i })),
      }),
      'none of a split ring',
    ],
    ['with a chain of no entries', withChain({ ringEntries: 0 }), 'no entry in the ring'],
    [
      'with a buffer outside memory',
      withChain({ readable: [{ guestAddress: 0xfff, lengthBytes: 1 }] }),
      'lies outside memory',
    ],
    [
      'with a buffer beyond 2^52',
      withChain({ writable: [{ guestAddress: 2 ** 52, lengthBytes: 1 }] }),
      'lies outside memory',
    ],
    [
      'with a chain of more than 2^32 bytes',
      withChain({
        readable: Array.from({ length: 2 }, () => ({ guestAddress: 0x1_0000, lengthBytes: 0xffff_ffff })),
      }),
      'longer than 2^32',
    ],
    ['with a used length of a chain that is not done', withChain({ usedLength: 1 }), 'more is written'],
    [
      'with more chains than the ring holds',
      withQueue({ nextAvail: 10, chains: Array.from({ length: 9 }, () => state.queues[0].chains[0]) }),
      'than the ring holds',
    ],
    [
      'of which the device wants nothing',
      { ...state, device: Uint8Array.of(2, 2, 3) },
      'these are not the bytes',
    ],
  ])('%s is refused', (_, tampered, problem) => {
    const refuser = new Refuser();
    expect(refuser.offer(encodeState(tampered))).toContain(problem);
    refuser.expectUnchanged();
  });

  it('of a device with another config shows the driver a generation that it has not seen', () => {
    const fn = freshFunction(machine);
    const blob = encodeState({ ...state, deviceConfig: deviceConfig.with(0, 9), configGeneration: 255 });
    expect(fn.restoreState(blob)).toBeUndefined();
    expect(decoded(saved(fn))).toEqual({ ...state, configGeneration: 0 });
  });

  it('that asks for a function-level reset is refused', () => {
    const [express] = machine.driver.capabilities(0x10);
    const at = express + 9;
    const configSpace = withBytes(state.configSpace, at, state.configSpace[at] | 0x80);
    expect(new Refuser().offer(encodeState({ ...state, configSpace }))).toContain('function-level reset');
  });
});

describe('a legacy blob', () => {
  const device = () => nullDevice();
  const options = { msix: true, registers: 'legacy' } as const;
  const source = plug(device(), options);
  const { fn, memory } = source;
  const driver = new MockLegacyDriver(fn);
  driver.begin();
  driver.placeQueue(0, source.queue(0, 8, 4096));
  driver.addStatus(4);
  const legacy = decoded(saved(fn));

  function changed(change: Partial<QueueState>): FunctionState {
    return { ...legacy, queues: [{ ...legacy.queues[0], ...change }, legacy.queues[1]] };
  }

  it('that is right is taken', () => {
    expectBothWays(saved(fn), { memory, options, device });
  });

  it.each<[string, FunctionState, string]>([
    ['with FEATURES_OK', { ...legacy, status: 0x0f }, 'bits that do not exist'],
    ['with modern features', { ...legacy, driverFeatures1: 1 }, 'does not offer'],
    ['with DRIVER_OK and not at work', { ...legacy, started: 0 }, 'in spite of DRIVER_OK'],
    [
      'at work with nothing that started it',
      { ...legacy, status: 3, queues: [legacy.queues[1], legacy.queues[1]] },
      'nothing started it',
    ],
    ['with a smaller queue', changed({ size: 4 }), 'not the one that legacy drivers are given'],
    ['with an address that is no page', changed({ descriptorAreaLow: 0x1_0010 }), 'no page'],
    ['with a used ring elsewhere', changed({ deviceAreaLow: 0x1_3000 }), 'not where a legacy ring has them'],
    ['with an address and no queue', changed({ enabled: 0 }), 'not where a legacy ring has them'],
  ])('%s is refused', (_, tampered, problem) => {
    const fresh = plug(device(), options).fn;
    const before = saved(fresh);
    const blob = encodeState(tampered);
    expect(fresh.restoreState(blob)).toContain(problem);
    expect(fresh.replayState(blob)).toContain(problem);
    expect(Buffer.compare(saved(fresh), before)).toBe(0);
  });
});
