import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { type SetattrFields, T } from './support/wire.js';

const VALID = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  ctime: 64,
  atimeSet: 128,
  mtimeSet: 256,
};

async function withFile(flags?: number): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', 'hello');
  await client.ok(T.walk(1, 0, 1, 'file'));
  if (flags !== undefined) await client.ok(T.lopen(1, 1, flags));
  return client;
}

describe('Tgetattr', () => {
  it('answers stat(2) in 160 bytes', async () => {
    const client = await withFile();
    Object.assign(client.fs.root.entries.get('file')!, {
      uid: 1,
      gid: 2,
      nlink: 3,
      mtimeSeconds: -1,
      device: 9,
    });
    const reply = await client.ok(T.getattr(1, 1, 0x7ff));
    expect(reply.bytes).toHaveLength(160);
    const fields = reply.fields;
    expect([fields.number(8), fields.qid().type]).toEqual([0x7ff, 0]);
    expect([fields.number(4), fields.number(4), fields.number(4)]).toEqual([0o100644, 1, 2]);
    const rest = Array.from({ length: 15 }, () => fields.big(8));
    expect(rest).toEqual([3n, 0n, 5n, 4096n, 1n, 0n, 0n, 2n ** 64n - 1n, 42n, 0n, 0n, 0n, 0n, 0n, 0n]);
    expect(fields.left).toBe(0);
  });

  it.each([
    [0, 0],
    [0x200, 0x200],
    [0x3fff, 0x7ff],
    [2n ** 64n - 1n, 0x7ff],
  ])('asked for %d says that %d is valid', async (mask, valid) => {
    const client = await withFile();
    expect((await client.ok(T.getattr(1, 1, mask))).fields.number(8)).toBe(valid);
  });

  it('of an unknown fid returns EBADF', async () => {
    const client = await withFile();
    expect(await client.errno(T.getattr(1, 2))).toBe(Errno.EBADF);
  });

  it('goes through the open file, which may have no name any more', async () => {
    const client = await withFile(2);
    await client.ok(T.unlinkat(1, 0, 'file', 0));
    client.fs.before = (operation) => (operation === 'getattr' ? -Errno.ENOENT : undefined);
    const fields = (await client.ok(T.getattr(1, 1))).fields;
    fields.bytes(8 + 13 + 12);
    expect(fields.number(8)).toBe(0);
  });

  it('of a file whose qid changes says so in its version', async () => {
    const client = await withFile(2);
    const version = async () => {
      const fields = (await client.ok(T.getattr(1, 1))).fields;
      fields.number(8);
      return fields.qid().version;
    };
    const before = await version();
    expect(await version()).toBe(before);
    await client.ok(T.write(1, 1, 5, [1]));
    expect(await version()).not.toBe(before);
  });
});

describe('Tsetattr', () => {
  it('changes what is marked valid', async () => {
    const client = await withFile();
    await client.ok(
      T.setattr(1, 1, { valid: VALID.mode | VALID.uid | VALID.size, mode: 0o600, uid: 5, gid: 6, size: 2 }),
    );
    expect(client.fs.root.entries.get('file')).toMatchObject({ mode: 0o100600, uid: 5, gid: 0 });
    expect(client.fs.root.entries.get('file')?.data).toHaveLength(2);
  });

  it('takes times before 1970', async () => {
    const client = await withFile();
    const changes = { valid: VALID.mtime | VALID.mtimeSet, mtimeSec: -86400, mtimeNsec: 999_999_999 };
    await client.ok(T.setattr(1, 1, changes));
    expect(client.fs.root.entries.get('file')).toMatchObject({
      mtimeSeconds: -86400,
      mtimeNanoseconds: 999_999_999,
    });
  });

  it.each<[string, SetattrFields, number]>([
    ['an unknown bit', { valid: 0x200 }, Errno.EINVAL],
    ['all bits', { valid: 0xffffffff }, Errno.EINVAL],
    ['a second of nanoseconds', { valid: VALID.mtimeSet, mtimeNsec: 1_000_000_000 }, Errno.EINVAL],
    ['2^64 - 1 nanoseconds', { valid: VALID.atimeSet, atimeNsec: 2n ** 64n - 1n }, Errno.EINVAL],
    ['a size of 2^63', { valid: 8, size: 2n ** 63n }, Errno.EFBIG],
  ])('with %s is refused before the file system sees it', async (_what, changes, errno) => {
    const client = await withFile();
    expect(await client.errno(T.setattr(1, 1, changes))).toBe(errno);
    expect(client.fs.calls).not.toContain('setattr');
  });

  it('with garbage in the fields that are not valid, as Linux before 2022 sends it, is done', async () => {
    const client = await withFile();
    const garbage = 2n ** 64n - 5n;
    const times = { atimeSec: 2n ** 62n, atimeNsec: garbage, mtimeSec: 2n ** 62n, mtimeNsec: garbage };
    const valid = VALID.mode | VALID.atime | VALID.mtime | VALID.ctime;
    await client.ok(T.setattr(1, 1, { valid, mode: 0o600, size: garbage, ...times }));
    expect(client.fs.root.entries.get('file')).toMatchObject({ mode: 0o100600, mtimeSeconds: 1_700_000_000 });
  });

  it('goes through the open file, so that fchmod works on one without a name', async () => {
    const client = await withFile(0);
    await client.ok(T.unlinkat(1, 0, 'file', 0));
    await client.ok(T.setattr(1, 1, { valid: VALID.mode, mode: 0o600 }));
    expect(client.fs.calls.at(-1)).toBe('file.setattr');
  });

  it('does not truncate through a file open for reading, but does through one open for writing', async () => {
    const client = await withFile(0);
    await client.ok(T.setattr(1, 1, { valid: VALID.size, size: 1 }));
    expect(client.fs.calls.at(-1)).toBe('setattr');
    const writer = await withFile(2);
    await writer.ok(T.setattr(1, 1, { valid: VALID.size, size: 1 }));
    expect(writer.fs.calls.at(-1)).toBe('file.setattr');
  });

  it('of an unknown fid returns EBADF', async () => {
    const client = await withFile();
    expect(await client.errno(T.setattr(1, 2, { valid: 1 }))).toBe(Errno.EBADF);
  });
});

describe('Tstatfs', () => {
  it('answers statfs(2) in 67 bytes', async () => {
    const client = await withFile();
    const reply = await client.ok(T.statfs(1, 1));
    expect(reply.bytes).toHaveLength(67);
    const fields = reply.fields;
    expect([fields.number(4), fields.number(4)]).toEqual([0x01021997, 4096]);
    expect(Array.from({ length: 6 }, () => fields.big(8))).toEqual([
      1000n,
      600n,
      500n,
      50n,
      40n,
      0x01020304_deadbeefn,
    ]);
    expect([fields.number(4), fields.left]).toEqual([255, 0]);
  });

  it('of an unknown fid returns EBADF, and passes a failure on', async () => {
    const client = await withFile();
    expect(await client.errno(T.statfs(1, 2))).toBe(Errno.EBADF);
    client.fs.before = () => -Errno.EIO;
    expect(await client.errno(T.statfs(1, 1))).toBe(Errno.EIO);
  });
});

describe('Treadlink', () => {
  it('answers the target as it is, to its 4095th byte', async () => {
    const client = await withFile();
    const target = '\xff/../'.repeat(819);
    await client.ok(T.symlink(1, 0, 'link', target, 0));
    await client.ok(T.walk(1, 0, 2, 'link'));
    expect((await client.ok(T.readlink(1, 2))).fields.text()).toBe(target);
  });

  it('of something else, or of an unknown fid, is refused', async () => {
    const client = await withFile();
    expect(await client.errno(T.readlink(1, 1))).toBe(Errno.EINVAL);
    expect(await client.errno(T.readlink(1, 2))).toBe(Errno.EBADF);
  });

  it.each(['x'.repeat(9000), '\u0100'])(
    'with a target that cannot be sent is answered with an error',
    async (target) => {
      const client = await withFile();
      client.fs.make(client.fs.root, 'link', 0o120777).target = target;
      await client.ok(T.walk(1, 0, 2, 'link'));
      expect(await client.errno(T.readlink(1, 2))).not.toBe(0);
      expect(await client.errno(T.getattr(1, 2))).toBe(0);
    },
  );
});
