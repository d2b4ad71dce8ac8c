import { describe, expect, it } from 'vitest';
import { Attributes, FileSystemStatistics } from '../../../../devices/9p/fs/file-system.js';
import { MessageWriter } from '../../../../devices/9p/protocol/cursor.js';
import * as replies from '../../../../devices/9p/protocol/replies.js';
import { type Field, message, qid, str, u16, u32, u64, u8 } from '../server/support/wire.js';

function testQid(): replies.Qid {
  return Object.assign(new replies.Qid(), {
    type: 0x80,
    version: 0x01020304,
    pathLow: 0x05060708,
    pathHigh: 0xf90a0b0c,
  });
}
const QID = qid(0x80, 0x01020304, 0xf90a0b0c_05060708n);

function testAttributes(): Attributes {
  return Object.assign(new Attributes(), {
    mode: 0o100644,
    uid: 0xfffffffe,
    gid: 2,
    nlink: 3,
    rdev: 4,
    sizeBytes: 2 ** 40 + 5,
    blockSizeBytes: 4096,
    blocks: 6,
    atimeSeconds: -7,
    atimeNanoseconds: 8,
    mtimeSeconds: 9,
    mtimeNanoseconds: 10,
    ctimeSeconds: 11,
    ctimeNanoseconds: 12,
  });
}

function testStatistics(): FileSystemStatistics {
  return Object.assign(new FileSystemStatistics(), {
    type: 0x01021997,
    blockSizeBytes: 4096,
    blocks: 1,
    blocksFree: 2,
    blocksAvailable: 3,
    files: 4,
    filesFree: 5,
    idLow: 6,
    idHigh: 7,
  });
}

const LOCK = { type: 1, startBytes: 2, lengthBytes: 3, processId: 4, clientId: 'host' };

const ROWS: [name: string, type: number, encode: (w: MessageWriter) => void, fields: Field[]][] = [
  ['Rlerror', 7, (w) => replies.encodeRlerror(w, 95), [u32(95)]],
  ['Rversion', 101, (w) => replies.encodeRversion(w, 8192, '9P2000.L'), [u32(8192), str('9P2000.L')]],
  ['Rattach', 105, (w) => replies.encodeQid(w, testQid()), [QID]],
  ['Rlopen', 13, (w) => replies.encodeRlopen(w, testQid(), 4096), [QID, u32(4096)]],
  ['Rwrite', 119, (w) => replies.encodeCount(w, 77), [u32(77)]],
  [
    'Rgetattr',
    25,
    (w) => replies.encodeRgetattr(w, 0x7ff, testQid(), testAttributes()),
    [
      u64(0x7ff),
      QID,
      u32(0o100644),
      u32(0xfffffffe),
      u32(2),
      u64(3),
      u64(4),
      u64(2 ** 40 + 5),
      u64(4096),
      u64(6),
      u64(-7n),
      u64(8),
      u64(9),
      u64(10),
      u64(11),
      u64(12),
      u64(0),
      u64(0),
      u64(0),
      u64(0),
    ],
  ],
  [
    'Rstatfs',
    9,
    (w) => replies.encodeRstatfs(w, testStatistics()),
    [u32(0x01021997), u32(4096), u64(1), u64(2), u64(3), u64(4), u64(5), u64(0x7_00000006n), u32(255)],
  ],
  ['Rreadlink', 23, (w) => replies.encodeRreadlink(w, '../\xff'), [str('../\xff')]],
  ['Rxattrwalk', 31, (w) => replies.encodeRxattrwalk(w, 65536), [u64(65536)]],
  ['Rlock', 53, (w) => replies.encodeRlock(w, 1), [u8(1)]],
  ['Rgetlock', 55, (w) => replies.encodeRgetlock(w, LOCK), [u8(1), u64(2), u64(3), u32(4), str('host')]],
  [
    'Rwalk',
    111,
    (w) => {
      w.reset(9);
      replies.encodeQid(w, testQid());
      replies.encodeQid(w, testQid());
      replies.encodeRwalk(w, 2);
    },
    [u16(2), QID, QID],
  ],
  [
    'an entry of Rreaddir',
    41,
    (w) => replies.encodeDirectoryEntry(w, testQid(), 2 ** 33, 8, 'name'),
    [QID, u64(2 ** 33), u8(8), str('name')],
  ],
];

describe('encoding R-messages', () => {
  it.each(ROWS)('%s that does not fit is not written past the end', (_name, type, encode, fields) => {
    const whole = message(type, 0x1234, ...fields);
    for (let room = 7; room < whole.length; room++) {
      const writer = new MessageWriter(new Uint8Array(room));
      writer.reset(7);
      encode(writer);
      expect(writer.errno, `with room for ${room}`).not.toBe(0);
    }
  });

  it.each(ROWS)('%s is laid out as the protocol says', (_name, type, encode, fields) => {
    const writer = new MessageWriter(new Uint8Array(512));
    writer.reset(7);
    encode(writer);
    replies.encodeHeader(writer, writer.position, type, 0x1234);
    expect(writer.errno).toBe(0);
    expect(Buffer.from(writer.bytes.subarray(0, writer.position)).toString('hex')).toBe(
      Buffer.from(message(type, 0x1234, ...fields)).toString('hex'),
    );
  });

  it('a reply without fields is its header', () => {
    const writer = new MessageWriter(new Uint8Array(512));
    writer.reset(7);
    replies.encodeHeader(writer, 7, 121, 0xfffe);
    expect(writer.position).toBe(7);
    expect([...writer.bytes.subarray(0, 7)]).toEqual([7, 0, 0, 0, 121, 0xfe, 0xff]);
  });
});
