import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Chain, DeviceContext, VirtioDevice } from '../../../devices/virtio/device.js';
import { DeviceSession, type AwakeSession } from '../../../devices/virtio/device-session.js';
import { nullDevice } from './null-device.js';
import { makeRing, RAM_ADDRESS, type RingFixture } from './ring/fixture.js';
import { MockSplitDriver } from './mock-driver.js';
import { QueueConfig } from '../../../devices/virtio/ring/queue-config.js';

const EVENT_IDX = 1n << 29n;
const QUEUE_BYTES = 0x1_0000;

interface Scene {
  readonly session: DeviceSession;
  readonly drivers: readonly MockSplitDriver[];
  readonly memory: RingFixture['memory'];
  readonly region: RingFixture['region'];
  readonly ram: Uint8Array;
  readonly events: string[];
  /** Work put off to the event loop. */
  readonly deferred: (() => void)[];
  /** What asked to be polled. */
  readonly awake: AwakeSession[];
  /** Called at each interrupt, as a driver in this process would be. */
  onInterrupt: (queueIndex: number) => void;
  buffer(n: number): number;
}

/** A session of `device` with two queues of 256 in one RAM, whose transport can poll it or not. */
function start(overrides: Partial<VirtioDevice> = {}, polls = false): Scene {
  const { memory, ram, region } = makeRing();
  const device = nullDevice({ queueSizes: [256, 256], ...overrides });
  const events: string[] = [];
  const deferred: (() => void)[] = [];
  const awake: AwakeSession[] = [];
  const session = new DeviceSession(device, EVENT_IDX, {
    interruptQueue: (index) => {
      events.push(`interrupt ${index}`);
      scene.onInterrupt(index);
    },
    configChanged: () => void events.push('config'),
    needsReset: (reason) => void events.push(`needs reset: ${reason.split('\n')[0]}`),
    defer: (work) => void deferred.push(work),
    keepAwake: polls ? (asking) => void awake.push(asking) : undefined,
  });
  const drivers = [0, 1].map((index) => {
    const part = ram.subarray(index * QUEUE_BYTES, (index + 1) * QUEUE_BYTES);
    const ramAddress = RAM_ADDRESS + index * QUEUE_BYTES;
    const driver = new MockSplitDriver(part, { ramAddress, size: 256, eventIdx: true });
    const config = new QueueConfig(index, 256);
    config.descriptorArea.set(driver.descriptorArea);
    config.driverArea.set(driver.driverArea);
    config.deviceArea.set(driver.deviceArea);
    const { ring } = config.activate(memory, EVENT_IDX, session, session.counters(index));
    if (ring !== undefined) session.addRing(ring);
    return driver;
  });
  const buffer = (n: number): number => RAM_ADDRESS + 4 * QUEUE_BYTES + n * 64;
  const scene: Scene = {
    session,
    drivers,
    memory,
    region,
    ram,
    events,
    deferred,
    awake,
    onInterrupt: () => {},
    buffer,
  };
  session.activate();
  session.run();
  for (const asking of awake.splice(0)) asking.rest();
  events.length = 0;
  return scene;
}

function add(scene: Scene, queue: number, count = 1): void {
  for (let i = 0; i < count; i++) scene.drivers[queue].add([{ address: scene.buffer(i), length: 4 }]);
}

describe('a device session', () => {
  it('serves what was put into a queue before the device came to life', () => {
    const { memory, ram } = makeRing();
    const driver = new MockSplitDriver(ram, { ramAddress: RAM_ADDRESS, size: 8, eventIdx: true });
    driver.add([{ address: driver.freeAddress, length: 4 }]);
    const config = new QueueConfig(0, 8);
    config.descriptorArea.set(driver.descriptorArea);
    config.driverArea.set(driver.driverArea);
    config.deviceArea.set(driver.deviceArea);
    const transport = {
      interruptQueue: () => {},
      configChanged: () => {},
      needsReset: () => {},
      defer: () => {},
    };
    const session = new DeviceSession(nullDevice(), EVENT_IDX, transport);
    const { ring } = config.activate(memory, EVENT_IDX, session, session.counters(0));
    if (ring !== undefined) session.addRing(ring);
    session.activate();
    expect(session.needsService).toBe(true);
    expect(session.run()).toBe(false);
    expect(driver.reap()).toHaveLength(1);
  });

  it('does nothing at a kick until it runs', () => {
    const scene = start();
    add(scene, 1);
    scene.session.kick(1);
    expect(scene.drivers[1].usedIndex).toBe(0);
    expect(scene.session.needsService).toBe(true);
    scene.session.run();
    expect(scene.drivers[1].usedIndex).toBe(1);
    expect(scene.events).toEqual(['interrupt 1']);
    expect(scene.session.counters(1)).toMatchObject({ kicks: 1, interrupts: 1, requests: 1 });
    expect(scene.session.counters(0)).toMatchObject({ kicks: 0, requests: 0 });
  });

  it('ignores kicks of queues that do not exist', () => {
    const scene = start();
    for (const index of [2, -1, 65535, 0.5]) scene.session.kick(index);
    expect(scene.session.needsService).toBe(false);
  });

  it('lets a full queue not starve another, and goes on from the event loop', () => {
    const order: number[] = [];
    const scene = start({
      handleChain: (queue, chain) => {
        order.push(queue.index);
        queue.push(chain, 0);
      },
    });
    add(scene, 0, 256);
    add(scene, 1, 1);
    scene.session.kick(0);
    scene.session.kick(1);
    expect(scene.session.run()).toBe(true);
    expect(order.indexOf(1)).toBe(128);
    expect(order).toHaveLength(129);
    expect(scene.deferred).toHaveLength(1);
    // Another call in the meantime puts nothing off twice.
    scene.session.run();
    expect(scene.deferred).toHaveLength(1);
    while (scene.deferred.length > 0) scene.deferred.shift()?.();
    expect(order).toHaveLength(257);
    expect(scene.session.needsService).toBe(false);
  });

  it('keeps kicks while it is paused', () => {
    const scene = start();
    scene.session.paused = true;
    add(scene, 0);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.session.poll(0)).toBe(0);
    expect(scene.drivers[0].usedIndex).toBe(0);
    scene.session.paused = false;
    scene.session.run();
    expect(scene.drivers[0].usedIndex).toBe(1);
  });

  it('keeps completions while it is paused, and touches no memory', () => {
    const kept: Chain[] = [];
    const scene = start({ handleChain: (_, chain) => void kept.push(chain) });
    add(scene, 0, 2);
    scene.session.kick(0);
    scene.session.run();
    const queue = scene.session.queues[0];
    queue?.push(kept[0], 0);
    scene.session.paused = true;
    const before = scene.ram.slice();
    queue?.push(kept[1], 0);
    queue?.flush();
    expect(queue?.enableNotifications()).toBe(false);
    queue?.disableNotifications();
    expect(Buffer.compare(scene.ram, before)).toBe(0);
    scene.session.paused = false;
    scene.session.kickAll();
    scene.session.run();
    expect(scene.drivers[0].usedIndex).toBe(2);
    expect(scene.events).toEqual(['interrupt 0']);
    expect(scene.session.counters(0).requests).toBe(2);
  });

  it('polls one queue', () => {
    const scene = start();
    const before = scene.session.counters(0).polls;
    add(scene, 0, 3);
    expect(scene.session.poll(0)).toBe(3);
    expect(scene.session.poll(0)).toBe(0);
    expect(scene.session.poll(7)).toBe(0);
    expect(scene.session.counters(0).polls).toBe(before + 2);
  });

  it('passes config changes on', () => {
    const scene = start();
    scene.session.configChanged();
    expect(scene.events).toEqual(['config']);
  });
});

describe('a device session that is polled after a wake', () => {
  it('asks for it once a wake, takes what comes without a kick, and turns notifications on when it rests', () => {
    const scene = start({}, true);
    add(scene, 0);
    expect(scene.drivers[0].kickNeeded()).toBe(true);
    scene.session.kick(0);
    expect(scene.session.run()).toBe(false);
    expect(scene.awake).toHaveLength(1);
    add(scene, 0, 3);
    expect(scene.drivers[0].kickNeeded()).toBe(false);
    expect(scene.awake[0].poll()).toBe(true);
    expect(scene.awake[0].poll()).toBe(false);
    expect(scene.drivers[0].usedIndex).toBe(4);
    expect(scene.awake[0].rest()).toBe(false);
    add(scene, 0);
    expect(scene.drivers[0].kickNeeded()).toBe(true);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.awake).toHaveLength(2);
    expect(scene.session.counters(0)).toMatchObject({ kicks: 2, requests: 5 });
  });

  it('looks after the siblings of the queue that was kicked', () => {
    const scene = start({}, true);
    add(scene, 0);
    add(scene, 1);
    expect(scene.drivers[1].kickNeeded()).toBe(true);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.drivers[1].usedIndex).toBe(1);
    add(scene, 1);
    expect(scene.drivers[1].kickNeeded()).toBe(false);
    scene.awake[0].poll();
    expect(scene.drivers[1].usedIndex).toBe(2);
    expect(scene.session.counters(1)).toMatchObject({ kicks: 0, requests: 2 });
  });

  it('is polled on where a chain came before it could rest', () => {
    const scene = start({}, true);
    scene.session.kick(0);
    scene.session.run();
    add(scene, 0);
    expect(scene.awake[0].rest()).toBe(true);
    expect(scene.awake[0].poll()).toBe(true);
    expect(scene.drivers[0].usedIndex).toBe(1);
    expect(scene.awake[0].rest()).toBe(false);
    expect(scene.awake).toHaveLength(1);
  });

  it('leaves no chain for ever, whenever it comes', () => {
    const scene = start({}, true);
    // A budget's worth of work and more: what is left is found by polling, without a turn of its own.
    add(scene, 0, 256);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.drivers[0].usedIndex).toBe(128);
    expect(scene.deferred).toHaveLength(0);
    while (scene.awake[0].poll());
    expect(scene.drivers[0].usedIndex).toBe(256);
  });

  it('touches nothing while it is paused, not even to rest, and serves what came afterwards', () => {
    const scene = start({}, true);
    scene.session.kick(0);
    scene.session.run();
    scene.session.paused = true;
    add(scene, 0);
    expect(scene.awake[0].poll()).toBe(false);
    expect(scene.awake[0].rest()).toBe(false);
    expect(scene.drivers[0].usedIndex).toBe(0);
    scene.session.paused = false;
    scene.session.run();
    expect(scene.drivers[0].usedIndex).toBe(1);
    expect(scene.awake).toHaveLength(2);
  });

  it('does nothing any more once it has ended, or a queue was removed', () => {
    const scene = start({}, true);
    scene.session.kick(0);
    scene.session.run();
    add(scene, 0);
    scene.session.removeRing(0);
    expect(scene.awake[0].poll()).toBe(false);
    add(scene, 1);
    scene.session.end();
    expect(scene.awake[0].poll()).toBe(false);
    expect(scene.awake[0].rest()).toBe(false);
    expect(scene.drivers.map(({ usedIndex }) => usedIndex)).toEqual([0, 0]);
  });

  it('becomes a fault where the device throws while it is polled', () => {
    const scene = start(
      {
        handleChain: () => {
          throw new Error('a bug');
        },
      },
      true,
    );
    scene.session.kick(0);
    scene.session.run();
    add(scene, 0);
    scene.awake[0].poll();
    expect(scene.events).toEqual(['needs reset: the device failed: Error: a bug']);
    expect(scene.awake[0].rest()).toBe(false);
  });
});

describe('faults', () => {
  it('a broken queue asks for a reset once and stops all queues of its device', () => {
    const scene = start();
    scene.drivers[0].setAvailIndex(0x7000);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.events).toHaveLength(1);
    expect(scene.events[0]).toMatch(/^needs reset: queue 0: the available index/);
    add(scene, 1);
    scene.session.kick(1);
    scene.session.run();
    scene.session.fault('again');
    expect(scene.drivers[1].usedIndex).toBe(0);
    expect(scene.events).toHaveLength(1);
  });

  it('an exception of the device in a chain, at activation or in a poll becomes a fault', () => {
    const fail = () => {
      throw new Error('a bug');
    };
    const inChain = start({ handleChain: fail });
    add(inChain, 0);
    inChain.session.kick(0);
    inChain.session.run();
    expect(inChain.events).toEqual(['needs reset: the device failed: Error: a bug']);
    const inPoll = start({ handleChain: fail });
    add(inPoll, 0);
    expect(inPoll.session.poll(0)).toBe(0);
    expect(inPoll.events).toEqual(['needs reset: the device failed: Error: a bug']);
    const events: string[] = [];
    const transport = {
      ...{ interruptQueue: () => {}, configChanged: () => {}, defer: () => {} },
      needsReset: (reason: string) => void events.push(reason),
    };
    new DeviceSession(nullDevice({ activate: fail }), 0n, transport).activate();
    expect(events).toHaveLength(1);
  });

  it('a device that declares itself broken gets no more chains', () => {
    let context: DeviceContext | undefined;
    let handled = 0;
    const scene = start({
      activate: (given) => (context = given),
      handleChain: () => {
        handled++;
        context?.fault('cannot go on');
      },
    });
    add(scene, 0, 5);
    scene.session.kick(0);
    scene.session.run();
    expect(handled).toBe(1);
    expect(scene.events).toEqual(['needs reset: cannot go on']);
  });
});

describe('memory that is away for a moment', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it.each([[false], [true]])(
    'does not spin while it is away, and serves what was kicked when it is back (polled: %s)',
    (polls) => {
      const scene = start({}, polls);
      scene.memory.clear();
      add(scene, 0);
      scene.session.kick(0);
      expect(scene.session.run()).toBe(false);
      expect(scene.deferred).toHaveLength(0);
      for (const asking of scene.awake.splice(0)) {
        expect(asking.poll()).toBe(false);
        expect(asking.rest()).toBe(false);
      }
      expect(scene.session.run()).toBe(false);
      scene.memory.addRegion(scene.region);
      expect(scene.session.run()).toBe(false);
      expect(scene.drivers[0].usedIndex).toBe(1);
      vi.advanceTimersByTime(10_000);
      expect(scene.events).toEqual(['interrupt 0']);
    },
  );

  it.each([[false], [true]])(
    'completions of meanwhile reach the driver when it is back, without another kick (polled: %s)',
    (polls) => {
      const kept: Chain[] = [];
      const scene = start({ handleChain: (_, chain) => void kept.push(chain) }, polls);
      add(scene, 0);
      scene.session.kick(0);
      scene.session.run();
      for (const asking of scene.awake.splice(0)) asking.rest();
      scene.memory.clear();
      scene.session.queues[0]?.push(kept[0], 0);
      scene.session.queues[0]?.flush();
      expect(scene.drivers[0].usedIndex).toBe(0);
      scene.memory.addRegion(scene.region);
      scene.session.run();
      expect(scene.drivers[0].usedIndex).toBe(1);
      expect(scene.events).toEqual(['interrupt 0']);
    },
  );

  it('each change of memory starts the wait anew, and costs one look of each queue that waits', () => {
    const scene = start();
    scene.memory.clear();
    scene.session.kick(0);
    scene.session.run();
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(1500);
      scene.memory.clear();
      const { polls } = scene.session.counters(0);
      scene.session.run();
      scene.session.run();
      expect(scene.session.counters(0).polls).toBe(polls + 1);
    }
    expect(scene.events).toEqual([]);
    vi.advanceTimersByTime(2000);
    expect(scene.events).toEqual(['needs reset: queue 0: the descriptor area is not in memory']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('a map that came unnoticed gets its own time before the driver answers for it', () => {
    const scene = start();
    scene.memory.clear();
    scene.session.kick(0);
    scene.session.run();
    vi.advanceTimersByTime(1000);
    scene.memory.clear();
    vi.advanceTimersByTime(1000);
    expect(scene.events).toEqual([]);
    vi.advanceTimersByTime(2000);
    expect(scene.events).toHaveLength(1);
  });

  it('an address that was never memory breaks the ring at once in the map that it was started in', () => {
    const scene = start();
    scene.drivers[0].add([{ address: 0, length: 4 }]);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.events).toEqual(['needs reset: queue 0: a buffer lies outside memory']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('a queue that is removed is not waited for', () => {
    const scene = start();
    scene.memory.clear();
    scene.session.kick(0);
    scene.session.run();
    scene.session.removeRing(0);
    vi.advanceTimersByTime(10_000);
    expect(scene.events).toEqual([]);
  });
});

describe('DMA re-entrancy and use after reset (CVE-2024-3446, CVE-2026-45782)', () => {
  it('a driver that rings a doorbell from its interrupt handler does not nest the device', () => {
    let depth = 0;
    let deepest = 0;
    const scene = start({
      handleChain: (queue, chain) => {
        deepest = Math.max(deepest, ++depth);
        queue.push(chain, 0);
        queue.flush();
        depth--;
      },
    });
    let more = 10;
    scene.onInterrupt = (index) => {
      scene.drivers[index].reap();
      scene.drivers[index].allowInterrupts();
      if (more-- > 0) add(scene, index);
      scene.session.kick(index);
      scene.session.run();
    };
    scene.drivers[0].allowInterrupts();
    add(scene, 0);
    scene.session.kick(0);
    scene.session.run();
    while (scene.deferred.length > 0) scene.deferred.shift()?.();
    expect(deepest).toBe(1);
    expect(scene.session.counters(0).requests).toBe(11);
  });

  it('a kick of an earlier queue from an interrupt handler is not lost', () => {
    const scene = start();
    scene.onInterrupt = (index) => {
      if (index !== 1) return;
      add(scene, 0);
      scene.session.kick(0);
      scene.session.run();
    };
    add(scene, 1);
    scene.session.kick(1);
    expect(scene.session.run()).toBe(true);
    while (scene.deferred.length > 0) scene.deferred.shift()?.();
    expect(scene.drivers[0].usedIndex).toBe(1);
  });

  it('a reset from an interrupt handler ends the work under way', () => {
    const scene = start();
    scene.onInterrupt = () => scene.session.end();
    add(scene, 0);
    add(scene, 1);
    scene.session.kick(0);
    scene.session.kick(1);
    expect(scene.session.run()).toBe(false);
    expect(scene.drivers[1].usedIndex).toBe(0);
    expect(scene.deferred).toHaveLength(0);
  });

  it('completions, interrupts, config changes and faults after a reset vanish', () => {
    const kept: Chain[] = [];
    const scene = start({ handleChain: (_, chain) => void kept.push(chain) });
    add(scene, 0);
    scene.session.kick(0);
    scene.session.run();
    const queue = scene.session.queues[0];
    scene.session.end();
    queue?.push(kept[0], 0);
    queue?.flush();
    scene.session.configChanged();
    scene.session.fault('too late');
    expect(scene.drivers[0].usedIndex).toBe(0);
    expect(scene.events).toEqual([]);
  });

  it('work that was put off before a reset does nothing after it', () => {
    const scene = start();
    add(scene, 0, 200);
    scene.session.kick(0);
    scene.session.run();
    const { usedIndex } = scene.drivers[0];
    scene.session.end();
    for (const work of scene.deferred) work();
    expect(scene.drivers[0].usedIndex).toBe(usedIndex);
    expect(usedIndex).toBe(128);
  });

  it('a queue that is taken away from within its own service stays away', () => {
    const scene = start({
      handleChain: (queue, chain) => {
        queue.push(chain, 0);
        scene.session.removeRing(queue.index);
      },
    });
    add(scene, 0, 3);
    scene.session.kick(0);
    scene.session.run();
    expect(scene.session.counters(0).requests).toBe(0);
    expect(scene.session.queues[0]).toBeUndefined();
    expect(scene.session.needsService).toBe(false);
  });
});
