/**
 * The 9p server by itself, over a directory of the host: no socket, no ring, no second process. What is timed is a request from
 * the call of `handle` to its reply, message type by message type, and what it leaves on the heap.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../cli/support/mounts-text.js';
import { HostDirectory } from '../devices/9p/fs/host-directory/host-directory.js';
import { Server } from '../devices/9p/server/server.js';
import { IoVector } from '../devices/io-vector.js';
import { addressOf } from '../host/index.js';
import { JournalMemory } from '../manager/device-process/keeping/journal-memory.js';

const USAGE = `npm run bench -- 9p --in-process [--dir DIR] [--files N] [--rounds N] [--as UID] [--journal] [--json]

Nanoseconds and bytes of garbage per 9p request, in this process, over a temporary directory below DIR: by the clock, and of
processor time, which a busy machine distorts less. Figures are the median of the rounds; --as is the user that attaches (0: the one who needs no change of owner where this runs as root).
With --journal, a server that keeps a journal of its session takes turns with one that does not, and the last column is the median of
the ratio of their processor times within a round.
`;

const MSIZE_BYTES = 65_536;
const DATA_BYTES = 4096;
/** Fids: the root's, then one a file. */
const ROOT = 0;
const FIRST = 1;
/** Requests between two looks at the heap: few, so that most looks see no collection. */
const HEAP_CHUNK = 250;

/** A request type's figures of one round. */
interface Sample {
  readonly nanoseconds: number;
  /** Of all threads of the process, the collector's among them. */
  readonly cpuNanoseconds: number;
  readonly garbageBytes: number;
}

export async function inproc9p(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      dir: { type: 'string', default: tmpdir() },
      files: { type: 'string', default: '1000' },
      rounds: { type: 'string', default: '15' },
      as: { type: 'string', default: '0' },
      journal: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const path = mkdtempSync(join(values.dir, 'chassis-9p-inproc-'));
  try {
    const drivers = [await driverIn(join(path, 'plain'), Number(values.as))];
    if (values.journal) {
      const journal = new JournalMemory(undefined, reportBug);
      drivers.push(await driverIn(join(path, 'journaled'), Number(values.as), journal));
    }
    const [samples, journaled] = measure(drivers, Number(values.files), Number(values.rounds));
    print(samples, journaled, values.json);
    for (const driver of drivers) await driver.server.close();
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

async function driverIn(path: string, uid: number, journal?: JournalMemory): Promise<Driver> {
  mkdirSync(path);
  const fs = await HostDirectory.open(path);
  return new Driver(new Server(fs, { ...LIMITS, log: reportBug }, journal), uid);
}

export const LIMITS = {
  maxMsizeBytes: MSIZE_BYTES,
  readOnly: false,
  maxFids: 1 << 20,
  maxOpenFiles: 1 << 16,
};

export function reportBug(message: string, error?: unknown): void {
  process.stderr.write(`${message}${error instanceof Error ? `: ${error.message}` : ''}\n`);
}

/** Messages written by hand into one buffer, and replies looked at in another. */
export class Driver {
  readonly server: Server;
  readonly #request = new Uint8Array(new ArrayBuffer(MSIZE_BYTES));
  readonly #reply = new Uint8Array(new ArrayBuffer(MSIZE_BYTES));
  readonly #view = new DataView(this.#request.buffer);
  readonly #replyView = new DataView(this.#reply.buffer);
  readonly #requestVector = new IoVector();
  readonly #replyVector = new IoVector();
  #at = 0;
  #pending = 0;
  readonly #done = (): void => void this.#pending--;

  constructor(server: Server, uid: number) {
    this.server = server;
    this.#replyVector.push(this.#reply, 0, MSIZE_BYTES, addressOf(this.#reply));
    this.begin(100).u32(MSIZE_BYTES).text('9P2000.L').send();
    this.begin(104).u32(ROOT).u32(0xffffffff).text('bench').text('').u32(uid).send();
  }

  begin(type: number): this {
    this.#view.setUint8(4, type);
    this.#view.setUint16(5, type === 100 ? 0xffff : 1, true);
    this.#at = 7;
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  u64(value: number): this {
    return this.u32(value).u32(0);
  }

  text(value: string): this {
    this.u16(value.length);
    for (let i = 0; i < value.length; i++) this.#request[this.#at++] = value.charCodeAt(i);
    return this;
  }

  /** Leaves `lengthBytes` as they are in the buffer. */
  data(lengthBytes: number): this {
    this.u32(lengthBytes);
    this.#at += lengthBytes;
    return this;
  }

  /** @throws Error where the request is not answered at once, or not with success */
  send(): void {
    const lengthBytes = this.#at;
    const type = this.#view.getUint8(4);
    this.#view.setUint32(0, lengthBytes, true);
    this.#requestVector.clear();
    this.#requestVector.push(this.#request, 0, lengthBytes, addressOf(this.#request));
    this.#pending++;
    this.server.handle(this.#requestVector, this.#replyVector, this.#done, undefined);
    if (this.#pending > 0) throw new Error(`message type ${type} was not answered at once`);
    if (this.#replyView.getUint8(4) === type + 1) return;
    throw new Error(`message type ${type} failed with errno ${this.#replyView.getUint32(7, true)}`);
  }

  /** The count of the last Rread or Rreaddir, and where its last entry says to go on. */
  lastCount(): number {
    return this.#replyView.getUint32(7, true);
  }

  lastCookie(): number {
    let at = 11;
    let cookie = 0;
    const end = 11 + this.lastCount();
    while (at < end) {
      cookie = this.#replyView.getUint32(at + 13, true) + this.#replyView.getUint32(at + 17, true) * 2 ** 32;
      at += 24 + this.#replyView.getUint16(at + 22, true);
    }
    return cookie;
  }
}

type Send = (d: Driver, i: number) => void;

const name = (i: number): string => `file-${i}`;
const O_RDWR = 2;

/** In the order in which they build on each other; the name says what is counted. */
const PHASES: readonly (readonly [string, Send])[] = [
  [
    'Twalk, clone',
    (d, i) =>
      d
        .begin(110)
        .u32(ROOT)
        .u32(FIRST + i)
        .u16(0)
        .send(),
  ],
  [
    'Tlcreate',
    (d, i) =>
      d
        .begin(14)
        .u32(FIRST + i)
        .text(name(i))
        .u32(O_RDWR)
        .u32(0o644)
        .u32(0)
        .send(),
  ],
  [
    'Tgetattr, open',
    (d, i) =>
      d
        .begin(24)
        .u32(FIRST + i)
        .u64(0x7ff)
        .send(),
  ],
  [
    'Twrite 4 KiB',
    (d, i) =>
      d
        .begin(118)
        .u32(FIRST + i)
        .u64(0)
        .data(DATA_BYTES)
        .send(),
  ],
  [
    'Tread 4 KiB',
    (d, i) =>
      d
        .begin(116)
        .u32(FIRST + i)
        .u64(0)
        .u32(DATA_BYTES)
        .send(),
  ],
  [
    'Tclunk, open',
    (d, i) =>
      d
        .begin(120)
        .u32(FIRST + i)
        .send(),
  ],
  [
    'Twalk, 1 name',
    (d, i) =>
      d
        .begin(110)
        .u32(ROOT)
        .u32(FIRST + i)
        .u16(1)
        .text(name(i))
        .send(),
  ],
  [
    'Tgetattr',
    (d, i) =>
      d
        .begin(24)
        .u32(FIRST + i)
        .u64(0x7ff)
        .send(),
  ],
  [
    'Tclunk',
    (d, i) =>
      d
        .begin(120)
        .u32(FIRST + i)
        .send(),
  ],
  [
    'Twalk, to open',
    (d, i) =>
      d
        .begin(110)
        .u32(ROOT)
        .u32(FIRST + i)
        .u16(1)
        .text(name(i))
        .send(),
  ],
  [
    'Tlopen',
    (d, i) =>
      d
        .begin(12)
        .u32(FIRST + i)
        .u32(O_RDWR)
        .send(),
  ],
  [
    'Tread 4 KiB, again',
    (d, i) =>
      d
        .begin(116)
        .u32(FIRST + i)
        .u64(0)
        .u32(DATA_BYTES)
        .send(),
  ],
  [
    'Tclunk, opened',
    (d, i) =>
      d
        .begin(120)
        .u32(FIRST + i)
        .send(),
  ],
  ['Tunlinkat', (d, i) => d.begin(76).u32(ROOT).text(name(i)).u32(0).send()],
  ['Tmkdir', (d, i) => d.begin(72).u32(ROOT).text(name(i)).u32(0o755).u32(0).send()],
  ['Tunlinkat, directory', (d, i) => d.begin(76).u32(ROOT).text(name(i)).u32(0x200).send()],
];

/** What a Linux guest sends for one system call, one after the other on one file. */
const CALLS: readonly (readonly [string, Send])[] = [
  [
    'create + close',
    (d, i) => {
      d.begin(110).u32(ROOT).u32(FIRST).u16(0).send();
      d.begin(14).u32(FIRST).text(name(i)).u32(O_RDWR).u32(0o644).u32(0).send();
      d.begin(110)
        .u32(ROOT)
        .u32(FIRST + 1)
        .u16(1)
        .text(name(i))
        .send();
      d.begin(24)
        .u32(FIRST + 1)
        .u64(0x7ff)
        .send();
      d.begin(120).u32(FIRST).send();
      d.begin(120)
        .u32(FIRST + 1)
        .send();
    },
  ],
  [
    'stat',
    (d, i) => {
      d.begin(110).u32(ROOT).u32(FIRST).u16(1).text(name(i)).send();
      d.begin(24).u32(FIRST).u64(0x7ff).send();
      d.begin(120).u32(FIRST).send();
    },
  ],
  [
    'open + read + close',
    (d, i) => {
      d.begin(110).u32(ROOT).u32(FIRST).u16(1).text(name(i)).send();
      d.begin(24).u32(FIRST).u64(0x7ff).send();
      d.begin(110)
        .u32(FIRST)
        .u32(FIRST + 1)
        .u16(0)
        .send();
      d.begin(12)
        .u32(FIRST + 1)
        .u32(0)
        .send();
      d.begin(116)
        .u32(FIRST + 1)
        .u64(0)
        .u32(DATA_BYTES)
        .send();
      d.begin(120)
        .u32(FIRST + 1)
        .send();
      d.begin(120).u32(FIRST).send();
    },
  ],
  [
    'unlink',
    (d, i) => {
      d.begin(110).u32(ROOT).u32(FIRST).u16(1).text(name(i)).send();
      d.begin(24).u32(FIRST).u64(0x7ff).send();
      d.begin(76).u32(ROOT).text(name(i)).u32(0).send();
      d.begin(120).u32(FIRST).send();
    },
  ],
];

/** Of each driver, which take turns. */
function measure(drivers: readonly Driver[], files: number, rounds: number): Map<string, Sample[]>[] {
  const all = drivers.map(() => new Map<string, Sample[]>());
  // The first round is for the compiler.
  for (let round = 0; round <= rounds; round++)
    for (const [i, driver] of drivers.entries()) measureRound(driver, files, round, all[i]);
  return all;
}

function measureRound(driver: Driver, files: number, round: number, samples: Map<string, Sample[]>): void {
  for (const [phase, send] of PHASES) note(samples, phase, round, phaseOf(driver, send, files));
  for (const [call, send] of CALLS) {
    note(samples, call, round, phaseOf(driver, send, files));
    if (call === 'create + close') note(samples, 'readdir, an entry', round, list(driver));
  }
}

function note(samples: Map<string, Sample[]>, phase: string, round: number, sample: Sample): void {
  if (round === 0) samples.set(phase, []);
  else samples.get(phase)?.push(sample);
}

function phaseOf(driver: Driver, send: Send, count: number): Sample {
  const sums = { nanoseconds: 0, cpuNanoseconds: 0 };
  let garbageBytes = 0;
  let looks = 0;
  for (let from = 0; from < count; from += HEAP_CHUNK) {
    const to = Math.min(from + HEAP_CHUNK, count);
    const spent = timed(() => {
      for (let i = from; i < to; i++) send(driver, i);
    });
    sums.nanoseconds += spent.nanoseconds;
    sums.cpuNanoseconds += spent.cpuNanoseconds;
    // Less than before means that the collector ran: that look says nothing.
    if (spent.garbageBytes < 0) continue;
    garbageBytes += spent.garbageBytes / (to - from);
    looks++;
  }
  return {
    nanoseconds: sums.nanoseconds / count,
    cpuNanoseconds: sums.cpuNanoseconds / count,
    garbageBytes: looks === 0 ? NaN : garbageBytes / looks,
  };
}

function timed(work: () => void): Sample {
  const heapBefore = process.memoryUsage().heapUsed;
  const cpuBefore = process.cpuUsage();
  const start = process.hrtime.bigint();
  work();
  const nanoseconds = Number(process.hrtime.bigint() - start);
  const { user, system } = process.cpuUsage(cpuBefore);
  const garbageBytes = process.memoryUsage().heapUsed - heapBefore;
  return { nanoseconds, cpuNanoseconds: (user + system) * 1000, garbageBytes };
}

/** One listing of the directory, by entry. */
function list(driver: Driver): Sample {
  driver.begin(110).u32(ROOT).u32(FIRST).u16(0).send();
  driver.begin(12).u32(FIRST).u32(0).send();
  let entryBytes = 0;
  const spent = timed(() => {
    for (let cookie = 0; ; cookie = driver.lastCookie()) {
      driver
        .begin(40)
        .u32(FIRST)
        .u32(cookie % 2 ** 32)
        .u32(Math.floor(cookie / 2 ** 32))
        .u32(32_768)
        .send();
      if (driver.lastCount() === 0) break;
      entryBytes += driver.lastCount();
    }
  });
  driver.begin(120).u32(FIRST).send();
  // 24 bytes and a name of some 8.
  const entries = Math.max(1, entryBytes / 32);
  return {
    nanoseconds: spent.nanoseconds / entries,
    cpuNanoseconds: spent.cpuNanoseconds / entries,
    garbageBytes: spent.garbageBytes < 0 ? NaN : spent.garbageBytes / entries,
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function print(
  samples: Map<string, Sample[]>,
  journaled: Map<string, Sample[]> | undefined,
  json: boolean,
): void {
  const rows = [...samples].map(([phase, of]) => ({
    phase,
    nanoseconds: medianOf(of, 'nanoseconds'),
    cpuNanoseconds: medianOf(of, 'cpuNanoseconds'),
    garbageBytes: medianOf(of, 'garbageBytes'),
    ...(journaled && ratioOf(of, journaled.get(phase) ?? [])),
  }));
  if (json) return void process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
  const cells = rows.map(
    ({ phase, nanoseconds, cpuNanoseconds, garbageBytes, journalRatio, journalGarbageBytes }) => [
      phase,
      String(nanoseconds).padStart(7),
      String(cpuNanoseconds).padStart(7),
      String(garbageBytes).padStart(7),
      ...(journalRatio === undefined
        ? []
        : [String(journalGarbageBytes).padStart(7), journalRatio.toFixed(3)]),
    ],
  );
  const columns = ['REQUEST', '     NS', ' CPU NS', 'GARBAGE BYTES'];
  if (journaled) columns.push('WITH JOURNAL', 'RATIO');
  process.stdout.write(`${table(columns, cells)}\n`);
}

/** With a journal to without, round by round. */
function ratioOf(
  plain: readonly Sample[],
  journaled: readonly Sample[],
): { journalRatio: number; journalGarbageBytes: number } {
  const ratios = plain.map((sample, i) => journaled[i].cpuNanoseconds / sample.cpuNanoseconds);
  return { journalRatio: median(ratios), journalGarbageBytes: medianOf(journaled, 'garbageBytes') };
}

function medianOf(samples: readonly Sample[], figure: keyof Sample): number {
  return Math.round(median(samples.map((sample) => sample[figure]).filter((value) => !Number.isNaN(value))));
}
