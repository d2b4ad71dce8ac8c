/** The front-ends' side of a move: pipes, and what front-ends say over them, as QEMU does. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VirtioDevice } from '../../../../devices/virtio/device.js';
import { memTable, pack, Request, u64, type RawFrontEnd } from './raw-front-end.js';
import type { AnyQueue, GuestRam, Harness } from './harness.js';

export const SAVE = 0;
export const LOAD = 1;
export const STOPPED = 0;
export const NO_PIPE = 0x100;

export const direction = (of: number, phase = STOPPED): Buffer => pack([4, of], [4, phase]);

/** Both ends of a pipe; who opens it closes them. */
export class Pipe {
  readonly reader: number;
  readonly writer: number;
  readonly #open: Set<number>;

  constructor() {
    const directory = mkdtempSync(join(tmpdir(), 'chassis-pipe-'));
    const path = join(directory, 'pipe');
    execFileSync('mkfifo', [path]);
    this.reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    this.#open = new Set([this.reader, this.writer]);
    rmSync(directory, { recursive: true });
  }

  close(end: number): void {
    if (this.#open.delete(end)) closeSync(end);
  }

  closeAll(): void {
    for (const end of [...this.#open]) this.close(end);
  }

  /** All that comes, until the other end is closed. */
  async read(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(65536);
      const count = await retried(() => readSync(this.reader, chunk, 0, chunk.length, null));
      if (count === 0) return Buffer.concat(chunks);
      chunks.push(chunk.subarray(0, count));
    }
  }

  async write(bytes: Uint8Array, chunkBytes = 65536): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const lengthBytes = Math.min(chunkBytes, bytes.length - at);
      at += await retried(() => writeSync(this.writer, bytes, at, lengthBytes));
      await new Promise(setImmediate);
    }
  }
}

async function retried(call: () => number): Promise<number> {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise(setImmediate);
    }
  }
}

export async function setFd(frontEnd: RawFrontEnd, of: number, end: number): Promise<number> {
  const reply = await frontEnd.query(Request.SET_DEVICE_STATE_FD, direction(of), [end]);
  return Number(reply.readBigUInt64LE());
}

export async function check(frontEnd: RawFrontEnd): Promise<number> {
  return Number(await frontEnd.queryU64(Request.CHECK_DEVICE_STATE));
}

/** The state of a device whose rings are stopped. Rejects where it is refused. */
export async function save(frontEnd: RawFrontEnd): Promise<Buffer> {
  const pipe = new Pipe();
  try {
    const answer = await setFd(frontEnd, SAVE, pipe.writer);
    if (answer !== NO_PIPE) throw new Error(`saving was answered with ${answer}`);
    pipe.close(pipe.writer);
    const state = await pipe.read();
    const error = await check(frontEnd);
    if (error !== 0) throw new Error(`saving failed: ${error}`);
    return state;
  } finally {
    pipe.closeAll();
  }
}

/** 0, or the errno of the answer. */
export async function load(frontEnd: RawFrontEnd, state: Uint8Array, chunkBytes?: number): Promise<number> {
  const pipe = new Pipe();
  try {
    const answer = await setFd(frontEnd, LOAD, pipe.reader);
    if (answer !== NO_PIPE) throw new Error(`loading was answered with ${answer}`);
    pipe.close(pipe.reader);
    // Who has refused it has closed its end.
    await pipe.write(state, chunkBytes).catch(() => undefined);
    pipe.close(pipe.writer);
    return await check(frontEnd);
  } finally {
    pipe.closeAll();
  }
}

/** A front-end that a state may be given to: nothing is said yet of features, memory and rings. */
export async function expectant(harness: Pick<Harness<VirtioDevice>, 'connect'>): Promise<RawFrontEnd> {
  const frontEnd = harness.connect();
  const offered = await frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES);
  frontEnd.send(Request.SET_PROTOCOL_FEATURES, u64(offered));
  await frontEnd.set(Request.SET_OWNER);
  return frontEnd;
}

/** Rings go on with this front-end, as they do once the state is there. */
export async function goOn(
  frontEnd: RawFrontEnd,
  ram: GuestRam,
  features: bigint,
  rings: readonly (readonly [AnyQueue, base: number])[],
): Promise<void> {
  await frontEnd.set(Request.SET_FEATURES, u64(features));
  await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
  for (const [queue, base] of rings) await queue.start(frontEnd, base);
}
