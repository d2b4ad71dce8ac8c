/** This project's own guest at work on a server in a process of its own, which is killed with SIGKILL in the middle of it, again and again. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { SocketTransport9p, type ByteStream } from '../../../../../guest/9p/socket-transport.js';
import { Mount } from '../../../../../guest/9p/mount.js';
import { encodeFrame, Frames } from './frames.js';

const CHILD = fileURLToPath(
  new URL('../../../../../dist/test/devices/9p/server/journal/served-child.js', import.meta.url),
);
const KILLS = 6;
const WORKERS = 4;
const MSIZE_BYTES = 65_536;

/** What a ring does for a device: what the killed process did not answer is given to the next one, in its order. */
class Ring implements ByteStream {
  readonly log: string[] = [];
  readonly #arguments: readonly string[];
  readonly #underWay = new Map<number, Uint8Array>();
  #child: ChildProcess;
  #onData: (chunk: Uint8Array) => void = () => undefined;
  #number = 0;
  #answers = 0;

  constructor(directory: string, journal: string) {
    this.#arguments = [CHILD, directory, journal];
    this.#child = this.#start();
  }

  write(bytes: Uint8Array, sent: () => void): void {
    const number = ++this.#number;
    this.#underWay.set(number, Uint8Array.from(bytes));
    this.#child.stdin?.write(encodeFrame(number, false, bytes));
    sent();
  }

  on(event: string, listener: (chunk: Uint8Array) => void): void {
    if (event === 'data') this.#onData = listener;
  }

  destroy(): void {
    this.#child.kill('SIGKILL');
  }

  /** So many more requests are answered. */
  async answered(count: number): Promise<void> {
    const end = this.#answers + count;
    while (this.#answers < end) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async kill(): Promise<void> {
    const ended = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await ended;
    this.#child = this.#start();
    for (const [number, message] of this.#underWay)
      this.#child.stdin?.write(encodeFrame(number, true, message));
  }

  #start(): ChildProcess {
    const child = spawn(process.execPath, this.#arguments, { stdio: ['pipe', 'pipe', 'pipe'] });
    const frames = new Frames((number, _, reply) => {
      this.#underWay.delete(number);
      this.#answers++;
      this.#onData(reply);
    });
    child.stdout.on('data', (chunk: Buffer) => frames.take(chunk));
    child.stderr.on('data', (chunk: Buffer) => this.log.push(chunk.toString()));
    child.stdin.on('error', () => undefined);
    return child;
  }
}

/** Makes, appends to, renames, links and removes files, and fails where any of it is done twice, or not at all. */
async function work(mount: Mount, worker: number, isOver: () => boolean): Promise<string[]> {
  const kept: string[] = [];
  const log = await mount.open(`log-${worker}`, 'a');
  for (let i = 0; !isOver(); i++) {
    const name = `${worker}-${i}`;
    await mount.mkdir(`dir-${name}`);
    const file = await mount.open(`dir-${name}/file`, 'wx+');
    await file.write(Buffer.from(`begin ${name};`), 0);
    await log.write(Buffer.from(`${name}\n`));
    await mount.rename(`dir-${name}`, `moved-${name}`);
    await file.write(Buffer.from('end'), 20);
    await file.close();
    expect(await mount.readFile(`moved-${name}/file`, 'utf8')).toBe(
      `begin ${name};`.padEnd(20, '\0') + 'end',
    );
    if (i % 2 === 0) kept.push(name);
    else {
      await mount.unlink(`moved-${name}/file`);
      await mount.rmdir(`moved-${name}`);
    }
  }
  await log.close();
  return kept;
}

it('sees a pause, and nothing else', async () => {
  const base = mkdtempSync(join(tmpdir(), 'chassis-kill-9-'));
  const directory = join(base, 'export');
  mkdirSync(directory);
  const ring = new Ring(directory, join(base, 'session'));
  try {
    const mount = await Mount.connect(
      new SocketTransport9p(ring, MSIZE_BYTES),
      { msize: MSIZE_BYTES, uid: process.getuid?.() ?? 0 },
      async () => undefined,
    );
    let isOver = false;
    const workers = Array.from({ length: WORKERS }, (_, worker) => work(mount, worker, () => isOver));
    for (let i = 0; i < KILLS; i++) {
      await ring.answered(40 + 17 * i);
      await ring.kill();
    }
    await ring.answered(400);
    isOver = true;
    const kept = (await Promise.all(workers)).flat();
    const logs = Array.from({ length: WORKERS }, (_, worker) => `log-${worker}`);
    expect(readdirSync(directory).sort()).toEqual([...kept.map((name) => `moved-${name}`), ...logs].sort());
    for (const [worker, log] of logs.entries()) {
      const lines = readFileSync(join(directory, log), 'utf8').split('\n').slice(0, -1);
      expect(lines).toEqual(lines.map((_, i) => `${worker}-${i}`));
    }
    expect(kept.length).toBeGreaterThan(KILLS);
    expect(ring.log.filter((line) => line.includes('but:'))).toEqual([]);
  } finally {
    ring.destroy();
    rmSync(base, { recursive: true, force: true });
  }
}, 60_000);
