/** Every message against bytes written by hand from the protocol's text: size[4] type[1] tag[2], little-endian. */
import { describe, expect, it } from 'vitest';
import { Client9p } from '../../../guest/9p/client.js';
import { hex, ScriptedTransport, toHex } from './scripted-transport.js';

/** Sends one request; checks its bytes; answers `reply`; resolves with what the client made of it. */
async function exchange<T>(
  call: (client: Client9p) => Promise<T>,
  request: string,
  reply: string,
): Promise<T> {
  const transport = new ScriptedTransport();
  transport.onRequest = (pending) => pending.reply(hex(reply));
  const result = await call(new Client9p(transport));
  expect(toHex(transport.requests[0].bytes)).toBe(request.replaceAll(/\s/g, ''));
  return result;
}

const QID = '80 04030201 0807060504030201';
const QID_VALUE = { type: 0x80, version: 0x01020304, pathLow: 0x05060708, pathHigh: 0x01020304 };

describe('the bytes of', () => {
  it('Tversion', async () => {
    const msize = await exchange(
      (client) => client.version(8192),
      '15000000 64 ffff 00200000 0800 395032303030 2e4c',
      '15000000 65 ffff 00100000 0800 395032303030 2e4c',
    );
    expect(msize).toBe(4096);
  });

  it('Tauth', async () => {
    const qid = await exchange(
      (client) => client.auth(7, { uname: 'u', aname: 'an', uid: 1000 }),
      '16000000 66 0000 07000000 0100 75 0200 616e e8030000',
      `14000000 67 0000 ${QID}`,
    );
    expect(qid).toEqual(QID_VALUE);
  });

  it('Tattach', async () => {
    const qid = await exchange(
      (client) => client.attach(1, { uname: 'root', aname: '/x', uid: 0 }),
      '1d000000 68 0000 01000000 ffffffff 0400 726f6f74 0200 2f78 00000000',
      `14000000 69 0000 ${QID}`,
    );
    expect(qid).toEqual(QID_VALUE);
  });

  it('Twalk', async () => {
    const qids = await exchange(
      (client) => client.walk(1, 2, ['ab', Uint8Array.of(0xff, 0x2e)]),
      '19000000 6e 0000 01000000 02000000 0200 0200 6162 0200 ff2e',
      `23000000 6f 0000 0200 ${QID} 02 00000000 ffffffffffffffff`,
    );
    expect(qids).toEqual([QID_VALUE, { type: 2, version: 0, pathLow: 0xffff_ffff, pathHigh: 0xffff_ffff }]);
  });

  it('Tlopen', async () => {
    const opened = await exchange(
      (client) => client.lopen(5, 0o102001),
      '0f000000 0c 0000 05000000 01840000',
      `18000000 0d 0000 ${QID} 00100000`,
    );
    expect(opened).toEqual({ qid: QID_VALUE, ioUnitBytes: 4096 });
  });

  it('Tlcreate', async () => {
    const opened = await exchange(
      (client) => client.lcreate(5, 'f', 0o302, 0o644, 100),
      '1a000000 0e 0000 05000000 0100 66 c2000000 a4010000 64000000',
      `18000000 0f 0000 ${QID} 00000000`,
    );
    expect(opened.ioUnitBytes).toBe(0);
  });

  it('Tsymlink', async () => {
    await exchange(
      (client) => client.symlink(1, 'l', 'to', 2),
      '16000000 10 0000 01000000 0100 6c 0200 746f 02000000',
      `14000000 11 0000 ${QID}`,
    );
  });

  it('Tmknod', async () => {
    await exchange(
      (client) => client.mknod(1, 'n', { mode: 0o20600, major: 1, minor: 3 }, 4),
      '1e000000 12 0000 01000000 0100 6e 80210000 01000000 03000000 04000000',
      `14000000 13 0000 ${QID}`,
    );
  });

  it('Trename', async () => {
    await exchange(
      (client) => client.rename(1, 2, 'new'),
      '14000000 14 0000 01000000 02000000 0300 6e6577',
      '07000000 15 0000',
    );
  });

  it('Treadlink', async () => {
    const target = await exchange(
      (client) => client.readlink(1),
      '0b000000 16 0000 01000000',
      '0c000000 17 0000 0300 2f61ff',
    );
    expect(target).toEqual(hex('2f61ff'));
  });

  it('Tgetattr', async () => {
    const attributes = await exchange(
      (client) => client.getattr(1),
      '13000000 18 0000 01000000 ff07000000000000',
      `a0000000 19 0000 ff07000000000000 ${QID} ed410000 e8030000 e9030000 0300000000000000
       0008000000000000 0000000001000000 0010000000000000 0800000000000000
       0100000000000000 0200000000000000 ffffffffffffffff 00ca9a3b00000000
       0500000000000000 0600000000000000 0000000000000000 0000000000000000
       0000000000000000 0000000000000000`,
    );
    expect(attributes).toEqual({
      valid: 0x7ff,
      qid: QID_VALUE,
      mode: 0o40755,
      uid: 1000,
      gid: 1001,
      nlink: 3,
      rdev: 0x800,
      sizeBytes: 2 ** 32,
      blockSizeBytes: 4096,
      blocks: 8,
      atimeSeconds: 1,
      atimeNanoseconds: 2,
      mtimeSeconds: -1,
      mtimeNanoseconds: 1_000_000_000,
      ctimeSeconds: 5,
      ctimeNanoseconds: 6,
    });
  });

  it('Tsetattr', async () => {
    await exchange(
      (client) =>
        client.setattr(1, {
          mode: 0o600,
          sizeBytes: 2 ** 40 + 1,
          atime: 'now',
          mtime: { seconds: -2, nanoseconds: 3 },
        }),
      `43000000 1a 0000 01000000 39010000 80010000 00000000 00000000 0100000000010000
       0000000000000000 0000000000000000 feffffffffffffff 0300000000000000`,
      '07000000 1b 0000',
    );
    await exchange(
      (client) => client.setattr(1, { uid: 7, gid: 8 }),
      `43000000 1a 0000 01000000 06000000 00000000 07000000 08000000 0000000000000000
       0000000000000000 0000000000000000 0000000000000000 0000000000000000`,
      '07000000 1b 0000',
    );
  });

  it('Tstatfs', async () => {
    const statistics = await exchange(
      (client) => client.statfs(1),
      '0b000000 08 0000 01000000',
      `43000000 09 0000 97190201 00100000 0a00000000000000 0900000000000000 0800000000000000
       0700000000000000 0600000000000000 ffffffffffffff7f ff000000`,
    );
    expect(statistics).toEqual({
      type: 0x0102_1997,
      blockSizeBytes: 4096,
      blocks: 10,
      blocksFree: 9,
      blocksAvailable: 8,
      files: 7,
      filesFree: 6,
      id: 0x7fff_ffff_ffff_ffffn,
      nameLengthBytes: 255,
    });
  });

  it('Txattrwalk', async () => {
    const size = await exchange(
      (client) => client.xattrwalk(1, 2, 'user.a'),
      '17000000 1e 0000 01000000 02000000 0600 757365722e61',
      '0f000000 1f 0000 0500000000000000',
    );
    expect(size).toBe(5);
  });

  it('Txattrcreate', async () => {
    await exchange(
      (client) => client.xattrcreate(1, 'user.a', 5, 1),
      '1f000000 20 0000 01000000 0600 757365722e61 0500000000000000 01000000',
      '07000000 21 0000',
    );
  });

  it('Treaddir', async () => {
    const entries = await exchange(
      (client) => client.readdir(1, 0xffff_ffff, 0x8000_0000),
      '17000000 28 0000 01000000 ffffffff00000080 e81f0000',
      `3d000000 29 0000 32000000
       ${QID} 0100000000000000 04 0100 61
       00 00000000 0000000000000001 fffffffffffffeff 08 0100 ff`,
    );
    expect(entries).toEqual([
      { qid: QID_VALUE, offsetLow: 1, offsetHigh: 0, type: 4, name: hex('61') },
      {
        qid: { type: 0, version: 0, pathLow: 0, pathHigh: 0x0100_0000 },
        offsetLow: 0xffff_ffff,
        offsetHigh: 0xfffe_ffff,
        type: 8,
        name: hex('ff'),
      },
    ]);
  });

  it('Tfsync', async () => {
    await exchange(
      (client) => client.fsync(1, true),
      '0f000000 32 0000 01000000 01000000',
      '07000000 33 0000',
    );
  });

  it('Tlock', async () => {
    const lock = { type: 1, start: 2, length: 3, procId: 4, clientId: 'me' };
    const status = await exchange(
      (client) => client.lock(1, 1, lock),
      '28000000 34 0000 01000000 01 01000000 0200000000000000 0300000000000000 04000000 0200 6d65',
      '08000000 35 0000 01',
    );
    expect(status).toBe(1);
  });

  it('Tgetlock', async () => {
    const lock = { type: 0, start: 2, length: 0, procId: 4, clientId: 'me' };
    const other = await exchange(
      (client) => client.getlock(1, lock),
      '24000000 36 0000 01000000 00 0200000000000000 0000000000000000 04000000 0200 6d65',
      '21000000 37 0000 01 0300000000000000 0400000000000000 05000000 0300 796f75',
    );
    expect(other).toEqual({ type: 1, start: 3, length: 4, procId: 5, clientId: hex('796f75') });
  });

  it('Tlink', async () => {
    await exchange(
      (client) => client.link(1, 2, 'n'),
      '12000000 46 0000 01000000 02000000 0100 6e',
      '07000000 47 0000',
    );
  });

  it('Tmkdir', async () => {
    await exchange(
      (client) => client.mkdir(1, 'd', 0o755, 0),
      '16000000 48 0000 01000000 0100 64 ed010000 00000000',
      `14000000 49 0000 ${QID}`,
    );
  });

  it('Trenameat', async () => {
    await exchange(
      (client) => client.renameat(1, 'a', 2, 'bc'),
      '16000000 4a 0000 01000000 0100 61 02000000 0200 6263',
      '07000000 4b 0000',
    );
  });

  it('Tunlinkat', async () => {
    await exchange(
      (client) => client.unlinkat(1, 'a', 0x200),
      '12000000 4c 0000 01000000 0100 61 00020000',
      '07000000 4d 0000',
    );
  });

  it('Tread', async () => {
    const target = new Uint8Array(4);
    const got = await exchange(
      (client) => client.read(1, 2 ** 33 + 5, target),
      '17000000 74 0000 01000000 0500000002000000 04000000',
      '0e000000 75 0000 03000000 010203',
    );
    expect(got).toBe(3);
    expect(target).toEqual(hex('01020300'));
  });

  it('Twrite', async () => {
    const written = await exchange(
      (client) => client.write(1, 1, hex('aabb')),
      '19000000 76 0000 01000000 0100000000000000 02000000 aabb',
      '0b000000 77 0000 01000000',
    );
    expect(written).toBe(1);
  });

  it('Tclunk', async () => {
    await exchange((client) => client.clunk(1), '0b000000 78 0000 01000000', '07000000 79 0000');
  });

  it('Tremove', async () => {
    await exchange((client) => client.remove(1), '0b000000 7a 0000 01000000', '07000000 7b 0000');
  });
});
