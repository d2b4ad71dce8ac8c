/** THREATS: fd and memory exhaustion by a guest. And what a read-only export refuses. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { NOFID, T } from './support/wire.js';

describe('the limit on fids', () => {
  it('refuses one more with EMFILE, however it is made, until one is given back', async () => {
    const client = await Client.attached({ maxFids: 3 });
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.walk(1, 0, 2));
    expect(await client.errno(T.walk(1, 0, 3))).toBe(Errno.EMFILE);
    expect(await client.errno(T.attach(1, 3, NOFID, '', '', 0))).toBe(Errno.EMFILE);
    expect(await client.errno(T.xattrwalk(1, 0, 3, ''))).toBe(Errno.EMFILE);
    expect(client.server.statistics.fids).toBe(3);
    await client.ok(T.clunk(1, 1));
    await client.ok(T.walk(1, 0, 3));
    await client.expectNoLeaks();
  });

  it('counts walks under way, and gives back the places of those that fail', async () => {
    const client = await Client.attached({ maxFids: 2 });
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(1, 0, 1, 'nowhere'));
    await gate.arrived;
    expect(await client.errno(T.walk(2, 0, 2))).toBe(Errno.EMFILE);
    gate.open();
    expect((await walk).errno).toBe(Errno.ENOENT);
    for (let i = 0; i < 10; i++) expect(await client.errno(T.walk(1, 0, 1, 'nowhere'))).toBe(Errno.ENOENT);
    await client.ok(T.walk(2, 0, 2));
    await client.expectNoLeaks();
  });
});

describe('limits that change', () => {
  it('count from the next request on, and take nothing from who has more', async () => {
    const client = await Client.attached({ maxFids: 10, maxOpenFiles: 10 });
    client.fs.file('file', '');
    for (const fid of [1, 2]) await client.ok(T.walk(1, 0, fid, 'file'));
    client.server.setLimits({ maxFids: 2, maxOpenFiles: 0 });
    expect(await client.errno(T.walk(1, 0, 3))).toBe(Errno.EMFILE);
    expect(await client.errno(T.lopen(1, 1, 0))).toBe(Errno.EMFILE);
    client.server.setLimits({ maxOpenFiles: 1, readOnly: true });
    expect(await client.errno(T.lopen(1, 1, 2))).toBe(Errno.EROFS);
    await client.ok(T.lopen(1, 1, 0));
    await client.ok(T.clunk(1, 2));
    await client.ok(T.clunk(1, 1));
    await client.ok(T.walk(1, 0, 3));
    await client.expectNoLeaks();
  });
});

describe('the limit on open files', () => {
  it('refuses one more with EMFILE, however it is opened, until one is closed', async () => {
    const client = await Client.attached({ maxOpenFiles: 2 });
    client.fs.file('file', '');
    for (const fid of [1, 2, 3]) await client.ok(T.walk(1, 0, fid, 'file'));
    await client.ok(T.walk(1, 0, 4));
    await client.ok(T.lopen(1, 1, 0));
    await client.ok(T.lopen(1, 2, 0));
    expect(await client.errno(T.lopen(1, 3, 0))).toBe(Errno.EMFILE);
    expect(await client.errno(T.lcreate(1, 4, 'new', 2, 0o644, 0))).toBe(Errno.EMFILE);
    expect(client.fs.root.entries.has('new')).toBe(false);
    await client.ok(T.clunk(1, 1));
    await client.ok(T.lcreate(1, 4, 'new', 2, 0o644, 0));
    expect(client.server.statistics.openFiles).toBe(2);
    await client.expectNoLeaks();
  });

  it('counts opens under way, and gives back the places of those that fail', async () => {
    const client = await Client.attached({ maxOpenFiles: 1 });
    client.fs.file('file', '');
    for (const fid of [1, 2]) await client.ok(T.walk(1, 0, fid, 'file'));
    const gate = client.fs.gate('open');
    const open = client.call(T.lopen(1, 1, 0));
    await gate.arrived;
    expect(await client.errno(T.lopen(2, 2, 0))).toBe(Errno.EMFILE);
    gate.open();
    await open;
    await client.ok(T.clunk(1, 1));
    client.fs.before = (operation) => (operation === 'open' ? -Errno.EACCES : undefined);
    for (let i = 0; i < 3; i++) expect(await client.errno(T.lopen(2, 2, 0))).toBe(Errno.EACCES);
    client.fs.before = undefined;
    await client.ok(T.lopen(2, 2, 0));
    await client.expectNoLeaks();
  });

  it('counts a file until its close is done', async () => {
    const client = await Client.attached({ maxOpenFiles: 1 });
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.lopen(1, 0, 0));
    const gate = client.fs.gate('close');
    const clunk = client.call(T.clunk(1, 0));
    await gate.arrived;
    expect(await client.errno(T.lopen(2, 1, 0))).toBe(Errno.EMFILE);
    gate.open();
    await clunk;
    await client.ok(T.lopen(2, 1, 0));
    await client.expectNoLeaks();
  });
});

describe('a read-only export', () => {
  async function readOnly(): Promise<Client> {
    const client = await Client.attached({ readOnly: true });
    client.fs.file('file', 'text').xattrs.set('user.a', Buffer.from('value'));
    await client.ok(T.walk(1, 0, 1, 'file'));
    client.fs.calls.length = 0;
    return client;
  }

  it.each([
    ['Tlcreate', T.lcreate(1, 0, 'new', 0, 0o644, 0)],
    ['Tlopen to write', T.lopen(1, 1, 1)],
    ['Tlopen to read and write', T.lopen(1, 1, 2)],
    ['Tlopen that truncates', T.lopen(1, 1, 0o1000)],
    ['Tsetattr', T.setattr(1, 1, { valid: 1, mode: 0 })],
    ['Tmkdir', T.mkdir(1, 0, 'new', 0o755, 0)],
    ['Tsymlink', T.symlink(1, 0, 'new', 'target', 0)],
    ['Tmknod', T.mknod(1, 0, 'new', 0o10644, 0, 0, 0)],
    ['Tlink', T.link(1, 0, 1, 'new')],
    ['Tunlinkat', T.unlinkat(1, 0, 'file', 0)],
    ['Trename', T.rename(1, 1, 0, 'new')],
    ['Trenameat', T.renameat(1, 0, 'file', 0, 'new')],
    ['Txattrcreate', T.xattrcreate(1, 1, 'user.b', 1, 0)],
  ])('refuses %s with EROFS before the file system sees it', async (_what, bytes) => {
    const client = await readOnly();
    expect(await client.errno(bytes)).toBe(Errno.EROFS);
    expect(client.fs.calls).toEqual([]);
    await client.expectNoLeaks();
  });

  it('refuses Tremove with EROFS, and gives its fid up', async () => {
    const client = await readOnly();
    expect(await client.errno(T.remove(1, 1))).toBe(Errno.EROFS);
    expect(client.fs.calls).toEqual([]);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('refuses to write to a file that is open', async () => {
    const client = await readOnly();
    await client.ok(T.lopen(1, 1, 0));
    expect(await client.errno(T.write(1, 1, 0, [1]))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('lets everything be read', async () => {
    const client = await readOnly();
    await client.ok(T.getattr(1, 1));
    await client.ok(T.xattrwalk(1, 1, 2, 'user.a'));
    await client.ok(T.read(1, 2, 0, 10));
    await client.ok(T.statfs(1, 1));
    await client.ok(T.lopen(1, 1, 0o100000));
    expect((await client.ok(T.read(1, 1, 0, 10))).data).toHaveLength(4);
    await client.ok(T.fsync(1, 1, 0));
    await client.ok(T.lopen(1, 0, 0));
    await client.ok(T.readdir(1, 0, 0, 1000));
    await client.expectNoLeaks();
  });
});

describe('the counters', () => {
  it('count requests, errors and bytes', async () => {
    const client = await Client.attached();
    client.fs.file('file', 'text');
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(T.lopen(1, 1, 2));
    await client.ok(T.read(1, 1, 0, 3));
    await client.ok(T.write(1, 1, 0, [1, 2]));
    await client.errno(T.clunk(1, 99));
    expect(client.server.statistics).toEqual({
      requests: 7,
      errors: 1,
      bytesRead: 3,
      bytesWritten: 2,
      fids: 2,
      openFiles: 1,
    });
  });
});
