/** Plugging in one process: the library's chassis, and a guest that boots on it and has each mount's driver bound. */
import { PciTree } from '../../guest/pci/enumeration.js';
import { Guest } from '../../guest/index.js';
import { Chassis, Errno, FsNode, type AttachOptions, type FileSystem } from '../../manager/index.js';
import type { Growth } from '../hotplug.js';
import { Samples } from './samples.js';

const ROOT_SLOTS = 4;
const PORTS = 32;
const FUNCTIONS = 8;
/** Rings take 36 KiB a mount. */
const RAM_BYTES = 128 << 20;
const TAG = 'measured';

type Via = NonNullable<AttachOptions['via']>;

export async function inProcess(sizes: readonly number[], rounds: number): Promise<Growth[]> {
  const samples = new Samples();
  for (const via of ['function', 'queue'] as const) {
    for (const size of sizes) await measurePlugging(samples, via, size, rounds);
  }
  for (const size of sizes) await measureBooting(samples, size, rounds);
  return samples.growths();
}

/** With the one that is measured there are `size` mounts. */
async function measurePlugging(samples: Samples, via: Via, size: number, rounds: number): Promise<void> {
  const chassis = await chassisWith(via, size - 1);
  const guest = await Guest.boot(chassis);
  if (via === 'queue' && size === 1) await chassis.attach(new EmptyDirectory(), { tag: 'other', via });
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    const seen = guest.waitForTag(TAG).then(() => performance.now());
    await chassis.attach(new EmptyDirectory(), { tag: TAG, via });
    samples.add(`attach (${via}), answered`, size, performance.now() - start);
    samples.add(`attach (${via}), driver bound`, size, (await seen) - start);
    const detached = performance.now();
    await chassis.detach(TAG);
    samples.add(`detach (${via})`, size, performance.now() - detached);
  }
  await guest.shutdown();
  await chassis.close();
}

/** A guest that finds `size` functions. */
async function measureBooting(samples: Samples, size: number, rounds: number): Promise<void> {
  const chassis = await chassisWith('function', size);
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    const guest = await Guest.boot(chassis);
    samples.add('boot, every driver bound', size, performance.now() - start);
    await guest.shutdown();
    samples.add('enumeration alone', size, enumerate(chassis));
  }
  await chassis.close();
}

function enumerate(chassis: Chassis): number {
  const { bus } = chassis;
  // Whoever takes messages has booted.
  bus.onMessage(() => {});
  const { mmioWindow: memory, prefetchableWindow: prefetchable = memory } = bus;
  const range = ({ start, sizeBytes }: typeof memory) => ({ start, end: start + sizeBytes });
  const tree = new PciTree(bus, { memory: range(memory), prefetchable: range(prefetchable) });
  const start = performance.now();
  tree.enumerate();
  const ms = performance.now() - start;
  bus.powerOff();
  return ms;
}

/** As many extension chassis as so many functions take, eight a card, and a slot to spare; or their queues, 64 a function. */
async function chassisWith(via: Via, count: number): Promise<Chassis> {
  const chassis = new Chassis({ slots: ROOT_SLOTS, ramSizeBytes: RAM_BYTES });
  const cards = via === 'function' ? Math.ceil(count / FUNCTIONS) : 0;
  for (let slots = 0; slots < cards + 1; slots += PORTS) await chassis.extend({ ports: PORTS });
  for (let first = 0; via === 'function' && first < count; first += FUNCTIONS) {
    const mounts = Array.from({ length: Math.min(FUNCTIONS, count - first) }, (_, i) => ({
      source: new EmptyDirectory(),
      tag: `${first + i}`,
    }));
    await chassis.attachCard(mounts);
  }
  for (let i = 0; via === 'queue' && i < count; i++) {
    await chassis.attach(new EmptyDirectory(), { tag: `${i}`, via });
  }
  return chassis;
}

/** A file system of its own for each mount, with nothing in it. */
class EmptyDirectory extends FsNode implements FileSystem {
  attach(): FsNode {
    return this;
  }
  close(): void {}
  override getattr(out: { mode: number }): number {
    out.mode = 0o040755;
    return 0;
  }
  override walk(): number {
    return -Errno.ENOENT;
  }
  override retain(): void {}
  override release(): void {}
}
