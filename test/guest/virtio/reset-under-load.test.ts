import { describe, expect, it } from 'vitest';
import { EchoMachine } from './echo-machine.js';

const LANES = 4;

function eventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe.each([
  ['split', false],
  ['packed', true],
])('%s rings', (_ring, packed) => {
  it('a queue that is reset again and again loses nothing but what was under way in it, and the others nothing', async () => {
    const machine = await EchoMachine.boot({ guest: { packed }, queueCount: 4 });
    let resetsLeft = 25;
    const lanes = Array.from({ length: machine.queueCount * LANES }, async (_, lane) => {
      const queue = lane % machine.queueCount;
      return { queue, ...(await machine.exchangeUntil(queue, () => resetsLeft === 0)) };
    });
    for (; resetsLeft > 0; resetsLeft--) {
      for (let turns = resetsLeft % 4; turns > 0; turns--) await eventLoop();
      await machine.device.resetQueue(resetsLeft % 2);
    }
    const outcomes = await Promise.all(lanes);
    for (const { queue, answered, failed } of outcomes) {
      expect(answered).toBeGreaterThan(0);
      if (queue >= 2) expect(failed).toBe(0);
    }
    expect(outcomes.some(({ failed }) => failed > 0)).toBe(true);
    await machine.exchangeAll(40, 4);
    expect(machine.faults).toEqual([]);
    expect(machine.device.failed).toBe(false);
  });

  it('a device that is reset again and again answers or fails each request once', async () => {
    const machine = await EchoMachine.boot({ guest: { packed } });
    let resetsLeft = 10;
    const lanes = Array.from({ length: 2 * LANES }, (_, lane) =>
      machine.exchangeUntil(lane % 2, () => resetsLeft === 0),
    );
    for (; resetsLeft > 0; resetsLeft--) {
      for (let turns = resetsLeft % 4; turns > 0; turns--) await eventLoop();
      await machine.device.close('EIO', false);
      await machine.open({ packed });
    }
    await Promise.all(lanes);
    await machine.exchangeAll(40, 4);
    expect(machine.faults).toEqual([]);
  });

  it('a function-level reset takes the device off memory at once, and a driver can start again', async () => {
    const machine = await EchoMachine.boot({ guest: { packed } });
    let cutOff = 0;
    for (let round = 0; round < 5; round++) {
      let stopped = false;
      const lanes = Array.from({ length: 2 * LANES }, (_, lane) =>
        machine.exchangeUntil(lane % 2, () => stopped),
      );
      for (let turns = 0; turns < 2 + round; turns++) await eventLoop();
      machine.resetFunctionLevel();
      stopped = true;
      const before = machine.bus.ram.slice();
      for (let turns = 0; turns < 5; turns++) await eventLoop();
      expect(Buffer.compare(machine.bus.ram, before)).toBe(0);
      expect(machine.found.readConfig(4, 2) & 0x7).toBe(0);
      await machine.device.close('EIO', false);
      for (const { failed } of await Promise.all(lanes)) cutOff += failed;
      machine.found.enable();
      await machine.open({ packed });
      await machine.exchangeAll(40, 4);
    }
    expect(cutOff).toBeGreaterThan(0);
    expect(machine.faults).toEqual([]);
  });
});
