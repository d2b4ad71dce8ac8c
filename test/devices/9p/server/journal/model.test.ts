/**
 * Two guests that send the same requests, each over a directory of its own: one whose server is killed at every step of its journal, and
 * one whose server lives. They are answered alike, once each, and their files are alike in the end.
 */
import { constants, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { randomFrom } from '../../../../support/random.js';
import type { Reply } from '../support/wire.js';
import { NOFID, NOTAG, T } from '../support/wire.js';
import { KilledGuest, type Killer } from './killed-guest.js';
import { RandomSession } from './random-session.js';

const UID = process.geteuid?.() ?? 0;
/** More of them, by hand. */
const SEEDS = process.env.CHASSIS_JOURNAL_SEEDS?.split(',').map(Number);
const LIVES: Killer = () => false;

/** Sends `count` requests of a random session to both; answers how often a server was killed. */
async function compare(
  seed: number,
  count: number,
  killer: Killer,
  answered: () => void = () => undefined,
): Promise<number> {
  const killed = new KilledGuest(randomFrom(seed + 1));
  const living = new KilledGuest(randomFrom(0));
  try {
    const both = async (message: Uint8Array, mayDiffer = false): Promise<Reply> => {
      const expected = await living.call(message, LIVES);
      const reply = await killed.call(message, killer);
      answered();
      if (mayDiffer) return reply;
      expect(
        normal(message, reply),
        `${seed}, ${killed.log.join()}: ${Buffer.from(message).toString('latin1')}`,
      ).toEqual(normal(message, expected));
      return reply;
    };
    for (const guest of [killed, living]) await guest.begin();
    await both(T.version(NOTAG, 65536, '9P2000.L'));
    await both(T.attach(1, 0, NOFID, 'user', '', UID));
    const session = new RandomSession(randomFrom(seed));
    for (let i = 0; i < count; i++) {
      const { message, done, mayDiffer } = session.next();
      done(await both(message, mayDiffer));
    }
    for (const look of session.looks()) await both(look);
    expect(describeTree(Buffer.from(killed.directory))).toEqual(describeTree(Buffer.from(living.directory)));
    return killed.kills;
  } finally {
    await killed.end();
    await living.end();
  }
}

const GETATTR = 24;
const STATFS = 8;

/** A reply, without what two directories differ in: numbers of files, and times. */
function normal(message: Uint8Array, reply: Reply): unknown[] {
  const { type, tag } = reply;
  if (reply.errno !== 0) return [type, tag, reply.errno];
  const { fields } = reply;
  switch (message[4]) {
    case GETATTR: {
      fields.number(8);
      const qidType = fields.qid().type;
      const [mode, uid, gid] = [fields.number(4), fields.number(4), fields.number(4)];
      const [nlink, , size] = [fields.number(8), fields.number(8), fields.number(8)];
      const isDirectory = qidType === 0x80;
      return [type, tag, qidType, mode, uid, gid, nlink, isDirectory ? 0 : size];
    }
    case 104:
    case 12:
    case 14:
    case 16:
    case 72:
      return [type, tag, fields.qid().type];
    case 110:
      return [type, tag, ...Array.from({ length: fields.number(2) }, () => fields.qid().type)];
    case STATFS:
      return [type, tag];
    default:
      return [...reply.bytes];
  }
}

/** Names, types, link counts and contents. */
function describeTree(directory: Buffer): unknown[] {
  const names = readdirSync(directory, 'buffer').sort((a, b) => Buffer.compare(a, b));
  return names.map((name) => {
    const path = Buffer.concat([directory, Buffer.from('/'), name]);
    const { mode, nlink } = lstatSync(path);
    const kind = mode & constants.S_IFMT;
    const seen = [name.toString('latin1'), mode, nlink];
    if (kind === constants.S_IFDIR) return [...seen, describeTree(path)];
    return [...seen, kind === constants.S_IFLNK ? readlinkSync(path) : readFileSync(path, 'latin1')];
  });
}

/** Kills a request's first server at its first step, the next one at its second, and so on, until there is no such step. */
function everyStep(): { killer: Killer; answered: () => void } {
  let step = 0;
  let fatal = 0;
  const killer = (): boolean => {
    if (step++ < fatal) return false;
    fatal++;
    step = 0;
    return true;
  };
  return { killer, answered: () => (step = fatal = 0) };
}

it.each(SEEDS ?? [1, 2, 3])(
  'is answered as if nothing had happened, over a kill at every step of its journal (seed %i)',
  async (seed) => {
    const { killer, answered } = everyStep();
    expect(await compare(seed, 120, killer, answered)).toBeGreaterThan(100);
  },
  20_000,
);

it.each(SEEDS ?? [11, 12, 13, 14])(
  'is so over kills at random (seed %i)',
  async (seed) => {
    const random = randomFrom(seed);
    expect(await compare(seed, 400, () => random(12) === 0)).toBeGreaterThan(10);
  },
  20_000,
);
