/** What each ring of a device with several counts. */
import { describe, expect, it } from 'vitest';
import { GuestRam, startServer, TestQueue } from './harness.js';
import { NO_FD, Request, u64 } from './raw-front-end.js';

async function bench() {
  const harness = startServer();
  const ram = new GuestRam('counters');
  const frontEnd = await harness.ready(ram);
  const queues = [0, 1].map((index) => new TestQueue(harness.reactor, ram, index));
  const counters = () => [0, 1].map((index) => harness.server.counters(index));
  return { frontEnd, queues, counters };
}

describe('the counters of each ring', () => {
  it('say what happened to it, and nothing of what happened to the other', async () => {
    const { frontEnd, queues, counters } = await bench();
    for (const queue of queues) await queue.start(frontEnd);
    const rounds = [7, 3];
    for (const [index, count] of rounds.entries())
      for (let i = 0; i < count; i++) await queues[index].roundTrip(`request ${i}`);
    for (const [
      index,
      { kicks, interrupts, requests, wakes, spuriousWakes, polls },
    ] of counters().entries()) {
      const count = rounds[index];
      expect({ kicks, interrupts, requests }).toEqual({ kicks: count, interrupts: count, requests: count });
      expect(wakes).toBeGreaterThan(0);
      expect(wakes).toBeLessThanOrEqual(kicks);
      expect(spuriousWakes).toBe(0);
      expect(polls).toBeGreaterThan(0);
    }
  });

  it('count no interrupt where the front-end gave no descriptor for any', async () => {
    const { frontEnd, queues, counters } = await bench();
    for (const queue of queues) await queue.start(frontEnd);
    await frontEnd.set(Request.SET_VRING_CALL, u64(1 | NO_FD));
    queues[1].offer('unheard');
    queues[1].kick();
    await queues[0].roundTrip('heard');
    while (counters()[1].requests === 0) await queues[0].roundTrip('heard');
    expect(counters()[1].interrupts).toBe(0);
    expect(counters()[0].interrupts).toBe(counters()[0].requests);
  });

  it('are zeros where the device is not at work', async () => {
    const { queues, counters } = await bench();
    expect(queues).toHaveLength(2);
    for (const each of counters()) expect(Object.values(each)).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
