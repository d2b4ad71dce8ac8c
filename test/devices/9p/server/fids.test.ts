import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { NOFID, T } from './support/wire.js';

async function withTree(): Promise<Client> {
  const client = await Client.attached();
  const a = client.fs.directory('a');
  const b = client.fs.directory('b', a);
  client.fs.file('leaf', 'text', b);
  await client.ok(T.symlink(1, 0, 'link', 'a', 0));
  return client;
}

describe('Tattach', () => {
  it.each(['', '/', '//', '/./'])('with aname %o attaches to the root', async (aname) => {
    const client = await withTree();
    const reply = await client.ok(T.attach(1, 1, NOFID, 'user', aname, 0));
    expect(reply.fields.qid()).toMatchObject({ type: 0x80, path: 2n });
    expect(reply.bytes).toHaveLength(20);
    await client.expectNoLeaks();
  });

  it.each(['a/b', '/a/b', '/a//b/'])('with aname %o attaches to what is there', async (aname) => {
    const client = await withTree();
    await client.ok(T.attach(1, 1, NOFID, 'user', aname, 0));
    expect(await client.errno(T.walk(1, 1, 2, 'leaf'))).toBe(0);
    await client.expectNoLeaks();
  });

  it.each([
    ['..', Errno.EINVAL],
    ['a/../..', Errno.EINVAL],
    ['a/\0', Errno.EINVAL],
    ['nowhere', Errno.ENOENT],
    ['a/nowhere/b', Errno.ENOENT],
    ['a/b/leaf/x', Errno.ENOTDIR],
    ['link/b', Errno.ENOTDIR],
    ['a/'.repeat(129), Errno.ENAMETOOLONG],
    ['x'.repeat(5000), Errno.ENAMETOOLONG],
  ])('with aname %o is refused and leaves no fid', async (aname, errno) => {
    const client = await withTree();
    expect(await client.errno(T.attach(1, 1, NOFID, 'user', aname, 0))).toBe(errno);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('takes a path of 128 directories', async () => {
    const client = await Client.attached();
    let directory = client.fs.root;
    for (let i = 0; i < 128; i++) directory = client.fs.directory('d', directory);
    await client.ok(T.attach(1, 1, NOFID, 'user', 'd/'.repeat(128), 0));
    await client.expectNoLeaks();
  });

  it('with a fid in use, with NOFID or with an afid is refused', async () => {
    const client = await withTree();
    expect(await client.errno(T.attach(1, 0, NOFID, '', '', 0))).toBe(Errno.EINVAL);
    expect(await client.errno(T.attach(1, NOFID, NOFID, '', '', 0))).toBe(Errno.EINVAL);
    expect(await client.errno(T.attach(1, 1, 0, '', '', 0))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('passes on why the file system has no root', async () => {
    const client = await withTree();
    client.fs.before = (operation) => (operation === 'attach' ? -Errno.ESTALE : undefined);
    expect(await client.errno(T.attach(1, 1, NOFID, '', '', 0))).toBe(Errno.ESTALE);
    await client.expectNoLeaks();
  });
});

describe('Twalk', () => {
  it.each(['', '.', 'a/b', '/', 'a\0', '\0'])(
    'by the name %o is refused before the file system sees it',
    async (name) => {
      const client = await withTree();
      client.fs.calls.length = 0;
      expect(await client.errno(T.walk(1, 0, 1, name))).toBe(Errno.EINVAL);
      expect(await client.errno(T.walk(1, 0, 1, 'a', name))).toBe(Errno.EINVAL);
      expect(client.fs.calls).toEqual([]);
      await client.expectNoLeaks();
    },
  );

  it('by names of 256 bytes is refused with ENAMETOOLONG', async () => {
    const client = await withTree();
    expect(await client.errno(T.walk(1, 0, 1, 'x'.repeat(256)))).toBe(Errno.ENAMETOOLONG);
  });

  it('from an unknown fid, or one that is only asked for yet, returns EBADF', async () => {
    const client = await withTree();
    expect(await client.errno(T.walk(1, 77, 1))).toBe(Errno.EBADF);
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(1, 0, 1, 'a'));
    await gate.arrived;
    expect(await client.errno(T.walk(2, 1, 3))).toBe(Errno.EBADF);
    expect(await client.errno(T.clunk(2, 1))).toBe(Errno.EBADF);
    gate.open();
    expect((await walk).type).toBe(111);
    await client.expectNoLeaks();
  });

  it('by several names answers the qid of each', async () => {
    const client = await withTree();
    const fields = (await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'))).fields;
    expect(fields.number(2)).toBe(3);
    expect([fields.qid(), fields.qid(), fields.qid()].map(({ type }) => type)).toEqual([0x80, 0x80, 0]);
    expect(fields.left).toBe(0);
    expect(await client.errno(T.getattr(1, 1))).toBe(0);
    await client.expectNoLeaks();
  });

  it('by 16 names works', async () => {
    const client = await Client.attached();
    let directory = client.fs.root;
    for (let i = 0; i < 16; i++) directory = client.fs.directory('d', directory);
    const names = new Array<string>(16).fill('d');
    expect((await client.ok(T.walk(1, 0, 1, ...names))).fields.number(2)).toBe(16);
    await client.expectNoLeaks();
  });

  it('answers a symbolic link as itself and goes no further', async () => {
    const client = await withTree();
    const fields = (await client.ok(T.walk(1, 0, 1, 'link', 'b'))).fields;
    expect([fields.number(2), fields.qid().type]).toEqual([1, 0x02]);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    expect(client.fs.calls).not.toContain('walk b');
    await client.expectNoLeaks();
  });

  it('that fails at the first name is an error; further on it answers what was found and makes no fid', async () => {
    const client = await withTree();
    expect(await client.errno(T.walk(1, 0, 1, 'nowhere', 'b'))).toBe(Errno.ENOENT);
    const fields = (await client.ok(T.walk(1, 0, 1, 'a', 'nowhere', 'c'))).fields;
    expect(fields.number(2)).toBe(1);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('that fails half-way leaves a fid that was to be moved where it was', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a'));
    expect((await client.ok(T.walk(1, 1, 1, 'b', 'nowhere'))).fields.number(2)).toBe(1);
    expect(await client.errno(T.walk(1, 1, 2, 'b'))).toBe(0);
    await client.expectNoLeaks();
  });

  it('by no names makes a second fid of the same file, which outlives the first', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'));
    expect((await client.ok(T.walk(1, 1, 2))).fields.number(2)).toBe(0);
    await client.ok(T.clunk(1, 1));
    expect(await client.errno(T.getattr(1, 2))).toBe(0);
    await client.expectNoLeaks();
  });

  it('to the fid that it starts from moves that fid', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.walk(1, 1, 1, 'a'));
    expect(await client.errno(T.walk(1, 1, 2, 'b'))).toBe(0);
    expect(await client.errno(T.walk(1, 1, 1))).toBe(0);
    await client.expectNoLeaks();
  });

  it('from an open fid works, but not to that fid', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a'));
    await client.ok(T.lopen(1, 1, 0));
    expect(await client.errno(T.walk(1, 1, 2, 'b'))).toBe(0);
    expect(await client.errno(T.walk(1, 1, 1, 'b'))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('to a fid in use, or to NOFID, is refused', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1));
    expect(await client.errno(T.walk(1, 0, 1, 'a'))).toBe(Errno.EINVAL);
    expect(await client.errno(T.walk(1, 0, NOFID, 'a'))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('by ".." leads to the parent, and from the root to the root', async () => {
    const client = await withTree();
    const fields = (await client.ok(T.walk(1, 0, 1, 'a', 'b', '..', '..', '..', '..', 'a'))).fields;
    expect(fields.number(2)).toBe(7);
    const [a, b, up, root, ...rest] = Array.from({ length: 7 }, () => fields.qid().path);
    expect(up).toBe(a);
    expect(b).not.toBe(a);
    expect(root).toBe(2n);
    expect(rest).toEqual([2n, 2n, a]);
    await client.expectNoLeaks();
  });

  it('by ".." never leads above what was attached', async () => {
    const client = await withTree();
    const attached = (await client.ok(T.attach(1, 1, NOFID, '', 'a/b', 0))).fields.qid();
    const fields = (await client.ok(T.walk(1, 1, 2, '..', '..'))).fields;
    expect([fields.number(2), fields.qid().path, fields.qid().path]).toEqual([
      2,
      attached.path,
      attached.path,
    ]);
    const again = (await client.ok(T.walk(1, 2, 3, '..'))).fields;
    expect([again.number(2), again.qid().path]).toEqual([1, attached.path]);
    expect(client.fs.calls).not.toContain('parent');
    await client.expectNoLeaks();
  });

  it('by ".." from a file is refused', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'));
    expect(await client.errno(T.walk(1, 1, 2, '..'))).toBe(Errno.ENOTDIR);
    await client.expectNoLeaks();
  });
});

describe('Tclunk', () => {
  it('of an unknown fid returns EBADF', async () => {
    const client = await Client.attached();
    expect(await client.errno(T.clunk(1, 5))).toBe(Errno.EBADF);
  });

  it('closes the file and answers once it is closed', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'));
    await client.ok(T.lopen(1, 1, 0));
    const gate = client.fs.gate('close');
    const clunk = client.call(T.clunk(7, 1));
    await gate.arrived;
    await client.ok(T.getattr(8, 0));
    expect(client.order.map(({ tag }) => tag)).not.toContain(7);
    gate.open();
    expect((await clunk).type).toBe(121);
    expect(client.server.statistics.openFiles).toBe(0);
    await client.expectNoLeaks();
  });

  it('frees the fid even where closing fails, which is reported', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'));
    await client.ok(T.lopen(1, 1, 0));
    client.fs.before = (operation) => {
      if (operation === 'close') throw new Error('disk on fire');
      return undefined;
    };
    await client.ok(T.clunk(1, 1));
    expect(client.log).toEqual(['9p: close threw: Error: disk on fire']);
    expect([client.server.statistics.openFiles, client.server.statistics.fids]).toEqual([0, 1]);
    expect(client.fs.liveNodes).toBe(1);
  });

  it('survives a close that rejects', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a', 'b', 'leaf'));
    await client.ok(T.lopen(1, 1, 0));
    client.fs.before = (operation) =>
      operation === 'close' ? Promise.reject(new Error('disk on fire')) : undefined;
    await client.ok(T.clunk(1, 1));
    expect(client.log).toEqual(['9p: close failed: Error: disk on fire']);
    expect([client.server.statistics.openFiles, client.fs.liveNodes]).toEqual([0, 1]);
  });
});

describe('Tremove', () => {
  it('removes the file and the fid', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'link'));
    await client.ok(T.remove(1, 1));
    expect(client.fs.root.entries.has('link')).toBe(false);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('frees the fid where the file cannot be removed', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1, 'a'));
    expect(await client.errno(T.remove(1, 1))).toBe(Errno.ENOTEMPTY);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('of what was attached is refused with EBUSY, and of an unknown fid with EBADF', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 1));
    expect(await client.errno(T.remove(1, 1))).toBe(Errno.EBUSY);
    expect(await client.errno(T.remove(1, 1))).toBe(Errno.EBADF);
    expect(client.fs.calls).not.toContain('remove');
    await client.expectNoLeaks();
  });
});
