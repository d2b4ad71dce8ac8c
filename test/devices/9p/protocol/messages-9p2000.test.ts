import { describe, expect, it } from 'vitest';
import { errorText } from '../../../../devices/9p/protocol/error-text.js';
import { MessageReader, MessageWriter } from '../../../../devices/9p/protocol/cursor.js';
import * as older from '../../../../devices/9p/protocol/messages-9p2000.js';
import { TMessage, type Decoder } from '../../../../devices/9p/protocol/messages.js';
import { DONT_TOUCH_LENGTH, encodeStat, WireStat } from '../../../../devices/9p/protocol/stat.js';
import { Errno } from '../../../../devices/errno.js';
import { Older, qid, raw, stat, str, u16, u32, u64 } from '../server/support/wire.js';

const FIELDS = {
  type: 0x0102,
  dev: 0x03040506,
  qid: qid(0x80, 0x11121314, 0x2122232425262728n),
  mode: 0x81f1f2f3,
  atime: 0x31323334,
  mtime: 0x41424344,
  length: 2 ** 52 + 5,
  name: 'name',
  uid: 'me',
  gid: 'us',
  muid: 'them',
};
const UNIX_FIELDS = { ...FIELDS, extension: 'b 8 1', nUid: 0x51525354, nGid: 0x61626364 };

const READ = {
  type: 0x0102,
  dev: 0x03040506,
  qid: { type: 0x80, version: 0x11121314, pathLow: 0x25262728, pathHigh: 0x21222324 },
  mode: 0x81f1f2f3,
  atime: 0x31323334,
  mtime: 0x41424344,
  length: 2 ** 52 + 5,
  name: 'name',
  uid: 'me',
  gid: 'us',
  muid: 'them',
};

const ROWS: [name: string, decode: Decoder, bytes: Uint8Array, fields: object][] = [
  [
    'Tauth',
    older.decodePlainTauth,
    Older.auth(1, 9, 'me', '/there'),
    { afid: 9, uname: 'me', aname: '/there' },
  ],
  [
    'Tattach',
    older.decodePlainTattach,
    Older.attach(1, 5, 0xffffffff, '1000', '/there'),
    { fid: 5, afid: 0xffffffff, uname: '1000', aname: '/there', nUname: 1000 },
  ],
  ['Topen', older.decodeTopen, Older.open(1, 0x01020304, 0x53), { fid: 0x01020304, flags: 0x53 }],
  [
    'Tcreate of 9P2000',
    older.decodePlainTcreate,
    Older.create(1, 5, 'new', 0x800001ed, 0x12),
    { fid: 5, name: 'new', mode: 0x800001ed, flags: 0x12, extension: '' },
  ],
  [
    'Tcreate of 9P2000.u',
    older.decodeUnixTcreate,
    Older.createUnix(1, 5, 'new', 0x00800000, 0, 'c 1 3'),
    { fid: 5, name: 'new', mode: 0x00800000, flags: 0, extension: 'c 1 3' },
  ],
  ['Twstat of 9P2000', older.decodePlainTwstat, Older.wstat(1, 5, FIELDS), { fid: 5, wstat: READ }],
  [
    'Twstat of 9P2000.u',
    older.decodeUnixTwstat,
    Older.wstatUnix(1, 5, UNIX_FIELDS),
    { fid: 5, wstat: { ...READ, extension: 'b 8 1', nUid: 0x51525354, nGid: 0x61626364 } },
  ],
];

function decode(
  decoder: Decoder,
  bytes: Uint8Array,
  limit = bytes.length,
): { m: TMessage; r: MessageReader } {
  const r = new MessageReader(bytes);
  const m = new TMessage();
  r.reset(7, limit);
  decoder(r, m);
  return { m, r };
}

describe('decoding T-messages of 9P2000 and 9P2000.u', () => {
  it.each(ROWS)('%s cut off anywhere is refused with EPROTO', (_name, decoder, bytes) => {
    for (let limit = 7; limit < bytes.length; limit++)
      expect(decode(decoder, bytes, limit).r.errno, `cut at ${limit}`).toBe(Errno.EPROTO);
  });

  it.each(ROWS)('%s is read to its last byte', (_name, decoder, bytes, fields) => {
    const { m, r } = decode(decoder, bytes);
    expect([r.errno, r.left]).toEqual([0, 0]);
    expect(m).toMatchObject(fields);
  });

  it('a Twstat’s length is told from "don’t touch", and refused where a Number does not hold it', () => {
    for (const [length, read, errno] of [
      [0, 0, 0],
      [2n ** 53n - 1n, 2 ** 53 - 1, 0],
      [2n ** 64n - 1n, DONT_TOUCH_LENGTH, 0],
      [2n ** 53n, undefined, Errno.EFBIG],
      [2n ** 64n - 2n, undefined, Errno.EFBIG],
      [2n ** 63n, undefined, Errno.EFBIG],
      [0xffffffff00000000n, undefined, Errno.EFBIG],
    ] as const) {
      const { m, r } = decode(older.decodePlainTwstat, Older.wstat(1, 5, { length }));
      expect(r.errno).toBe(errno);
      if (read !== undefined) expect(m.wstat.length).toBe(read);
    }
  });

  it('names that are numbers are users, and all others are none', () => {
    for (const [name, id] of [
      ['0', 0],
      ['1000', 1000],
      ['4294967294', 4294967294],
      ['4294967295', undefined],
      ['99999999999', undefined],
      ['', undefined],
      ['root', undefined],
      ['-1', undefined],
      ['1e3', undefined],
      [' 1', undefined],
    ] as const)
      expect(older.idOf(name)).toBe(id);
  });
});

describe('encoding a stat', () => {
  it.each([false, true])('lays it out as the protocol says (9P2000.u: %s)', (unix) => {
    const wire = new WireStat();
    Object.assign(wire, {
      ...READ,
      qid: wire.qid,
      extension: 'b 8 1',
      nUid: 0x51525354,
      nGid: 0x61626364,
    });
    Object.assign(wire.qid, READ.qid);
    const w = new MessageWriter(new Uint8Array(300));
    w.reset(7);
    encodeStat(w, wire, unix);
    expect(raw(w.bytes.subarray(7, w.position))).toEqual(stat(unix ? UNIX_FIELDS : FIELDS, unix));
  });

  it('that does not fit is not written past the end', () => {
    const wire = new WireStat();
    wire.name = 'x'.repeat(100);
    const bytes = new Uint8Array(80).fill(0xee);
    const w = new MessageWriter(bytes.subarray(0, 60));
    w.reset(0);
    encodeStat(w, wire, true);
    expect(w.errno).toBe(Errno.EMSGSIZE);
    expect(bytes.subarray(60).every((byte) => byte === 0xee)).toBe(true);
  });
});

describe('the text of an error', () => {
  it('is Linux’s for each errno that there is, and differs from all others', () => {
    const texts = Object.values(Errno).map(errorText);
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts.filter((text) => text.startsWith('Unknown'))).toEqual([]);
    expect(errorText(9999)).toBe('Unknown error 9999');
  });
});

describe('the builders of these tests', () => {
  it('say what the manual says', () => {
    expect(Older.wstat(1, 2, { name: 'n' })).toEqual(
      Uint8Array.from([
        ...u32(7 + 4 + 2 + 50),
        126,
        ...u16(1),
        ...u32(2),
        ...u16(50),
        ...u16(48),
        ...u16(0xffff),
        ...u32(0xffffffff),
        ...qid(0xff, 0xffffffff, 2n ** 64n - 1n),
        ...u32(0xffffffff),
        ...u32(0xffffffff),
        ...u32(0xffffffff),
        ...u64(2n ** 64n - 1n),
        ...str('n'),
        ...str(''),
        ...str(''),
        ...str(''),
      ]),
    );
  });
});
