import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guest, type FunctionInfo } from '../../guest/index.js';
import { Stack } from './stack.js';

let stack: Stack;

beforeEach(() => {
  stack = new Stack();
});

afterEach(async () => {
  expect(stack.logs).toEqual([]);
  await stack.close();
});

/** The next event of a kind. */
function next<K extends 'plug' | 'unplug'>(guest: Guest, event: K): Promise<FunctionInfo> {
  return new Promise((resolve) => {
    const stop = guest.on(event, (info) => {
      stop();
      resolve(info);
    });
  });
}

describe('booting', () => {
  it('finds what is plugged in, function by function', async () => {
    await stack.plug(2, ['a', 'b']);
    await stack.plug(7, ['c']);
    const guest = await Guest.boot({ bus: stack.machine.bus });
    expect(guest.functions().map(({ address, driver, tag }) => [address, driver, tag])).toEqual([
      ['0000:09:00.0', 'virtio-9p', 'a'],
      ['0000:09:00.1', 'virtio-9p', 'b'],
      ['0000:31:00.0', 'virtio-9p', 'c'],
    ]);
    expect(guest.functions()[0]).toMatchObject({ vendorId: 0x1af4, deviceId: 0x1049, error: undefined });
    expect(guest.tags()).toEqual(['a', 'b', 'c']);
    await guest.shutdown();
  });

  it('finds nothing on an empty machine', async () => {
    const guest = await Guest.boot(stack.machine);
    expect(guest.functions()).toEqual([]);
    await guest.shutdown();
  });

  it('works again after another guest was shut down', async () => {
    await stack.plug(2, ['a']);
    const first = await Guest.boot(stack.machine);
    await (await first.mount('a')).writeFile('f', 'kept');
    await first.shutdown();
    expect(stack.fids).toBe(0);
    await expect(first.mount('a')).rejects.toMatchObject({ code: 'ENODEV' });
    const second = await Guest.boot(stack.machine);
    expect(await (await second.mount('a')).readFile('f', 'utf8')).toBe('kept');
    await second.shutdown();
  });
});

describe.each([
  ['MSI-X', { msix: true }, {}],
  ['MSI-X, no indirect descriptors', { msix: true }, { indirect: false }],
  ['MSI-X, no event indices', { msix: true }, { eventIndex: false }],
  ['MSI-X, neither', { msix: true }, { indirect: false, eventIndex: false }],
  ['split rings', { msix: true }, { packed: false }],
  ['split rings, no indirect descriptors', { msix: true }, { packed: false, indirect: false }],
  ['split rings, no event indices', { msix: true }, { packed: false, eventIndex: false }],
  ['the pin, because the function has no MSI-X', { msix: false }, {}],
  [
    'the pin, because the guest wants it',
    { msix: true },
    { msix: false, indirect: false, eventIndex: false },
  ],
])('with %s', (_what, share, options) => {
  it('functions that share a slot serve many requests at once', async () => {
    await stack.plug(2, ['a', 'b', 'c'], share);
    const guest = await Guest.boot(stack.machine, options);
    const mounts = await Promise.all(['a', 'b', 'c'].map((tag) => guest.mount(tag)));
    const names = Array.from({ length: 60 }, (_, i) => `f${i}`);
    await Promise.all(mounts.flatMap((m, i) => names.map((name) => m.writeFile(name, `${i}${name}`))));
    const texts = await Promise.all(mounts.flatMap((m) => names.map((name) => m.readFile(name, 'utf8'))));
    expect(texts).toEqual(mounts.flatMap((_, i) => names.map((name) => `${i}${name}`)));
    await guest.shutdown();
    expect(stack.fids).toBe(0);
  });
});

describe('mounting', () => {
  it('an unknown tag is ENOENT, a mounted one EBUSY, an unmounted one free', async () => {
    await stack.plug(2, ['a']);
    const guest = await Guest.boot(stack.machine);
    await expect(guest.mount('b')).rejects.toMatchObject({ code: 'ENOENT', syscall: 'mount', path: 'b' });
    const mount = await guest.mount('a');
    await expect(guest.mount('a')).rejects.toMatchObject({ code: 'EBUSY', path: 'a' });
    await mount.unmount();
    await (await guest.mount('a')).unmount();
    await guest.shutdown();
  });

  it('a tag that two devices have mounts one after the other', async () => {
    await stack.plug(2, ['a']);
    const directory = (await stack.plug(3, ['a']))[0];
    writeFileSync(join(directory, 'second'), '');
    const guest = await Guest.boot(stack.machine);
    await guest.mount('a');
    expect(await (await guest.mount('a')).readdir('/')).toEqual(['second']);
    await expect(guest.mount('a')).rejects.toMatchObject({ code: 'EBUSY' });
    await guest.shutdown();
  });

  it('that fails leaves the device free', async () => {
    await stack.plug(2, ['a']);
    const guest = await Guest.boot(stack.machine);
    await expect(guest.mount('a', { msize: 100 })).rejects.toMatchObject({ path: 'a' });
    await (await guest.mount('a')).unmount();
    await stack.machine.requestUnplug(2);
    await guest.shutdown();
  });
});

describe('hot-plug', () => {
  it('a device plugged into a running guest can be mounted at once', async () => {
    const guest = await Guest.boot(stack.machine);
    const plugged = next(guest, 'plug');
    const waited = guest.waitForTag('late');
    await stack.plug(4, ['late']);
    expect(await plugged).toMatchObject({ address: '0000:19:00.0', tag: 'late' });
    await waited;
    const mount = await guest.mount('late');
    await mount.writeFile('f', 'x');
    await mount.unmount();
    await guest.shutdown();
  });

  it('a device that is not in use is let go of, and its slot is free for another', async () => {
    await stack.plug(4, ['a']);
    const guest = await Guest.boot(stack.machine);
    const unplugged = next(guest, 'unplug');
    await stack.machine.requestUnplug(4);
    expect((await unplugged).tag).toBe('a');
    expect(stack.machine.freeSlots()).toContain(4);
    const waited = guest.waitForTag('b');
    await stack.plug(4, ['b']);
    await waited;
    expect(guest.tags()).toEqual(['b']);
    await guest.shutdown();
  });

  it('a mounted device is let go of once it is unmounted; meanwhile nothing else of its slot is mounted', async () => {
    await stack.plug(4, ['a', 'b']);
    const guest = await Guest.boot(stack.machine);
    const mount = await guest.mount('a');
    const asked = new Promise<readonly FunctionInfo[]>((resolve) => guest.on('eject-request', resolve));
    const unplugged = stack.machine.requestUnplug(4);
    expect((await asked).map(({ tag }) => tag)).toEqual(['a', 'b']);
    await expect(guest.mount('b')).rejects.toMatchObject({ code: 'EBUSY' });
    await mount.writeFile('f', 'still works');
    await mount.unmount();
    await unplugged;
    expect(guest.functions()).toEqual([]);
    await guest.shutdown();
  });

  it('a request that timed out leaves everything as it was', async () => {
    await stack.plug(4, ['a']);
    const guest = await Guest.boot(stack.machine);
    const mount = await guest.mount('a');
    await expect(stack.machine.requestUnplug(4, { timeoutMs: 5 })).rejects.toMatchObject({
      code: 'GUEST_TIMEOUT',
    });
    await mount.writeFile('f', 'x');
    await mount.unmount();
    expect(guest.tags()).toEqual(['a']);
    await (await guest.mount('a')).unmount();
    await stack.machine.requestUnplug(4);
    await guest.shutdown();
  });

  it('a device pulled out in use fails what is under way with ENODEV, and the guest goes on', async () => {
    await stack.plug(4, ['a']);
    await stack.plug(5, ['b']);
    const guest = await Guest.boot(stack.machine);
    const [a, b] = [await guest.mount('a'), await guest.mount('b')];
    const file = await a.open('f', 'w');
    const writes = Array.from({ length: 20 }, (_, i) => file.write(new Uint8Array(100_000), i * 100_000));
    const unplugged = next(guest, 'unplug');
    stack.machine.remove(4);
    const results = await Promise.allSettled(writes);
    expect(results.some(({ status }) => status === 'rejected')).toBe(true);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ENODEV', path: 'f' });
    }
    expect((await unplugged).tag).toBe('a');
    await expect(a.readdir('/')).rejects.toMatchObject({ code: 'ENODEV' });
    await a.unmount();
    await b.writeFile('f', 'x');
    const waited = guest.waitForTag('again');
    await stack.plug(4, ['again']);
    await waited;
    await (await guest.mount('again')).readdir('/');
    await guest.shutdown();
    expect(stack.fids).toBe(0);
  });

  it('two hundred rounds leave no RAM, message or address taken', async () => {
    // A ring and its tables take 9 pages or more: leaked in every round, they would not fit.
    const small = new Stack(2 * 2 ** 20);
    const guest = await Guest.boot(small.machine);
    const { fn } = await small.share('round');
    const places = new Set<string>();
    for (let round = 0; round < 200; round++) {
      const waited = guest.waitForTag('round');
      small.machine.plug(9, [{ number: 0, function: fn }]);
      await waited;
      const bars = fn.bars.map(({ index }) => fn.readConfig(0x10 + 4 * index, 4));
      places.add(`${bars.join()} ${fn.msix?.readTable(8, 4)}`);
      const mount = await guest.mount('round');
      if (round % 2 === 0) {
        await mount.unmount();
        await small.machine.requestUnplug(9);
      } else {
        const unplugged = next(guest, 'unplug');
        small.machine.remove(9);
        await unplugged;
        await mount.unmount();
      }
    }
    // The numbers of two messages may swap places.
    expect(places.size).toBeLessThanOrEqual(2);
    await guest.shutdown();
    expect(small.logs).toEqual([]);
    await small.close();
  });
});

describe('waiting for a tag', () => {
  it('ends with ETIMEDOUT, or with the signal’s reason', async () => {
    const guest = await Guest.boot(stack.machine);
    await expect(guest.waitForTag('x', { timeoutMs: 1 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      path: 'x',
    });
    const abort = new AbortController();
    const waiting = guest.waitForTag('x', { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(guest.waitForTag('x', { signal: abort.signal })).rejects.toThrow('enough');
    await guest.shutdown();
  });
});

describe('shutting down', () => {
  it('unmounts everything and resets the devices', async () => {
    await stack.plug(2, ['a', 'b']);
    const guest = await Guest.boot(stack.machine);
    const [mount] = [await guest.mount('a'), await guest.mount('b')];
    await mount.open('f', 'w');
    await Promise.all([guest.shutdown(), guest.shutdown()]);
    expect(stack.fids).toBe(0);
    expect(guest.functions()).toEqual([]);
    await stack.machine.requestUnplug(2);
    expect(stack.machine.freeSlots()).toContain(2);
  });
});
