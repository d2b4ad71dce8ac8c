import { describe, expect, it } from 'vitest';
import { MessageReader } from '../../../../devices/9p/protocol/cursor.js';
import * as messages from '../../../../devices/9p/protocol/messages.js';
import { Errno } from '../../../../devices/errno.js';
import { message, str, T, u16, u32 } from '../server/support/wire.js';

type Row = [name: string, decode: messages.Decoder, bytes: Uint8Array, fields: Partial<messages.TMessage>];

/** Every message with fields that differ from each other in every byte that matters. */
const ROWS: Row[] = [
  [
    'Tversion',
    messages.decodeTversion,
    T.version(1, 0x01020304, '9P2000.L'),
    { msize: 0x01020304, version: '9P2000.L' },
  ],
  [
    'Tauth',
    messages.decodeTauth,
    T.auth(1, 0x11121314, 'me', '/there', 0x21222324),
    { afid: 0x11121314, uname: 'me', aname: '/there', nUname: 0x21222324 },
  ],
  [
    'Tattach',
    messages.decodeTattach,
    T.attach(1, 5, 0xffffffff, 'me', '/there', 0xfffffffe),
    { fid: 5, afid: 0xffffffff, uname: 'me', aname: '/there', nUname: 0xfffffffe },
  ],
  ['Tflush', messages.decodeTflush, T.flush(1, 0xfedc), { oldtag: 0xfedc }],
  [
    'Twalk',
    messages.decodeTwalk,
    T.walk(1, 5, 6, 'usr', 'lib'),
    { fid: 5, newfid: 6, nwname: 2, wnames: ['usr', 'lib'] },
  ],
  [
    'Tread',
    messages.decodeTread,
    T.read(1, 5, 2n ** 40n + 3n, 0xfffffff0),
    { fid: 5, offset: 2 ** 40 + 3, count: 0xfffffff0 },
  ],
  ['Tclunk', messages.decodeFid, T.clunk(1, 0x80000001), { fid: 0x80000001 }],
  ['Tremove', messages.decodeFid, T.remove(1, 7), { fid: 7 }],
  ['Tstatfs', messages.decodeFid, T.statfs(1, 8), { fid: 8 }],
  ['Treadlink', messages.decodeFid, T.readlink(1, 9), { fid: 9 }],
  ['Tlopen', messages.decodeTlopen, T.lopen(1, 5, 0o2101002), { fid: 5, flags: 0o2101002 }],
  [
    'Tlcreate',
    messages.decodeTlcreate,
    T.lcreate(1, 5, 'new', 0o102, 0o100640, 50),
    { fid: 5, name: 'new', flags: 0o102, mode: 0o100640, gid: 50 },
  ],
  [
    'Tsymlink',
    messages.decodeTsymlink,
    T.symlink(1, 5, 'link', '../to', 50),
    { dfid: 5, name: 'link', symtgt: '../to', gid: 50 },
  ],
  [
    'Tmknod',
    messages.decodeTmknod,
    T.mknod(1, 5, 'null', 0o20666, 1, 3, 50),
    { dfid: 5, name: 'null', mode: 0o20666, major: 1, minor: 3, gid: 50 },
  ],
  ['Trename', messages.decodeTrename, T.rename(1, 5, 6, 'to'), { fid: 5, dfid: 6, name: 'to' }],
  ['Tgetattr', messages.decodeTgetattr, T.getattr(1, 5, 0x3fff), { fid: 5, requestMask: 0x3fff }],
  [
    'Tsetattr',
    messages.decodeTsetattr,
    T.setattr(1, 5, {
      valid: 0x1ff,
      mode: 0o640,
      uid: 1,
      gid: 2,
      size: 3,
      atimeSec: -4n,
      atimeNsec: 5,
      mtimeSec: 6,
      mtimeNsec: 7,
    }),
    {
      fid: 5,
      changes: {
        valid: 0x1ff,
        mode: 0o640,
        uid: 1,
        gid: 2,
        sizeBytes: 3,
        atimeSeconds: -4,
        atimeNanoseconds: 5,
        mtimeSeconds: 6,
        mtimeNanoseconds: 7,
      },
    },
  ],
  [
    'Txattrwalk',
    messages.decodeTxattrwalk,
    T.xattrwalk(1, 5, 6, 'user.a'),
    { fid: 5, newfid: 6, name: 'user.a' },
  ],
  [
    'Txattrcreate',
    messages.decodeTxattrcreate,
    T.xattrcreate(1, 5, 'user.a', 99, 2),
    { fid: 5, name: 'user.a', attrSizeBytes: 99, flags: 2 },
  ],
  ['Treaddir', messages.decodeTread, T.readdir(1, 5, 77, 4096), { fid: 5, offset: 77, count: 4096 }],
  ['Tfsync', messages.decodeTfsync, T.fsync(1, 5, 1), { fid: 5, datasync: 1 }],
  [
    'Tlock',
    messages.decodeTlock,
    T.lock(1, 5, 1, 9, 10, 11, 12, 'host'),
    { fid: 5, flags: 9, lock: { type: 1, startBytes: 10, lengthBytes: 11, processId: 12, clientId: 'host' } },
  ],
  [
    'Tgetlock',
    messages.decodeTgetlock,
    T.getlock(1, 5, 2, 10, 11, 12, 'host'),
    { fid: 5, lock: { type: 2, startBytes: 10, lengthBytes: 11, processId: 12, clientId: 'host' } },
  ],
  ['Tlink', messages.decodeTlink, T.link(1, 5, 6, 'two'), { dfid: 5, fid: 6, name: 'two' }],
  [
    'Tmkdir',
    messages.decodeTmkdir,
    T.mkdir(1, 5, 'dir', 0o755, 50),
    { dfid: 5, name: 'dir', mode: 0o755, gid: 50 },
  ],
  [
    'Trenameat',
    messages.decodeTrenameat,
    T.renameat(1, 5, 'old', 6, 'new'),
    { fid: 5, name: 'old', dfid: 6, newname: 'new' },
  ],
  ['Tunlinkat', messages.decodeTunlinkat, T.unlinkat(1, 5, 'x', 0x200), { dfid: 5, name: 'x', flags: 0x200 }],
];

function decode(bytes: Uint8Array, decoder: messages.Decoder, limit = bytes.length) {
  const reader = new MessageReader(bytes);
  const m = new messages.TMessage();
  reader.reset(7, limit);
  m.sizeBytes = bytes.length;
  decoder(reader, m);
  return { reader, m };
}

describe('decoding T-messages', () => {
  it.each(ROWS)('%s cut off anywhere is refused with EPROTO', (_name, decoder, bytes) => {
    const optional = decoder === messages.decodeTfsync ? 11 : undefined;
    for (let end = 7; end < bytes.length; end++)
      if (end !== optional)
        expect(decode(bytes, decoder, end).reader.errno, `cut at ${end}`).toBe(Errno.EPROTO);
  });

  it.each(ROWS)('%s is read to its last byte', (_name, decoder, bytes, fields) => {
    const { reader, m } = decode(bytes, decoder);
    expect(reader.errno).toBe(0);
    expect(reader.position).toBe(bytes.length);
    expect(m).toMatchObject(fields);
  });

  it('Tfsync may end before its datasync, which is 0 then', () => {
    const reader = new MessageReader(T.fsync(1, 5, 1));
    const m = new messages.TMessage();
    m.datasync = 1;
    reader.reset(7, 11);
    messages.decodeTfsync(reader, m);
    expect([reader.errno, m.fid, m.datasync]).toEqual([0, 5, 0]);
  });

  it('Twrite is read up to its data', () => {
    const { reader, m } = decode(T.write(1, 5, 6, [1, 2, 3]), messages.decodeTwrite);
    expect(reader.errno).toBe(0);
    expect(reader.position).toBe(23);
    expect(m).toMatchObject({ fid: 5, offset: 6, count: 3 });
  });

  it.each([0, 2, 4, 0xffffffff])('Twrite that says it has %d bytes of data but has 3 is refused', (count) => {
    const bytes = T.write(1, 5, 6, [1, 2, 3]);
    bytes.set(u32(count), 19);
    expect(decode(bytes, messages.decodeTwrite).reader.errno).toBe(Errno.EPROTO);
  });

  it('Twalk by 17 names is refused before any is read', () => {
    const bytes = message(110, 1, u32(1), u32(2), u16(17), ...Array.from({ length: 17 }, () => str('a')));
    const { reader, m } = decode(bytes, messages.decodeTwalk);
    expect(reader.errno).toBe(Errno.EINVAL);
    expect(m.wnames).toEqual([]);
  });

  it.each([
    ['Tread', T.read(1, 5, 2n ** 53n, 1), messages.decodeTread, Errno.EOVERFLOW],
    ['Tread at -1', T.read(1, 5, -1n, 1), messages.decodeTread, Errno.EOVERFLOW],
    ['Twrite', T.write(1, 5, 2n ** 63n, [1]), messages.decodeTwrite, Errno.EFBIG],
    [
      'Tsetattr of a size',
      T.setattr(1, 5, { valid: 8, size: 2n ** 60n }),
      messages.decodeTsetattr,
      Errno.EFBIG,
    ],
    [
      'Tsetattr of a time',
      T.setattr(1, 5, { valid: 128, atimeSec: 2n ** 60n }),
      messages.decodeTsetattr,
      Errno.EOVERFLOW,
    ],
    ['Txattrcreate', T.xattrcreate(1, 5, 'a', 2n ** 64n - 1n, 0), messages.decodeTxattrcreate, Errno.E2BIG],
    ['Tlock', T.lock(1, 5, 0, 0, 2n ** 63n - 1n, 0, 1, ''), messages.decodeTlock, Errno.EOVERFLOW],
  ] as const)(
    '%s with a number that no Number holds is refused, never rounded',
    (_name, bytes, decoder, errno) => {
      expect(decode(bytes, decoder).reader.errno).toBe(errno);
    },
  );

  it('names of 255 bytes are taken and of 256 refused', () => {
    expect(decode(T.walk(1, 1, 2, 'x'.repeat(255)), messages.decodeTwalk).reader.errno).toBe(0);
    expect(decode(T.walk(1, 1, 2, 'x'.repeat(256)), messages.decodeTwalk).reader.errno).toBe(
      Errno.ENAMETOOLONG,
    );
  });

  it('link targets of 4095 bytes are taken and of 4096 refused', () => {
    expect(decode(T.symlink(1, 1, 'a', 'x'.repeat(4095), 0), messages.decodeTsymlink).reader.errno).toBe(0);
    expect(decode(T.symlink(1, 1, 'a', 'x'.repeat(4096), 0), messages.decodeTsymlink).reader.errno).toBe(
      Errno.ENAMETOOLONG,
    );
  });
});
