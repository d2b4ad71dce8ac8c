import { describe, expect, it } from 'vitest';
import { GuestError } from '../../../guest/errors.js';
import { Guest } from '../../../guest/guest.js';
import type { VirtioOptions } from '../../../guest/virtio/device.js';
import { FakeMachine } from '../fake-machine.js';
import { FakeVirtio9p, type FakeVirtioOptions } from '../fake-virtio.js';

const F_INDIRECT = 1n << 28n;
const F_EVENT_IDX = 1n << 29n;
const F_VERSION_1 = 1n << 32n;
const F_PACKED = 1n << 34n;
const F_IN_ORDER = 1n << 35n;
/** One of the legacy interface's, and one that this driver does not know. */
const F_ANY_LAYOUT = 1n << 27n;
const F_ORDER_PLATFORM = 1n << 36n;

async function boot(
  options: FakeVirtioOptions = {},
  bend: (fake: FakeVirtio9p, machine: FakeMachine) => void = () => {},
  guestOptions: VirtioOptions = {},
) {
  const machine = new FakeMachine();
  const fake = new FakeVirtio9p(machine, options);
  machine.plug(3, 0, fake.fn);
  bend(fake, machine);
  const guest = await Guest.boot(machine, guestOptions);
  return { machine, fake, guest };
}

describe('bringing a virtio device up', () => {
  it('goes through the status bits in the order of section 3.1', async () => {
    const { fake } = await boot();
    expect(fake.statusWrites).toEqual([0, 1, 3, 11, 15]);
  });

  it('accepts what it knows and leaves the rest', async () => {
    const known = F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_PACKED | F_IN_ORDER | 1n;
    const { fake } = await boot({ features: known | F_ANY_LAYOUT | F_ORDER_PLATFORM | 0xffn });
    expect(fake.driverFeatures).toBe(known);
  });

  it('does without features that the caller switched off', async () => {
    const offered = F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_PACKED | F_IN_ORDER;
    const options = { indirect: false, eventIndex: false, packed: false, inOrder: false };
    const { fake } = await boot({ features: offered }, undefined, options);
    expect(fake.driverFeatures).toBe(F_VERSION_1);
  });

  it('reads the mount tag', async () => {
    const { guest } = await boot({ tag: 'näme' });
    expect(guest.tags()).toEqual(['näme']);
  });

  it('takes a queue of 300 entries as one of 256, and one of 6 as one of 4', async () => {
    expect((await boot({ queueSize: 300 })).fake.queueSize).toBe(256);
    expect((await boot({ queueSize: 6 })).fake.queueSize).toBe(4);
  });

  it('uses a vector for config changes and one for the queue where the table has both', async () => {
    const { fake } = await boot({ vectors: 2 });
    const { bytes } = fake.registers;
    expect([bytes.getUint16(16, true), bytes.getUint16(26, true)]).toEqual([0, 1]);
    expect(fake.msixTable.bytes.getUint32(0, true)).toBe(0xfee0_0000);
    expect(fake.msixTable.bytes.getUint32(28, true)).toBe(0);
    expect(fake.fn.view.getUint16(0x92, true) & 0xc000).toBe(0x8000);
    expect(fake.fn.command & 0x400).toBe(0x400);
  });

  it('shares one vector where the table has no more', async () => {
    const { fake } = await boot({ vectors: 1 });
    const { bytes } = fake.registers;
    expect([bytes.getUint16(16, true), bytes.getUint16(26, true)]).toEqual([0, 0]);
  });

  it('shares a vector where the device has no resources for one of the queue’s own', async () => {
    const { fake, guest } = await boot({ vectors: 2 }, (bent) => {
      bent.onRead = (offset, value) => (offset === 26 && value === 1 ? 0xffff : value);
    });
    const { bytes } = fake.registers;
    expect([bytes.getUint16(16, true), bytes.getUint16(26, true)]).toEqual([0, 0]);
    expect(fake.fn.view.getUint16(0x92, true) & 0xc000).toBe(0x8000);
    expect(guest.tags()).toEqual(['work']);
  });

  it('falls back on the pin where the device has no resources for vectors, or the caller wants none', async () => {
    const refused = await boot({ vectors: 2 }, (fake) => {
      fake.onRead = (offset, value) => (offset === 26 ? 0xffff : value);
    });
    expect(refused.fake.fn.command & 0x400).toBe(0);
    expect(refused.fake.fn.view.getUint16(0x92, true) & 0x8000).toBe(0);
    expect(refused.guest.tags()).toEqual(['work']);
    const unwanted = await boot({ vectors: 2 }, undefined, { msix: false });
    expect(unwanted.fake.fn.view.getUint16(0x92, true) & 0x8000).toBe(0);
  });
});

describe('notifications', () => {
  const F_NOTIFICATION_DATA = 1n << 38n;
  const F_NOTIF_CONFIG_DATA = 1n << 39n;
  const NAME = 0x1234;

  /** What is written to the doorbell for the first request, and no answer comes. */
  async function firstWrite(
    features: bigint,
    options: FakeVirtioOptions = {},
    guestOptions: VirtioOptions = {},
  ) {
    const { fake, guest } = await boot(
      { features: F_VERSION_1 | features, ...options },
      (bent) => {
        bent.onRead = (offset, value) => (offset === 56 ? NAME : value);
      },
      guestOptions,
    );
    const mount = guest.mount('work');
    await guest.shutdown({ timeoutMs: 0 });
    await expect(mount).rejects.toBeInstanceOf(GuestError);
    return fake.doorbellWrites[0];
  }

  it('are the queue’s index in 16 bits', async () => {
    expect(await firstWrite(0n)).toEqual({ value: 0, width: 2 });
  });

  it('say how far the driver has come, in 32 bits, where that was agreed on', async () => {
    expect(await firstWrite(F_NOTIFICATION_DATA)).toEqual({ value: 1 << 16, width: 4 });
    // Two descriptors on the first lap of a packed ring, whose wrap counter is 1.
    const packed = await firstWrite(F_NOTIFICATION_DATA | F_PACKED);
    expect(packed).toEqual({ value: 0x8002 * 2 ** 16, width: 4 });
    const unwanted = await firstWrite(F_NOTIFICATION_DATA, {}, { notificationData: false });
    expect(unwanted).toEqual({ value: 0, width: 2 });
  });

  it('name the queue as the device calls it, where it says how', async () => {
    const named = await firstWrite(F_NOTIF_CONFIG_DATA, { commonBytes: 64 });
    expect(named).toEqual({ value: NAME, width: 2 });
    const both = await firstWrite(F_NOTIF_CONFIG_DATA | F_NOTIFICATION_DATA, { commonBytes: 64 });
    expect(both).toEqual({ value: NAME + 2 ** 16, width: 4 });
  });

  it('do not where its registers end before the name', async () => {
    expect(await firstWrite(F_NOTIF_CONFIG_DATA)).toEqual({ value: 0, width: 2 });
  });
});

describe('a device that cannot be used is listed with its reason and left alone', () => {
  async function errorOf(
    options: FakeVirtioOptions,
    bend?: (fake: FakeVirtio9p, machine: FakeMachine) => void,
  ): Promise<GuestError | undefined> {
    const { guest, fake } = await boot(options, bend);
    expect(guest.tags()).toEqual([]);
    expect(fake.fn.command & 0x6).toBe(0);
    return guest.functions()[0].error;
  }

  it('without VIRTIO_F_VERSION_1', async () => {
    expect((await errorOf({ features: F_INDIRECT }))?.message).toMatch('VIRTIO_F_VERSION_1');
  });

  it('when it refuses the features', async () => {
    const error = await errorOf({}, (fake) => {
      fake.onStatus = (status) => status & ~8;
    });
    expect(error?.message).toMatch('refuses the features');
  });

  it('when it never finishes its reset', async () => {
    const error = await errorOf({}, (fake) => {
      fake.onRead = (offset, value) => (offset === 20 ? 0x40 : value);
    });
    expect(error?.code).toBe('ETIMEDOUT');
  });

  it('when it is pulled out while it is probed', async () => {
    const { guest } = await boot({}, (fake, machine) => {
      fake.onStatus = (status) => {
        if (status === 3) machine.unplug(3, 0);
        return status;
      };
    });
    expect(guest.functions()[0].error).toBeInstanceOf(GuestError);
  });

  it('when it has no queue', async () => {
    expect((await errorOf({ queueSize: 0 }))?.code).toBe('ENODEV');
  });

  it('when its doorbell lies outside the notification structure', async () => {
    const error = await errorOf({}, (fake) => {
      fake.onRead = (offset, value) => (offset === 30 ? 0xffff : value);
      fake.fn.view.setUint32(0x54 + 16, 0xffff_ffff, true);
    });
    expect(error?.message).toMatch('doorbell');
  });

  it('when its config space never settles', async () => {
    let generation = 0;
    const error = await errorOf({}, (fake) => {
      fake.onRead = (offset, value) => (offset === 21 ? generation++ & 0xff : value);
    });
    expect(error?.message).toMatch('never settles');
  });

  it.each([
    ['a structure in a BAR that is not there', 0x40 + 4, 5],
    ['a structure in BAR 255', 0x40 + 4, 255],
    ['a structure beyond its BAR', 0x40 + 9, 0xff],
    ['a structure longer than its BAR', 0x40 + 14, 0xff],
    ['a common configuration that is too short', 0x40 + 12, 16],
    ['a structure of another type in the place of the common configuration', 0x40 + 3, 77],
  ])('with %s', async (_what, offset, value) => {
    const error = await errorOf({}, (fake) => {
      fake.fn.config[offset] = value;
    });
    expect(error?.message).toMatch('register structure is missing');
  });

  it('when RAM is too short for its ring', async () => {
    const machine = new FakeMachine(4096);
    const fake = new FakeVirtio9p(machine);
    machine.plug(3, 0, fake.fn);
    const guest = await Guest.boot(machine);
    expect(guest.functions()[0].error?.code).toBe('ENOMEM');
    expect(fake.status).toBe(0);
  });
});

describe('a tag that the device lies about', () => {
  it('is cut at the end of the config space', async () => {
    const { guest } = await boot({ tag: 'abc' }, (fake) => {
      fake.registers.bytes.setUint16(0x200, 0xffff, true);
    });
    expect(guest.tags()).toEqual(['abc']);
  });
});

describe('a device that breaks while it is mounted', () => {
  /** Mounts by hand: Rversion, Rattach. Then the ring is the test's. */
  async function mounted(options: FakeVirtioOptions = {}) {
    const { machine, fake, guest } = await boot(options);
    let respond = (head: number): void => {
      if (fake.requestType(head) === 100) fake.reply(head, 101, [0, 0x10, 0, 0, 8, 0, ...encode('9P2000.L')]);
      else fake.reply(head, 105, [0x80, ...new Array<number>(12).fill(0)]);
    };
    const work = () => {
      for (const head of fake.takeAvailable()) respond(head);
      fake.interrupt();
    };
    fake.onNotify = () => queueMicrotask(work);
    const mount = await guest.mount('work');
    return { machine, fake, guest, mount, respondWith: (next: (head: number) => void) => (respond = next) };
  }

  it.each([
    ['uses a chain that does not exist', (fake: FakeVirtio9p) => fake.use(77, 0)],
    [
      'uses the same chain twice',
      (fake: FakeVirtio9p, head: number) => [fake.use(head, 0), fake.use(head, 0)],
    ],
  ])('%s: what is under way fails with EIO once it was reset', async (_what, misbehave) => {
    const { fake, mount, guest, respondWith } = await mounted();
    respondWith((head) => void misbehave(fake, head));
    await expect(mount.stat('/')).rejects.toMatchObject({ code: 'EIO' });
    await expect(mount.stat('/')).rejects.toMatchObject({ code: 'EIO' });
    expect(fake.status).toBe(0);
    await mount.unmount();
    await guest.shutdown();
  });

  it('asks for a reset: what is under way fails with EIO', async () => {
    const { fake, machine, mount, respondWith } = await mounted();
    respondWith(() => {
      fake.status |= 0x40;
      fake.isr = 2;
      machine.intx(true);
    });
    await expect(mount.stat('/')).rejects.toMatchObject({ code: 'EIO' });
    expect(fake.status).toBe(0);
  });

  it('comes up anew with the next mount', async () => {
    const { fake, guest, mount, respondWith } = await mounted();
    respondWith(() => fake.use(77, 0));
    await expect(mount.stat('/')).rejects.toMatchObject({ code: 'EIO' });
    await mount.unmount();
    respondWith((head) => {
      if (fake.requestType(head) === 100) fake.reply(head, 101, [0, 0x10, 0, 0, 8, 0, ...encode('9P2000.L')]);
      else fake.reply(head, 105, new Array<number>(13).fill(0));
    });
    const again = await guest.mount('work');
    expect(again.client.msize).toBe(4096);
  });

  it('never answers: a forced unmount resets it and fails what is under way', async () => {
    const { fake, mount, respondWith } = await mounted();
    respondWith(() => {});
    const hung = expect(mount.stat('/')).rejects.toMatchObject({ code: 'EIO' });
    await mount.unmount({ force: true });
    await hung;
    expect(fake.status).toBe(0);
  });
});

describe('a device that never answers the mount', () => {
  it('is given up on when the signal aborts', async () => {
    const { fake, guest } = await boot();
    const abort = new AbortController();
    fake.onNotify = () => abort.abort();
    const mount = guest.mount('work', { signal: abort.signal });
    await expect(mount).rejects.toMatchObject({ name: 'AbortError' });
    expect(fake.status).toBe(0);
  });

  it('is given up on when the guest shuts down', async () => {
    const { fake, guest, machine } = await boot();
    let stopped: Promise<void> | undefined;
    fake.onNotify = () => {
      stopped = guest.shutdown();
    };
    await expect(guest.mount('work')).rejects.toMatchObject({ code: 'ENODEV' });
    await stopped;
    expect(machine.poweredOff).toBe(true);
  });
});

function encode(text: string): number[] {
  return [...new TextEncoder().encode(text)];
}
