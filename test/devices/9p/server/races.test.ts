/** THREATS: races between fids and paths. What happens while something else is under way. */
import { describe, expect, it } from 'vitest';
import { REQUESTS_MAX } from '../../../../devices/9p/server/server.js';
import { Errno } from '../../../../devices/errno.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { Client } from './support/client.js';
import { NOFID, NOTAG, T } from './support/wire.js';

/** fid 1 is the file `file`, unopened; fid 2 is open on it. */
async function withFile(): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', 'hello');
  await client.ok(T.walk(1, 0, 1, 'file'));
  await client.ok(T.walk(1, 0, 2, 'file'));
  await client.ok(T.lopen(1, 2, 2));
  return client;
}

describe('races between fids', () => {
  it('Tclunk during a read takes the fid at once and closes the file after the read', async () => {
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
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
    const client = await withFile();
    client.fs.before = (operation) => (operation === 'open' ? Promise.resolve(-Errno.EACCES) : undefined);
    expect(await client.errno(T.lopen(5, 1, 0))).toBe(Errno.EACCES);
    client.fs.before = undefined;
    await client.ok(T.lopen(5, 1, 0));
    await client.expectNoLeaks();
  });

  it('a rename during a walk changes neither’s fids', async () => {
    const client = await withFile();
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
    const client = await withFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.remove(6, 2));
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('hello');
    await client.expectNoLeaks();
  });

  it('reads and writes of one fid run at the same time', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.write(6, 2, 0, Buffer.from('j')));
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('jello');
    await client.expectNoLeaks();
  });
});

describe('Tflush', () => {
  it('of a tag that is not in use, or of its own, is answered at once', async () => {
    const client = await withFile();
    expect((await client.ok(T.flush(5, 77))).bytes).toHaveLength(7);
    await client.ok(T.flush(5, 5));
    await client.ok(T.flush(5, NOTAG));
  });

  it('is answered after the request it is about, which ends as it would have', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    const flush = client.call(T.flush(6, 5));
    await client.ok(T.getattr(7, 0));
    gate.open();
    expect([(await read).type, (await flush).type]).toEqual([117, 109]);
    expect(client.order.slice(-3).map(({ tag }) => tag)).toEqual([7, 5, 6]);
    await client.expectNoLeaks();
  });

  it('makes a read that waits for something give up: no reply, and then Rflush', async () => {
    const client = await withFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const read = client.send(T.read(5, 2, 0, 5));
    const other = client.send(T.read(6, 2, 0, 5));
    await client.ok(T.flush(7, 5));
    expect(await read).toHaveLength(0);
    expect(client.order.slice(-2)).toEqual([
      { tag: 5, type: 0 },
      { tag: 7, type: 109 },
    ]);
    expect(client.pending).toBe(1);
    await client.ok(T.flush(7, 6));
    expect(await other).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it('repeated, and of a Tflush, is answered in the order of the requests', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const all = [client.call(T.read(5, 2, 0, 5))];
    await gate.arrived;
    for (const [tag, oldtag] of [
      [6, 5],
      [7, 5],
      [8, 6],
      [9, 8],
    ])
      all.push(client.call(T.flush(tag, oldtag)));
    gate.open();
    await Promise.all(all);
    expect(client.order.slice(-5).map(({ tag }) => tag)).toEqual([5, 6, 8, 9, 7]);
    await client.expectNoLeaks();
  });

  it('survives a file whose interrupt throws', async () => {
    const client = await withFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const read = client.send(T.read(5, 2, 0, 5));
    client.fs.interruptInstead = () => {
      throw new Error('a bug');
    };
    const flush = client.call(T.flush(6, 5));
    expect(client.log).toHaveLength(1);
    client.fs.interruptInstead = undefined;
    await client.ok(T.flush(7, 5));
    await Promise.all([read, flush]);
  });
});

describe('dropAll', () => {
  it('ends requests under way without a reply and gives everything back', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const read = client.send(T.read(5, 2, 0, 5));
    const flush = client.send(T.flush(6, 5));
    await gate.arrived;
    let dropped = false;
    const drop = Promise.resolve(client.server.dropAll()).then(() => (dropped = true));
    expect(client.server.statistics.fids).toBe(0);
    expect(client.fs.liveFiles).toBe(1);
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    expect(dropped).toBe(false);
    gate.open();
    expect([await read, await flush]).toEqual([new Uint8Array(0), new Uint8Array(0)]);
    await drop;
    await client.expectNoLeaks();
  });

  it('lets a new client start while the old one’s requests still end, with the same tags and fids', async () => {
    const client = await withFile();
    const gate = client.fs.gate('walk');
    const walk = client.send(T.walk(5, 0, 3, 'file'));
    await gate.arrived;
    const drop = client.server.dropAll();
    await client.start();
    await client.ok(T.walk(1, 0, 3));
    const attributes = await client.ok(T.getattr(5, 3));
    gate.open();
    expect(await walk).toHaveLength(0);
    await drop;
    expect((await client.ok(T.getattr(5, 3))).bytes).toEqual(attributes.bytes);
    await client.expectNoLeaks();
  });

  it('while a Tversion waits, and requests wait for it, ends them all without a reply', async () => {
    const client = await withFile();
    const gate = client.fs.gate('walk');
    const all = [client.send(T.walk(5, 0, 3, 'file'))];
    await gate.arrived;
    all.push(client.send(T.version(NOTAG, 8192, '9P2000.L')), client.send(T.getattr(6, 0)));
    const drop = client.server.dropAll();
    expect(client.pending).toBe(1);
    gate.open();
    await drop;
    expect((await Promise.all(all)).map(({ length }) => length)).toEqual([0, 0, 0]);
    await client.start();
    await client.expectNoLeaks();
  });

  it('makes reads that wait for something give up', async () => {
    const client = await withFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const read = client.send(T.read(5, 2, 0, 5));
    await client.server.dropAll();
    expect(await read).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it('never commits an extended attribute that was being written', async () => {
    const client = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 0, 0));
    await client.expectNoLeaks();
    expect(client.fs.root.entries.get('file')?.xattrs.size).toBe(0);
  });

  it('answers nothing to wait for where nothing is under way', async () => {
    const client = await withFile();
    expect(client.server.dropAll()).toBeUndefined();
  });
});

describe('close', () => {
  it('waits for what is under way, closes the file system once, and refuses requests from then on', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const read = client.send(T.read(5, 2, 0, 5));
    await gate.arrived;
    const closed = client.server.close();
    expect(client.fs.closed).toBe(false);
    expect(await client.errno(T.version(NOTAG, 8192, '9P2000.L'))).toBe(Errno.ENODEV);
    gate.open();
    await read;
    await closed;
    expect([client.fs.closed, client.fs.liveFiles, client.fs.liveNodes]).toEqual([true, 0, 0]);
    client.fs.closed = false;
    await client.server.close();
    expect(client.fs.closed).toBe(false);
  });
});

describe('a close that takes a while', () => {
  it('holds close up until the last node is back, too', async () => {
    const client = await withFile();
    client.fs.before = () => Promise.resolve(undefined);
    let nodesAtClose = NaN;
    client.fs.close = () => {
      nodesAtClose = client.fs.liveNodes + client.fs.liveFiles;
    };
    await client.server.close();
    expect(nodesAtClose).toBe(0);
  });
});

describe('the reply', () => {
  it('to memory that went away while the request was under way is not written, and the request ends', async () => {
    const client = await withFile();
    const gate = client.fs.gate('file.getattr');
    const request = new IoVector();
    const bytes = T.getattr(5, 2);
    request.push(bytes, 0, bytes.length, 0);
    const reply = new IoVector();
    const room = new Uint8Array(1000);
    reply.push(room, 0, room.length, 0);
    const ended = new Promise((resolve) => {
      client.server.handle(request, reply, (_token, replyBytes) => resolve(replyBytes), undefined);
    });
    reply.scatter = () => {
      throw new RangeError('offset is out of bounds');
    };
    gate.open();
    expect(await ended).toBe(0);
    expect(client.log).toHaveLength(1);
    client.log.length = 0;
    await client.expectNoLeaks();
  });
});

describe('many requests', () => {
  it('over the limit wait their turn, in order', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX + 50 }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    expect(gate.waiting).toBe(REQUESTS_MAX);
    const attributes = client.call(T.getattr(5000, 0));
    expect(client.pending).toBe(REQUESTS_MAX + 51);
    gate.open();
    const replies = await Promise.all(reads);
    expect(replies.every(({ type }) => type === 117)).toBe(true);
    expect((await attributes).type).toBe(25);
    const late = client.order.map(({ tag }) => tag).filter((tag) => tag >= REQUESTS_MAX && tag !== NOTAG);
    expect(late).toEqual([...Array.from({ length: 50 }, (_, i) => REQUESTS_MAX + i), 5000]);
    await client.expectNoLeaks();
  });

  it('that each end at once need no stack', async () => {
    const client = await withFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const request = new IoVector();
    const bytes = T.getattr(1000, 0);
    request.push(bytes, 0, bytes.length, 0);
    const reply = new IoVector();
    reply.push(new Uint8Array(160), 0, 160, 0);
    const replyBytes: number[] = [];
    const done = (_token: undefined, count: number) => replyBytes.push(count);
    for (let i = 0; i < 50_000; i++) client.server.handle(request, reply, done, undefined);
    gate.open();
    await Promise.all(reads);
    expect(replyBytes).toHaveLength(50_000);
    expect(replyBytes.every((count) => count === 160)).toBe(true);
    await client.expectNoLeaks();
  });

  it('reach the transport once each even where it throws', async () => {
    const client = await withFile();
    const request = new IoVector();
    const bytes = T.getattr(1, 0);
    request.push(bytes, 0, bytes.length, 0);
    let calls = 0;
    client.server.handle(
      request,
      new IoVector(),
      () => {
        calls++;
        throw new Error('the transport is broken');
      },
      undefined,
    );
    expect([calls, client.log.length]).toEqual([1, 1]);
    expect(await client.errno(T.getattr(1, 0))).toBe(0);
  });
});
