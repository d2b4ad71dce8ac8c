import { describe, expect, it, vi } from 'vitest';
import type { Chain, Virtqueue } from '../../../devices/virtio/device.js';
import { QueueService } from '../../../devices/virtio/queue-service.js';
import { nullDevice } from './null-device.js';
import { makeRing } from './ring/fixture.js';
import { interposed } from './ring/interposed.js';

function serve(fixture: ReturnType<typeof makeRing>, beforeEnable: () => void = () => {}): QueueService {
  return new QueueService(interposed(fixture.ring, beforeEnable), nullDevice(), fixture.counters);
}

for (const eventIdx of [false, true]) {
  describe(`a queue's service with ${eventIdx ? 'event index' : 'flags'}`, () => {
    it('serves all that is there and publishes it with one interrupt', () => {
      const fixture = makeRing({ eventIdx });
      for (let i = 0; i < 5; i++)
        fixture.driver.add([{ address: fixture.page(i), length: i, writable: true }]);
      expect(serve(fixture).service(100)).toBe(false);
      expect(fixture.driver.reap().map(({ length }) => length)).toEqual([0, 1, 2, 3, 4]);
      expect(fixture.interrupts).toHaveLength(1);
      expect(fixture.counters).toMatchObject({ requests: 5, interrupts: 1, spuriousWakes: 0 });
    });

    it('serves what comes between its last look and the return of notifications', () => {
      const fixture = makeRing({ eventIdx });
      let late = 2;
      const service = serve(fixture, () => {
        if (late-- > 0) fixture.driver.add([{ address: fixture.page(late), length: 1 }]);
      });
      expect(service.service(100)).toBe(false);
      expect(fixture.driver.reap()).toHaveLength(2);
    });

    it('stops at its budget with notifications still off, and goes on at the next call', () => {
      const fixture = makeRing({ eventIdx });
      const service = serve(fixture);
      for (let i = 0; i < 7; i++) fixture.driver.add([{ address: fixture.page(i), length: 1 }]);
      // Asked for at the first chain; the other six are behind that.
      expect(fixture.driver.kickNeeded()).toBe(true);
      expect(service.service(3)).toBe(true);
      expect(fixture.driver.reap()).toHaveLength(3);
      fixture.driver.add([{ address: fixture.page(0), length: 1 }]);
      expect(fixture.driver.kickNeeded()).toBe(false);
      expect(service.service(3)).toBe(true);
      expect(service.service(3)).toBe(false);
      expect(fixture.driver.reap()).toHaveLength(5);
      fixture.driver.add([{ address: fixture.page(0), length: 1 }]);
      expect(fixture.driver.kickNeeded()).toBe(true);
    });

    it('ends though a driver adds a chain whenever it is about to', () => {
      const fixture = makeRing({ eventIdx });
      const service = serve(fixture, () => {
        fixture.driver.reap();
        fixture.driver.add([{ address: fixture.page(0), length: 1 }]);
      });
      fixture.driver.add([{ address: fixture.page(0), length: 1 }]);
      expect(service.service(50)).toBe(true);
      expect(fixture.counters.requests).toBe(50);
    });

    it('ends though a driver moves its index to and fro without ever adding a chain', () => {
      const fixture = makeRing({ eventIdx });
      const { ring, driver } = fixture;
      let looks = 0;
      const fidgety = {
        ...interposed(ring, () => driver.setAvailIndex(1)),
        pop: () => {
          looks++;
          driver.setAvailIndex(0);
          return ring.pop();
        },
      };
      const service = new QueueService(fidgety, nullDevice(), fixture.counters);
      expect(service.service(20)).toBe(true);
      expect(looks).toBeLessThanOrEqual(20);
    });

    it('counts a wake that found nothing', () => {
      const fixture = makeRing({ eventIdx });
      expect(serve(fixture).service(8)).toBe(false);
      expect(fixture.counters).toMatchObject({ spuriousWakes: 1, requests: 0, interrupts: 0 });
    });

    it('polls without a word to the driver about notifications', () => {
      const fixture = makeRing({ eventIdx });
      const service = serve(fixture, () => expect.unreachable());
      const { availEvent, usedFlags } = fixture.driver;
      expect(service.poll(8)).toBe(0);
      for (let i = 0; i < 3; i++) fixture.driver.add([{ address: fixture.page(i), length: 1 }]);
      expect(service.poll(2)).toBe(2);
      expect(service.poll(8)).toBe(1);
      expect(fixture.driver.reap()).toHaveLength(3);
      expect([fixture.driver.availEvent, fixture.driver.usedFlags]).toEqual([availEvent, usedFlags]);
      expect(fixture.counters).toMatchObject({ polls: 3, requests: 3, spuriousWakes: 0 });
    });
  });
}

describe("a queue's service", () => {
  it('leaves chains that the device keeps for later with the device', () => {
    const fixture = makeRing();
    const kept: Chain[] = [];
    const device = nullDevice({ handleChain: (_, chain) => void kept.push(chain) });
    const service = new QueueService(fixture.ring, device, fixture.counters);
    fixture.driver.add([{ address: fixture.page(0), length: 9, writable: true }]);
    expect(service.service(8)).toBe(false);
    expect(fixture.driver.usedIndex).toBe(0);
    fixture.ring.push(kept[0], 4);
    fixture.ring.flush();
    expect(fixture.driver.reap()[0].length).toBe(4);
  });

  it('stops at once when a chain breaks the ring, with what was done before published', () => {
    const fixture = makeRing();
    const handled = vi.fn((queue: Virtqueue, done: Chain) => queue.push(done, 0));
    const service = new QueueService(fixture.ring, nullDevice({ handleChain: handled }), fixture.counters);
    fixture.driver.add([{ address: fixture.page(0), length: 1 }]);
    fixture.driver.stageHead(77);
    fixture.driver.publish();
    expect(service.service(8)).toBe(false);
    expect(handled).toHaveBeenCalledTimes(1);
    expect(fixture.problems).toHaveLength(1);
  });
});

describe('a queue that its device fills', () => {
  function filled(buffersAdded: (queue: Virtqueue) => number) {
    const fixture = makeRing();
    for (let i = 0; i < 3; i++) fixture.driver.add([{ address: fixture.page(i), length: 8, writable: true }]);
    const handleChain = vi.fn();
    const turnedOn = vi.fn();
    const device = nullDevice({
      handleChain,
      filledQueues: { includes: (index) => index === 3, buffersAdded },
    });
    const service = new QueueService(interposed(fixture.ring, turnedOn), device, fixture.counters);
    return { fixture, service, handleChain, turnedOn };
  }

  it('keeps its chains, however it is looked at, and its notifications as the device set them', () => {
    const { fixture, service, handleChain, turnedOn } = filled(() => 0);
    const muted = vi.spyOn(fixture.ring, 'disableNotifications');
    expect(service.service(100)).toBe(false);
    service.wake(100);
    service.mute();
    expect(service.poll(100)).toBe(0);
    expect(service.rest()).toBe(false);
    for (const spy of [handleChain, turnedOn, muted]) expect(spy).not.toHaveBeenCalled();
    expect(fixture.ring.position).toEqual({ nextAvail: 0, nextUsed: 0 });
    expect(fixture.counters).toMatchObject({ wakes: 2, polls: 1, requests: 0 });
  });

  it('is flushed where the device had something for it', () => {
    const { fixture, service } = filled((queue) => {
      queue.push(queue.pop()!, 5);
      return 1;
    });
    expect(service.poll(100)).toBe(1);
    expect(service.service(100)).toBe(false);
    expect(fixture.driver.reap().map(({ length }) => length)).toEqual([5, 5]);
  });
});
