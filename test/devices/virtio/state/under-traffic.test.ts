import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeState } from '../../../../devices/virtio/state/codec.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../../devices/virtio/transport/virtio-pci.js';
import { EchoMachine } from '../../../guest/virtio/echo-machine.js';
import { CountingDevice } from './counting-device.js';
import { FunctionSeat } from './function-seat.js';

const QUEUES = 2;
const QUEUE_SIZE = 8;
/** Without indirect descriptors, a request takes two of the ring's. */
const LANES = QUEUE_SIZE / 2;

/** When a function is saved: after so many turns of the event loop, or within the service of the chain that comes so many later. */
interface Moment {
  readonly when: 'turn' | 'before' | 'after';
  readonly count: number;
  readonly by: 'restoreState' | 'replayState';
}

interface Setting {
  readonly packed: boolean;
  readonly eventIndex: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
  readonly msix: boolean;
  readonly function: 'modern' | 'transitional' | 'legacy';
  readonly driver: 'modern' | 'legacy';
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A machine whose function moves to another one again and again, and counts what was under way then. */
class MovingMachine {
  machine!: EchoMachine;
  device = new CountingDevice(QUEUES, QUEUE_SIZE);
  moves = 0;
  chainsMoved = 0;
  completedMoved = 0;
  readonly #options: VirtioPciOptions;
  #seat!: FunctionSeat;

  constructor({ function: registers }: Setting) {
    this.#options = { msix: true, registers, log: (line) => this.machine.faults.push(line) };
  }

  async boot(setting: Setting): Promise<void> {
    const { packed, eventIndex, indirect, inOrder, msix, driver: registers } = setting;
    this.machine = await EchoMachine.boot({
      fn: this.#options,
      guest: { packed, eventIndex, indirect, inOrder, msix, registers },
      queueCount: QUEUES,
      device: this.device,
      seat: (fn) => (this.#seat = new FunctionSeat(fn)),
    });
  }

  /** Resolves once the move is made. */
  async move(moment: Moment): Promise<void> {
    if (moment.when === 'turn') {
      for (let left = moment.count; left > 0; left--) await turn();
      this.#moveNow(moment.by);
      return;
    }
    await new Promise<void>((resolve) => {
      let left = moment.count;
      this.device.onChain = (when) => {
        if (when !== moment.when || left-- > 0) return;
        this.device.onChain = () => {};
        this.#moveNow(moment.by);
        resolve();
      };
    });
  }

  /** Saves the function, restores it in both ways, holds them equal, and has the guest go on with one of the two. */
  #moveNow(by: Moment['by']): void {
    const { blob, problem } = this.#seat.current.saveState();
    if (blob === undefined) throw new Error(problem);
    const [restored, replayed] = [this.#newFunction(), this.#newFunction()];
    expect(restored.fn.restoreState(blob)).toBeUndefined();
    expect(replayed.fn.replayState(blob)).toBeUndefined();
    const state = decodeState(blob);
    if (typeof state === 'string') throw new Error(state);
    for (const { fn } of [restored, replayed]) {
      const again = fn.saveState().blob ?? new Uint8Array(0);
      expect(decodeState(again)).toEqual(state);
      expect(Buffer.compare(again, blob)).toBe(0);
    }
    const chains = state.queues.flatMap((queue) => queue.chains);
    this.moves++;
    this.chainsMoved += chains.length;
    this.completedMoved += chains.filter(({ completed }) => completed).length;
    const [next, other] = by === 'restoreState' ? [restored, replayed] : [replayed, restored];
    other.fn.reset();
    this.device = next.device;
    this.#seat.replace(next.fn);
  }

  #newFunction(): { fn: VirtioPciFunction; device: CountingDevice } {
    const device = new CountingDevice(QUEUES, QUEUE_SIZE);
    return { device, fn: new VirtioPciFunction(device, this.machine.memory, this.#options) };
  }
}

async function moveUnderTraffic(setting: Setting, moments: readonly Moment[]): Promise<MovingMachine> {
  const moving = new MovingMachine(setting);
  await moving.boot(setting);
  const { machine } = moving;
  let done = false;
  const lanes = Array.from({ length: QUEUES * LANES }, (_, lane) =>
    machine.exchangeUntil(lane % QUEUES, () => done),
  );
  for (const moment of moments) await moving.move(moment);
  await turn();
  done = true;
  // Each request was answered, once and with its own bytes: `exchange` throws where one was not.
  for (const { answered, failed } of await Promise.all(lanes)) {
    expect(failed).toBe(0);
    expect(answered).toBeGreaterThan(0);
  }
  await machine.exchangeAll(8, 4);
  expect(machine.faults).toEqual([]);
  expect(machine.device.failed).toBe(false);
  return moving;
}

const moments = fc.array(
  fc.record<Moment>({
    when: fc.constantFrom('turn', 'before', 'after'),
    count: fc.nat({ max: 12 }),
    by: fc.constantFrom('restoreState', 'replayState'),
  }),
  { minLength: 1, maxLength: 6 },
);

const transports = [
  { function: 'modern', driver: 'modern' },
  { function: 'transitional', driver: 'modern' },
  { function: 'transitional', driver: 'legacy' },
  { function: 'legacy', driver: 'legacy' },
] as const;
const bothWays = [false, true];

/** Every setting with these registers; legacy drivers know neither packed rings nor VIRTIO_F_IN_ORDER. */
function* settingsOf(transport: (typeof transports)[number]): Generator<Setting> {
  const modernOnly = transport.driver === 'modern' ? bothWays : [false];
  for (const packed of modernOnly)
    for (const inOrder of modernOnly)
      for (const eventIndex of bothWays)
        for (const indirect of bothWays)
          for (const msix of bothWays) yield { ...transport, packed, inOrder, eventIndex, indirect, msix };
}

describe.each(transports)('a $function function with a $driver driver, moved under traffic', (transport) => {
  const moved = { chains: 0, completed: 0 };

  it.each([...settingsOf(transport)])(
    'is the same restored and replayed, and answers each request once: packed $packed, in order $inOrder, event index $eventIndex, indirect $indirect, MSI-X $msix',
    async (setting) => {
      const sequences = fc.asyncProperty(moments, async (sequence) => {
        const moving = await moveUnderTraffic(setting, sequence);
        expect(moving.moves).toBe(sequence.length);
        moved.chains += moving.chainsMoved;
        moved.completed += moving.completedMoved;
      });
      await fc.assert(sequences, { numRuns: 2 });
    },
  );

  it('has taken chains under way along, among them completed ones that waited for others', () => {
    expect(moved.chains).toBeGreaterThan(0);
    if (transport.driver === 'modern') expect(moved.completed).toBeGreaterThan(0);
  });
});
