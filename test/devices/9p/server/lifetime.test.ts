/** THREATS: use after reset, leaks on error paths. Clients and servers that come and go. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { clientWithFile } from './support/client.js';
import { NOTAG, T } from './support/wire.js';

describe('dropAll', () => {
  it('ends requests under way without a reply and gives everything back', async () => {
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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
    const client = await clientWithFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const read = client.send(T.read(5, 2, 0, 5));
    await client.server.dropAll();
    expect(await read).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it('never commits an extended attribute that was being written', async () => {
    const client = await clientWithFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 0, 0));
    await client.expectNoLeaks();
    expect(client.fs.root.entries.get('file')?.xattrs.size).toBe(0);
  });

  it('answers nothing to wait for where nothing is under way', async () => {
    const client = await clientWithFile();
    expect(client.server.dropAll()).toBeUndefined();
  });
});

describe('close', () => {
  it('waits for what is under way, closes the file system once, and refuses requests from then on', async () => {
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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
