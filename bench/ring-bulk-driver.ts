/**
 * The driver of `ring-bulk.ts`, on a core of its own: it keeps the ring as full as it can, and takes back what was used whenever there is no
 * room. It kicks only where the device asked for that, and sleeps only after it has looked for a while.
 */
import { workerData } from 'node:worker_threads';

/** Where things are in the memory that both threads share, in bytes. */
export const BulkPlace = {
  DRIVER_AREA: 0x1_0000,
  DEVICE_AREA: 0x2_0000,
  BUFFERS: 0x3_0000,
  CONTROL: 0x4_0000,
  RAM_BYTES: 0x4_1000,
} as const;
/** Words of the control block, each with something that a side waits for. */
export const BulkControl = { KICKS: 0, INTERRUPTS: 1, DONE: 2 } as const;
export const BUFFER_BYTES = 64;
/** Looks at the ring before a side that found nothing asks to be woken, and sleeps. */
export const LOOKS_BEFORE_SLEEP = 10_000;

export interface BulkSetup {
  readonly ram: SharedArrayBuffer;
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly size: number;
  readonly chains: number;
}

/** Offers chains of two descriptors. Counts run free: lap and index follow from them. */
interface Driver {
  /** Makes `count` chains available; true where the device wants to be kicked for them. */
  offer(count: number): boolean;
  /** Chains used since the last call. */
  reap(): number;
  /** Whether interrupts are wanted at the next used chain. */
  setInterrupts(wanted: boolean): void;
}

const MAX_BURST = 32;
const [NEXT, WRITE, AVAIL, USED] = [1, 2, 0x80, 0x8000];
const [DISABLE, DESC] = [1, 2];

function splitDriver({ ram, eventIdx, size }: BulkSetup): Driver {
  const avail = new Uint16Array(ram, BulkPlace.DRIVER_AREA, 2 + size + 1);
  const used = new Uint16Array(ram, BulkPlace.DEVICE_AREA, 2 + 4 * size + 1);
  const view = new DataView(ram);
  for (let i = 0; i < size; i++) {
    view.setUint32(16 * i, BulkPlace.BUFFERS, true);
    view.setUint32(16 * i + 8, BUFFER_BYTES, true);
    view.setUint16(16 * i + 12, i % 2 === 0 ? NEXT : WRITE, true);
    view.setUint16(16 * i + 14, i % 2 === 0 ? i + 1 : 0, true);
    avail[2 + i] = 2 * (i % (size / 2));
  }
  let offered = 0;
  let seen = 0;
  return {
    offer: (count) => {
      const old = offered;
      offered = (offered + count) & 0xffff;
      Atomics.store(avail, 1, offered);
      if (!eventIdx) return (Atomics.load(used, 0) & 1) === 0;
      const event = Atomics.load(used, 2 + 4 * size);
      return ((offered - event - 1) & 0xffff) < ((offered - old) & 0xffff);
    },
    reap: () => {
      const before = seen;
      seen = Atomics.load(used, 1);
      return (seen - before) & 0xffff;
    },
    setInterrupts: (wanted) => {
      if (!eventIdx) Atomics.store(avail, 0, wanted ? 0 : 1);
      else if (wanted) Atomics.store(avail, 2 + size, seen);
    },
  };
}

function packedDriver({ ram, eventIdx, size }: BulkSetup): Driver {
  const words = new Int32Array(ram, 0, 4 * size);
  const driverEvent = new Int32Array(ram, BulkPlace.DRIVER_AREA, 1);
  const deviceEvent = new Int32Array(ram, BulkPlace.DEVICE_AREA, 1);
  let offered = 0;
  let completed = 0;
  const isFirstOfLaps = (count: number): boolean => Math.floor(count / size) % 2 === 0;
  const place = (count: number): number => (count % size) + (isFirstOfLaps(count) ? 0x8000 : 0);
  const write = (flags: number): void => {
    const at = 4 * (offered % size);
    words[at] = BulkPlace.BUFFERS;
    words[at + 2] = BUFFER_BYTES;
    const lap = isFirstOfLaps(offered) ? AVAIL : USED;
    Atomics.store(words, at + 3, ((flags | lap) << 16) | (offered % size));
  };
  return {
    offer: (count) => {
      const old = offered;
      for (let i = 0; i < count; i++) {
        // A chain's first descriptor last.
        offered++;
        write(WRITE);
        offered--;
        write(NEXT);
        offered += 2;
      }
      const event = Atomics.load(deviceEvent, 0);
      if (event >>> 16 !== DESC) return event >>> 16 !== DISABLE;
      for (let n = old; n < offered; n++) if (place(n) === (event & 0xffff)) return true;
      return false;
    },
    reap: () => {
      const before = completed;
      while (completed < offered) {
        const flags = Atomics.load(words, 4 * (completed % size) + 3) >>> 16;
        if ((flags & (AVAIL | USED)) !== (isFirstOfLaps(completed) ? AVAIL | USED : 0)) break;
        completed += 2;
      }
      return (completed - before) / 2;
    },
    setInterrupts: (wanted) => {
      const event = eventIdx ? (DESC << 16) | place(completed) : 0;
      Atomics.store(driverEvent, 0, wanted ? event : DISABLE << 16);
    },
  };
}

function drive(setup: BulkSetup): void {
  const { chains, packed, ram, size } = setup;
  const control = new Int32Array(ram, BulkPlace.CONTROL, 4);
  const driver = packed ? packedDriver(setup) : splitDriver(setup);
  let offered = 0;
  let completed = 0;
  driver.setInterrupts(false);
  while (completed < chains) {
    const count = Math.min(MAX_BURST, size / 2 - (offered - completed), chains - offered);
    if (count > 0) {
      offered += count;
      if (driver.offer(count)) {
        Atomics.add(control, BulkControl.KICKS, 1);
        Atomics.notify(control, BulkControl.KICKS);
      }
    }
    completed += reapOrSleep(driver, control, count > 0 ? 1 : LOOKS_BEFORE_SLEEP);
  }
  Atomics.store(control, BulkControl.DONE, 1);
  Atomics.notify(control, BulkControl.KICKS);
}

/** Chains used: looked for up to `looks` times, and waited for where there is no room without them. */
function reapOrSleep(driver: Driver, control: Int32Array, looks: number): number {
  for (let look = 0; look < looks; look++) {
    const reaped = driver.reap();
    if (reaped > 0) return reaped;
  }
  if (looks === 1) return 0;
  const interrupts = Atomics.load(control, BulkControl.INTERRUPTS);
  driver.setInterrupts(true);
  const late = driver.reap();
  if (late === 0) Atomics.wait(control, BulkControl.INTERRUPTS, interrupts);
  driver.setInterrupts(false);
  return late;
}

if (workerData !== null) drive(workerData as BulkSetup);
