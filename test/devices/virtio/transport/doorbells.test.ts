import { describe, expect, it, vi } from 'vitest';
import type { QueueCounters, VirtioDevice } from '../../../../devices/virtio/device.js';
import type { VirtioPciOptions } from '../../../../devices/virtio/transport/virtio-pci.js';
import type { MockSplitDriver } from '../mock-driver.js';
import { nullDevice } from '../null-device.js';
import {
  EVENT_IDX,
  NOTIF_CONFIG_DATA,
  NOTIFICATION_DATA,
  plug,
  Status,
  StructureType,
  VERSION_1,
  type Machine,
} from './mock-pci-driver.js';

const { NOTIFY, PCI } = StructureType;

/** A machine at work with two queues that were looked at once, as every queue is when it comes to life. */
function ready(
  options: Partial<Omit<VirtioPciOptions, 'defer' | 'log'>> = {},
  features = VERSION_1 | EVENT_IDX,
  overrides: Partial<VirtioDevice> = {},
) {
  const machine = plug(nullDevice(overrides), options);
  machine.driver.negotiate(features);
  const queues = [0, 1].map((index) => machine.queue(index));
  for (const [index, queue] of queues.entries()) machine.driver.setUpQueue(index, queue);
  machine.driver.addStatus(Status.DRIVER_OK);
  return { machine, queues };
}

function add(machine: Machine, queue: MockSplitDriver): void {
  queue.add([{ address: machine.buffer(0), length: 4 }]);
}

function ring(machine: Machine, offset: number, value: number, width: 2 | 4 = 2): void {
  machine.driver.writeAt(NOTIFY, offset, width, value);
}

function counted(machine: Machine): Pick<QueueCounters, 'kicks' | 'spuriousWakes' | 'requests'>[] {
  return [0, 1].map((index) => {
    const { kicks, spuriousWakes, requests } = machine.fn.counters(index);
    return { kicks, spuriousWakes, requests };
  });
}

describe('a queue that comes to life', () => {
  it('is looked at without having been woken', () => {
    const { machine } = ready();
    expect(machine.fn.counters(0)).toEqual({
      kicks: 0,
      interrupts: 0,
      wakes: 0,
      spuriousWakes: 0,
      polls: 1,
      requests: 0,
    });
  });
});

describe('a doorbell per queue', () => {
  it('names its queue by its address: the value is not believed', () => {
    const { machine, queues } = ready();
    for (const queue of queues) add(machine, queue);
    ring(machine, 4, 0);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([0, 1]);
    expect(counted(machine)).toEqual([
      { kicks: 0, spuriousWakes: 0, requests: 0 },
      { kicks: 1, spuriousWakes: 0, requests: 1 },
    ]);
  });

  it('counts a wake that found nothing', () => {
    const { machine, queues } = ready();
    ring(machine, 0, 0);
    add(machine, queues[0]);
    ring(machine, 0, 0);
    expect(counted(machine)[0]).toEqual({ kicks: 2, spuriousWakes: 1, requests: 1 });
  });
});

describe('one doorbell for the device', () => {
  const options = { doorbells: ['device'] } as const;

  it('is a notification structure with a multiplier of 0, long enough for 32 bits', () => {
    const { machine } = ready(options);
    const notify = machine.driver.structures.filter(({ type }) => type === NOTIFY);
    expect(notify.map(({ offset, length }) => [offset, length])).toEqual([[0x3000, 4]]);
    expect(machine.fn.readConfig(notify[0].at + 16, 4)).toBe(0);
    expect(machine.fn.bars.find(({ index }) => index === 4)?.sizeBytes).toBe(0x4000);
  });

  it('has all queues looked at, and is counted for the one that it names', () => {
    const { machine, queues } = ready(options);
    const before = machine.fn.counters(1).polls;
    for (const queue of queues) add(machine, queue);
    machine.driver.kick(0);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([1, 1]);
    expect(counted(machine)).toEqual([
      { kicks: 1, spuriousWakes: 0, requests: 1 },
      { kicks: 0, spuriousWakes: 0, requests: 1 },
    ]);
    expect(machine.fn.counters(1).polls).toBe(before + 1);
    machine.driver.kick(1);
    expect(counted(machine)).toEqual([
      { kicks: 1, spuriousWakes: 0, requests: 1 },
      { kicks: 1, spuriousWakes: 1, requests: 1 },
    ]);
  });

  it('has them looked at whatever it names', () => {
    const { machine, queues } = ready(options);
    for (const queue of queues) add(machine, queue);
    ring(machine, 0, 0xffff);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([1, 1]);
    expect(counted(machine).map(({ kicks }) => kicks)).toEqual([0, 0]);
  });

  it('is at no other address', () => {
    const { machine, queues } = ready(options);
    add(machine, queues[0]);
    for (const offset of [1, 2, 4, 8]) ring(machine, offset, 0);
    expect(queues[0].usedIndex).toBe(0);
  });

  it('can stand beside those of the queues, for the driver to choose', () => {
    const { machine, queues } = ready({ doorbells: ['queue', 'device'] });
    const notify = machine.driver.structures.filter(({ type }) => type === NOTIFY);
    expect(notify.map(({ at }) => machine.fn.readConfig(at + 16, 4))).toEqual([4, 0]);
    expect(notify.map(({ offset, length }) => [offset, length])).toEqual([
      [0x3000, 8],
      [0x3008, 4],
    ]);
    for (const queue of queues) add(machine, queue);
    ring(machine, 4, 1);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([0, 1]);
    machine.fn.writeBar(4, notify[1].offset, 2, 1);
    machine.fn.afterWrite();
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([1, 1]);
  });
});

describe('the window through config space', () => {
  it.each([['queue'], ['device']] as const)(
    'rings the doorbell of %s, and is counted the same',
    (doorbell) => {
      const { machine, queues } = ready({ doorbells: [doorbell] });
      const { at } = machine.driver.structure(PCI);
      add(machine, queues[1]);
      machine.fn.writeConfig(at + 4, 1, 4);
      machine.fn.writeConfig(at + 8, 4, 0x3000 + (doorbell === 'queue' ? 4 : 0));
      machine.fn.writeConfig(at + 12, 4, 2);
      machine.fn.writeConfig(at + 16, 2, 1);
      machine.fn.afterWrite();
      expect(counted(machine)[1]).toEqual({ kicks: 1, spuriousWakes: 0, requests: 1 });
    },
  );
});

describe('notification data', () => {
  const FEATURES = VERSION_1 | EVENT_IDX | NOTIFICATION_DATA | NOTIF_CONFIG_DATA;

  it('names a queue for the doorbell of the device', () => {
    const { machine, queues } = ready({ doorbells: ['device'] }, FEATURES);
    machine.driver.write('queueSelect', 1);
    const name = machine.driver.read('queueNotifyData');
    add(machine, queues[1]);
    ring(machine, 0, name | (1 << 16), 4);
    expect(counted(machine)).toEqual([
      { kicks: 0, spuriousWakes: 0, requests: 0 },
      { kicks: 1, spuriousWakes: 0, requests: 1 },
    ]);
  });

  it('is never believed: a ring is looked at, and gives what it has, whatever its driver says of it', () => {
    const { machine, queues } = ready({}, FEATURES);
    for (const lie of [0, 1, 0x7fff, 0x8000, 0xffff, 0xdead]) {
      const { usedIndex } = queues[0];
      ring(machine, 0, (lie << 16) >>> 0, 4);
      expect(queues[0].usedIndex).toBe(usedIndex);
      queues[0].reap();
      add(machine, queues[0]);
      ring(machine, 0, (lie << 16) >>> 0, 4);
      expect(queues[0].usedIndex).toBe(usedIndex + 1);
    }
    expect(machine.log).toEqual([]);
    expect(machine.driver.read('status') & Status.NEEDS_RESET).toBe(0);
  });

  it('has no register for a queue’s name where that was not negotiated', () => {
    const { machine } = ready();
    machine.driver.write('queueSelect', 1);
    expect(machine.driver.read('queueNotifyData')).toBe(0);
  });
});

describe('a polled device', () => {
  /** Runs what was put off until then, once. */
  function look(machine: Machine): void {
    for (const work of machine.deferred.splice(0)) work();
  }

  it('finds what no doorbell told of, on every queue, and says that it needs none', () => {
    const { machine, queues } = ready({ polled: true });
    look(machine);
    // The index that its driver would have to pass was passed when the first chains came.
    for (const queue of queues) add(machine, queue);
    for (const queue of queues) queue.kickNeeded();
    look(machine);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([1, 1]);
    for (let i = 0; i < 3; i++) {
      for (const queue of queues) {
        queue.reap();
        add(machine, queue);
        expect(queue.kickNeeded()).toBe(false);
      }
      look(machine);
      expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([2 + i, 2 + i]);
    }
    expect(counted(machine)).toEqual([
      { kicks: 0, spuriousWakes: 0, requests: 4 },
      { kicks: 0, spuriousWakes: 0, requests: 4 },
    ]);
    expect(machine.fn.counters(0).polls).toBeGreaterThanOrEqual(5);
  });

  it('asks drivers without the event index not to notify, too, and is not put off by one that does', () => {
    const { machine, queues } = ready({ polled: true }, VERSION_1);
    const NO_NOTIFY = 1;
    expect(queues[0].usedFlags).toBe(NO_NOTIFY);
    add(machine, queues[0]);
    machine.driver.kick(0);
    expect(queues[0].usedIndex).toBe(1);
    expect(queues[0].usedFlags).toBe(NO_NOTIFY);
    add(machine, queues[0]);
    look(machine);
    expect(queues[0].usedIndex).toBe(2);
    expect(machine.fn.counters(0)).toMatchObject({ kicks: 1, spuriousWakes: 0, requests: 2 });
  });

  it('pauses while there is nothing, and finds what comes then', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { machine, queues } = ready({ polled: true });
      for (let looks = 0; machine.deferred.length > 0 && looks < 1000; looks++) look(machine);
      expect(machine.deferred).toEqual([]);
      expect(vi.getTimerCount()).toBe(1);
      add(machine, queues[1]);
      vi.runOnlyPendingTimers();
      expect(queues[1].usedIndex).toBe(1);
      expect(machine.deferred).toHaveLength(1);
    } finally {
      vi.useRealTimers();
    }
  });

  it.each([
    ['a reset', (machine: Machine) => machine.driver.write('status', 0)],
    ['a reset of the function', (machine: Machine) => machine.fn.reset()],
    [
      'a fault',
      (machine: Machine, queue: MockSplitDriver) => {
        queue.setAvailIndex(0x4000);
        look(machine);
      },
    ],
  ])('looks at nothing after %s, and leaves no timer', (_what, end) => {
    const { machine, queues } = ready({ polled: true });
    look(machine);
    end(machine, queues[0]);
    const { usedIndex } = queues[1];
    add(machine, queues[1]);
    for (let looks = 0; looks < 100; looks++) look(machine);
    expect(queues[1].usedIndex).toBe(usedIndex);
    expect(machine.deferred).toEqual([]);
  });

  it('leaves memory alone while it may not master the bus, and goes on afterwards', () => {
    const { machine, queues } = ready({ polled: true });
    machine.fn.writeConfig(0x04, 2, 0x0002);
    add(machine, queues[0]);
    look(machine);
    expect(queues[0].usedIndex).toBe(0);
    machine.fn.writeConfig(0x04, 2, 0x0006);
    look(machine);
    expect(queues[0].usedIndex).toBe(1);
  });

  it('stops in the middle of a look where an interrupt makes its driver reset it', () => {
    const { machine, queues } = ready({ polled: true, msix: false });
    machine.fn.connect({
      triggerMsix: () => {},
      setIntx: (asserted) => {
        if (asserted) machine.driver.write('status', 0);
      },
    });
    add(machine, queues[0]);
    add(machine, queues[1]);
    look(machine);
    expect(queues.map(({ usedIndex }) => usedIndex)).toEqual([1, 0]);
    expect(machine.deferred).toEqual([]);
  });
});
