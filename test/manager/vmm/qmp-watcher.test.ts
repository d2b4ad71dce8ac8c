import { renameSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { QmpClient } from '../../../manager/vmm/qmp.js';
import { QmpWatcher } from '../../../manager/vmm/qmp-watcher.js';
import { FakeQmp, GREETING } from './fake-qmp.js';

/** A queue of what happened, to be awaited one by one. */
class Happenings<T> {
  private readonly items: T[] = [];
  private readonly waiting: ((item: T) => void)[] = [];

  readonly add = (item: T): void => {
    const waiter = this.waiting.shift();
    if (waiter) waiter(item);
    else this.items.push(item);
  };

  next(): Promise<T> {
    const item = this.items.shift();
    return item === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(item);
  }

  get count(): number {
    return this.items.length;
  }
}

describe('QmpWatcher', () => {
  let qemu: FakeQmp;
  let watcher: QmpWatcher;
  let arrivals: Happenings<QmpClient>;
  let departures: Happenings<Error>;

  beforeEach(() => {
    qemu = new FakeQmp();
    arrivals = new Happenings();
    departures = new Happenings();
    watcher = new QmpWatcher({
      path: qemu.path,
      onConnect: arrivals.add,
      onDisconnect: departures.add,
      greetingTimeoutMs: 50,
    });
  });
  afterEach(async () => {
    await watcher.stop();
    await qemu.close();
  });

  it('connects to a QEMU that is there already', async () => {
    await qemu.listen();
    watcher.start();
    expect((await arrivals.next()).version.major).toBe(11);
  });

  it('connects once a QEMU is started, and again after each restart', async () => {
    watcher.start();
    for (let round = 0; round < 3; round++) {
      await qemu.listen();
      await arrivals.next();
      await qemu.stop();
      expect((await departures.next()).name).toBe('QmpClosedError');
    }
  });

  it('waits for a socket that something else stood in the place of', async () => {
    writeFileSync(qemu.path, '');
    watcher.start();
    renameSync(qemu.path, `${qemu.path}.old`);
    await qemu.listen();
    await arrivals.next();
  });

  it('tries again after a greeting that never came', async () => {
    let clients = 0;
    qemu.greet = () => (++clients === 1 ? undefined : GREETING);
    await qemu.listen();
    watcher.start();
    await arrivals.next();
    expect(clients).toBe(2);
  });

  it('stops while it waits for a greeting, and reports nothing afterwards', async () => {
    qemu.greet = () => undefined;
    await qemu.listen();
    watcher.start();
    await watcher.stop();
    expect(arrivals.count + departures.count).toBe(0);
  });

  it('closes its connection when stopped, without reporting it', async () => {
    await qemu.listen();
    watcher.start();
    const client = await arrivals.next();
    await watcher.stop();
    await client.closed;
    expect(departures.count).toBe(0);
  });
});
