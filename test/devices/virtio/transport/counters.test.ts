/** What each queue of a device with several counts, held against what its driver did. */
import { describe, expect, it } from 'vitest';
import type { Chain, QueueCounters, Virtqueue } from '../../../../devices/virtio/device.js';
import { newQueueCounters } from '../../../../devices/virtio/ring/running-ring.js';
import { randomFrom } from '../../../support/random.js';
import type { MockSplitDriver } from '../mock-driver.js';
import { nullDevice } from '../null-device.js';
import { NO_VECTOR, plug, Status, StructureType, type Machine } from './mock-pci-driver.js';

const QUEUES = 4;
/** The last one has no vector: its driver hears of nothing. */
const DEAF = QUEUES - 1;

interface Scene {
  readonly machine: Machine;
  readonly queues: readonly MockSplitDriver[];
  readonly expected: readonly QueueCounters[];
  readonly kept: { readonly queue: Virtqueue; readonly chain: Chain }[];
}

/** Queue 2 keeps its chains, as a device does that waits for a disk. */
function start(doorbell: 'queue' | 'device'): Scene {
  const kept: Scene['kept'] = [];
  const device = nullDevice({
    queueSizes: new Array<number>(QUEUES).fill(8),
    handleChain: (queue, chain) => {
      if (queue.index === 2) kept.push({ queue, chain });
      else queue.push(chain, 0);
    },
  });
  const machine = plug(device, { doorbells: [doorbell] });
  const [msix] = machine.driver.capabilities(0x11);
  machine.fn.writeConfig(msix + 2, 2, 0x8000);
  machine.driver.negotiate();
  const queues = Array.from({ length: QUEUES }, (_, index) => machine.queue(index));
  for (const [index, queue] of queues.entries())
    machine.driver.setUpQueue(index, queue, index === DEAF ? NO_VECTOR : index + 1);
  machine.driver.addStatus(Status.DRIVER_OK);
  // Every queue is looked at once when it comes to life.
  const expected = queues.map(() => ({ ...newQueueCounters(), polls: 1 }));
  return { machine, queues, expected, kept };
}

function counted({ machine }: Scene): QueueCounters[] {
  return Array.from({ length: QUEUES }, (_, index) => ({ ...machine.fn.counters(index) }));
}

/** Chains of a queue that its driver wants to hear of come back. */
function answered({ queues, expected }: Scene, index: number, chains: number): void {
  expected[index].requests += chains;
  if (chains > 0 && index !== DEAF) expected[index].interrupts++;
  queues[index].reap();
  queues[index].allowInterrupts();
}

describe.each(['queue', 'device'] as const)(
  'the counters of each queue, with a doorbell a %s',
  (doorbell) => {
    it('say what happened to it, and nothing of what happened to others', () => {
      const scene = start(doorbell);
      const { machine, queues, expected, kept } = scene;
      const random = randomFrom(7);
      const waiting = queues.map(() => 0);
      for (const queue of queues) queue.allowInterrupts();
      for (let step = 0; step < 2000; step++) {
        const index = random(QUEUES);
        const chains = Math.min(random(3), queues[index].free);
        for (let i = 0; i < chains; i++) queues[index].add([{ address: machine.buffer(i), length: 4 }]);
        waiting[index] += chains;
        if (random(4) === 0) continue;
        const at = doorbell === 'queue' ? 4 * index : 0;
        machine.driver.writeAt(StructureType.NOTIFY, at, 2, index);
        expected[index].kicks++;
        expected[index].wakes++;
        if (waiting[index] === 0) expected[index].spuriousWakes++;
        for (const [other, found] of waiting.entries()) {
          const isLookedAt = other === index || doorbell === 'device';
          if (!isLookedAt) continue;
          if (other !== index) expected[other].polls++;
          if (other !== 2) answered(scene, other, found);
          waiting[other] = 0;
        }
        if (random(3) === 0) {
          const done = kept.splice(0);
          for (const { queue, chain } of done) queue.push(chain, 0);
          for (const queue of new Set(done.map((each) => each.queue))) queue.flush();
          answered(scene, 2, done.length);
        }
        expect(counted(scene)).toEqual(expected);
      }
      expect(
        expected.every(({ kicks, requests, spuriousWakes }) => Math.min(kicks, requests, spuriousWakes) > 50),
      ).toBe(true);
    });

    it('start at zero with the next driver', () => {
      const scene = start(doorbell);
      machineKick(scene, doorbell, 1);
      scene.machine.driver.write('status', 0);
      expect(counted(scene)).toEqual(scene.expected.map(() => newQueueCounters()));
    });
  },
);

describe('a doorbell for the whole device that names a queue there is not', () => {
  it('is no queue’s kick, and has them all looked at', () => {
    const scene = start('device');
    machineKick(scene, 'device', QUEUES);
    expect(counted(scene)).toEqual(scene.expected.map((each) => ({ ...each, polls: 2 })));
  });
});

function machineKick({ machine }: Scene, doorbell: 'queue' | 'device', index: number): void {
  machine.driver.writeAt(StructureType.NOTIFY, doorbell === 'queue' ? 4 * index : 0, 2, index);
}
