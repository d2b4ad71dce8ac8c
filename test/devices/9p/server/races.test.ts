/** THREATS: races between fids and paths. What happens while something else is under way. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { clientWithFile } from './support/client.js';
import { NOFID, T } from './support/wire.js';

describe('races between fids', () => {
  it('Tclunk during a read takes the fid at once and closes the file after the read', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.clunk(6, 2));
    expect(await client.errno(T.read(7, 2, 0, 5))).toBe(Errno.EBADF);
    expect([client.fs.liveFiles, client.server.statistics.openFiles]).toEqual([1, 1]);
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('hello');
    expect([client.fs.liveFiles, client.server.statistics.openFiles]).toEqual([0, 0]);
    await client.expectNoLeaks();
  });

  it('Tclunk during several reads and a write closes the file after the last of them', async () => {
    const client = await clientWithFile();
    const reads = client.fs.gate('read');
    const writes = client.fs.gate('write');
    const both = [client.call(T.read(5, 2, 0, 5)), client.call(T.write(6, 2, 0, [1]))];
    await Promise.all([reads.arrived, writes.arrived]);
    await client.ok(T.clunk(7, 2));
    reads.open();
    await both[0];
    expect(client.fs.liveFiles).toBe(1);
    writes.open();
    await both[1];
    expect(client.fs.liveFiles).toBe(0);
    await client.expectNoLeaks();
  });

  it('Tclunk during Tlopen leaves no open file behind', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('open');
    const open = client.call(T.lopen(5, 1, 0));
    await gate.arrived;
    await client.ok(T.clunk(6, 1));
    gate.open();
    await open;
    expect(await client.errno(T.read(7, 1, 0, 1))).toBe(Errno.EBADF);
    expect([client.fs.liveFiles, client.server.statistics.openFiles]).toEqual([1, 1]);
    await client.expectNoLeaks();
  });

  it('Tclunk during Tlcreate leaves neither file nor fid behind, and the number can be used anew', async () => {
    const client = await clientWithFile();
    await client.ok(T.walk(1, 0, 3));
    const gate = client.fs.gate('create');
    const create = client.call(T.lcreate(5, 3, 'new', 2, 0o644, 0));
    await gate.arrived;
    await client.ok(T.clunk(6, 3));
    await client.ok(T.walk(6, 0, 3, 'file'));
    gate.open();
    expect((await create).errno).toBe(Errno.EBADF);
    expect(await client.errno(T.read(7, 3, 0, 1))).toBe(Errno.EBADF);
    expect(await client.errno(T.getattr(7, 3))).toBe(0);
    expect(client.fs.liveFiles).toBe(1);
    await client.expectNoLeaks();
  });

  it('Tclunk during a walk from the fid lets the walk end', async () => {
    const client = await clientWithFile();
    await client.ok(T.walk(1, 0, 3));
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(5, 3, 4, 'file'));
    await gate.arrived;
    await client.ok(T.clunk(6, 3));
    gate.open();
    expect((await walk).type).toBe(111);
    expect(await client.errno(T.getattr(7, 4))).toBe(0);
    await client.expectNoLeaks();
  });

  it('Tclunk during a walk of the fid to somewhere else ends in no fid', async () => {
    const client = await clientWithFile();
    await client.ok(T.walk(1, 0, 3));
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(5, 3, 3, 'file'));
    await gate.arrived;
    await client.ok(T.clunk(6, 3));
    gate.open();
    expect((await walk).errno).toBe(Errno.EBADF);
    expect(await client.errno(T.getattr(7, 3))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('two walks to one new fid make one: the other is refused', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('walk');
    const first = client.call(T.walk(5, 0, 3, 'file'));
    const second = client.call(T.walk(6, 0, 3, 'file'));
    const attach = client.call(T.attach(7, 3, NOFID, '', '', 0));
    const xattr = client.call(T.xattrwalk(8, 0, 3, ''));
    gate.open();
    expect([(await first).errno, (await second).errno, (await attach).errno, (await xattr).errno]).toEqual([
      0,
      Errno.EINVAL,
      Errno.EINVAL,
      Errno.EINVAL,
    ]);
    await client.expectNoLeaks();
  });

  it('two requests that change one fid do not meet: the second is refused with EBUSY', async () => {
    const client = await clientWithFile();
    await client.ok(T.walk(1, 0, 3));
    const gate = client.fs.gate('open');
    const open = client.call(T.lopen(5, 3, 0));
    await gate.arrived;
    expect(await client.errno(T.lopen(6, 3, 0))).toBe(Errno.EBUSY);
    expect(await client.errno(T.lcreate(6, 3, 'new', 2, 0o644, 0))).toBe(Errno.EBUSY);
    expect(await client.errno(T.walk(6, 3, 3, 'file'))).toBe(Errno.EBUSY);
    expect(await client.errno(T.xattrcreate(6, 3, 'user.a', 1, 0))).toBe(Errno.EBUSY);
    gate.open();
    expect((await open).type).toBe(13);
    await client.expectNoLeaks();
  });

  it('a request that failed to change its fid leaves it free to be changed', async () => {
    const client = await clientWithFile();
    client.fs.before = (operation) => (operation === 'open' ? Promise.resolve(-Errno.EACCES) : undefined);
    expect(await client.errno(T.lopen(5, 1, 0))).toBe(Errno.EACCES);
    client.fs.before = undefined;
    await client.ok(T.lopen(5, 1, 0));
    await client.expectNoLeaks();
  });

  it('a rename during a walk changes neither’s fids', async () => {
    const client = await clientWithFile();
    const directory = client.fs.directory('directory');
    client.fs.file('inside', '', directory);
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(5, 0, 3, 'directory', 'inside'));
    await gate.arrived;
    await client.ok(T.renameat(6, 0, 'directory', 0, 'moved'));
    gate.open();
    expect((await walk).errno).toBe(Errno.ENOENT);
    await client.ok(T.walk(7, 0, 3, 'moved', 'inside'));
    await client.expectNoLeaks();
  });

  it('Tremove during a read takes the fid at once and lets the read end', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.remove(6, 2));
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('hello');
    await client.expectNoLeaks();
  });

  it('reads and writes of one fid run at the same time', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.write(6, 2, 0, Buffer.from('j')));
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('jello');
    await client.expectNoLeaks();
  });
});
