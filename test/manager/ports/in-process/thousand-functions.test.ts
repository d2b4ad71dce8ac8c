import { describe, expect, it } from 'vitest';
import { Guest } from '../../../../guest/index.js';
import { Chassis } from '../../../../manager/index.js';
import { CountingFileSystem } from './counting-file-system.js';

const EXTENSIONS = 4;
const PORTS = 32;
const CARDS = 125;
const FUNCTIONS = 8;
/** Rings take 36 KiB a function, and a mount that is at work two buffers. */
const RAM_BYTES = 128 << 20;

describe('a thousand functions', () => {
  it('are hot-plugged through switches, mounted all at once, and removed, asked for or not, with nothing left behind', async () => {
    const chassis = new Chassis({ slots: EXTENSIONS, ramSizeBytes: RAM_BYTES });
    const guest = await Guest.boot(chassis);
    for (let i = 0; i < EXTENSIONS; i++) await chassis.extend({ ports: PORTS });
    const all: CountingFileSystem[] = [];
    for (let card = 0; card < CARDS; card++) {
      const mounts = Array.from({ length: FUNCTIONS }, (_, fn) => ({
        source: new CountingFileSystem(),
        tag: `${card}.${fn}`,
      }));
      all.push(...mounts.map(({ source }) => source));
      await chassis.attachCard(mounts);
    }
    await guest.waitForTag(`${CARDS - 1}.${FUNCTIONS - 1}`, { timeoutMs: 20_000 });
    expect(guest.functions()).toHaveLength(CARDS * FUNCTIONS);

    const mounts = await Promise.all(guest.tags().map((tag) => guest.mount(tag, { msize: 8192 })));
    await Promise.all(mounts.map((mount) => mount.readdir('/')));
    expect(all.map(({ attached }) => attached)).toEqual(new Array(all.length).fill(1));
    expect(chassis.mounts().every(({ counters }) => counters.fids === 1)).toBe(true);

    // The last ten cards stay mounted, and are pulled out from under the guest.
    const kept = 10 * FUNCTIONS;
    await Promise.all(mounts.slice(0, -kept).map((mount) => mount.unmount()));
    for (let card = 0; card < CARDS; card++) {
      await chassis.detach(`${card}.0`, { slot: true, force: card >= CARDS - 10 });
    }
    await Promise.all(mounts.slice(-kept).map((mount) => mount.unmount()));
    expect([guest.functions(), chassis.mounts()]).toEqual([[], []]);
    expect(all.filter(({ closed, live }) => closed !== 1 || live !== 0)).toEqual([]);
    for (let slot = 1; slot <= EXTENSIONS; slot++) await chassis.retract(slot);
    expect(chassis.slots().map(({ holds }) => holds)).toEqual(new Array(EXTENSIONS).fill('nothing'));
    await guest.shutdown();
    await chassis.close();
  });
});
