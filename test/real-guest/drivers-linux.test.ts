import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeRealGuest } from './lab.js';
import { combinations, titleOf, type Combination } from './support/combinations.js';
import { DriverLab, type Drivers } from './support/driver-lab.js';
import { agreementOf, type Agreement } from './support/linux-view.js';

/** Where a driver can choose, Linux takes the modern registers, unless it is told otherwise. */
const guests: readonly { readonly drivers: Drivers; readonly offered: readonly Combination[] }[] = [
  { drivers: { kernel: '6.1', forceLegacy: false }, offered: combinations },
  { drivers: { kernel: '6.12', forceLegacy: false }, offered: combinations },
  // And one modern function, which such a driver takes for want of something else.
  {
    drivers: { kernel: '6.1', forceLegacy: true },
    offered: [combinations[0], ...combinations.filter(hasLegacy)],
  },
];

function hasLegacy({ registers }: Combination): boolean {
  return registers !== 'modern';
}

function expectedAgreement(combination: Combination, { kernel, forceLegacy }: Drivers): Agreement {
  const { port, registers, packed, eventIdx, indirect } = combination;
  const modern = registers === 'modern' || (registers === 'transitional' && !forceLegacy);
  return {
    modern,
    packed: packed && modern,
    eventIdx,
    indirect,
    // QEMU's functions do not offer it.
    notificationData: modern && port === 'vfio-user' && kernel === '6.12',
  };
}

for (const { drivers, offered } of guests) {
  const { kernel, forceLegacy } = drivers;
  describeRealGuest(
    `Linux ${kernel}${forceLegacy ? ' that prefers legacy drivers' : ''} moves checked data`,
    () => {
      let lab: DriverLab;

      beforeAll(async () => {
        lab = await DriverLab.boot(drivers, offered);
      });
      afterAll(() => lab?.stop());

      const rows = offered.map((combination, index) => [titleOf(combination), combination, index] as const);
      it.each(rows)('over %s', async (_title, combination, index) => {
        const { read, written } = await lab.moveData(index);
        const { sha256, writtenSha256 } = lab.contents[index];
        expect(read).toEqual([sha256, sha256, sha256]);
        expect(written).toBe(await writtenSha256());

        const agreement = expectedAgreement(combination, drivers);
        const view = await lab.view(index);
        expect(view).toMatchObject({
          driver: agreement.modern ? 'modern' : 'legacy',
          agreement,
          interrupts: combination.interrupts,
        });
        expect(view.interruptCount).toBeGreaterThan(0);
        expect(agreementOf(lab.served[index].features ?? 0n)).toEqual(agreement);
        for (let queue = 0; queue < (combination.queues ?? 1); queue++) {
          const { requests, interrupts, kicks } = lab.served[index].counters(queue);
          expect(requests).toBeGreaterThan(0);
          expect(interrupts).toBeGreaterThan(0);
          if (combination.polled) expect(kicks).toBe(0);
          else expect(kicks).toBeGreaterThan(0);
        }
        expect(lab.server.complaints).toEqual([]);
      });
    },
  );
}
