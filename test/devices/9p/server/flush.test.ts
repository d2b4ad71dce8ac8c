/** Tflush: requests that are given up. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { clientWithFile } from './support/client.js';
import { NOTAG, T } from './support/wire.js';

describe('Tflush', () => {
  it('of a tag that is not in use, or of its own, is answered at once', async () => {
    const client = await clientWithFile();
    expect((await client.ok(T.flush(5, 77))).bytes).toHaveLength(7);
    await client.ok(T.flush(5, 5));
    await client.ok(T.flush(5, NOTAG));
  });

  it('is answered after the request it is about, which ends as it would have', async () => {
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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
    const client = await clientWithFile();
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

  it('of one request says nothing about the requests after it', async () => {
    const client = await clientWithFile();
    const file = client.fs.root.entries.get('file')!;
    for (let round = 0; round < 5; round++) {
      file.target = 'blocks';
      const read = client.send(T.read(5, 2, 0, 5));
      const flushes = [6, 7, 8].map((tag) => client.call(T.flush(tag, 5)));
      expect(await read).toHaveLength(0);
      expect((await Promise.all(flushes)).map(({ tag }) => tag)).toEqual([6, 7, 8]);
      file.target = '';
      client.fs.before = () => -Errno.EINTR;
      for (const tag of [5, 6, 7, 8]) expect(await client.errno(T.getattr(tag, 0))).toBe(Errno.EINTR);
      client.fs.before = undefined;
    }
    await client.expectNoLeaks();
  });

  it('interrupts nothing but a read or write under way', async () => {
    const client = await clientWithFile();
    let interrupts = 0;
    client.fs.interruptInstead = () => {
      interrupts++;
    };
    client.fs.before = () => {
      throw new Error('a bug');
    };
    expect(await client.errno(T.read(5, 2, 0, 5))).toBe(Errno.EIO);
    client.fs.before = undefined;
    const gate = client.fs.gate('getattr');
    const attributes = client.call(T.getattr(5, 0));
    const flush = client.call(T.flush(6, 5));
    gate.open();
    await Promise.all([attributes, flush]);
    expect(interrupts).toBe(0);
    const reads = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    const flushOfRead = client.call(T.flush(6, 5));
    expect(interrupts).toBe(1);
    reads.open();
    await Promise.all([read, flushOfRead]);
  });

  it('survives a file whose interrupt throws', async () => {
    const client = await clientWithFile();
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

  it('lets a tag be used again, for a request that it says nothing about', async () => {
    const client = await clientWithFile();
    const file = client.fs.root.entries.get('file')!;
    for (let round = 0; round < 3; round++) {
      file.target = 'blocks';
      const read = client.send(T.read(5, 2, 0, 5));
      await client.ok(T.flush(6, 5));
      expect(await read).toHaveLength(0);
      file.target = '';
      expect((await client.ok(T.read(5, 2, 0, 5))).tag).toBe(5);
    }
    await client.expectNoLeaks();
  });

  it('of a request that was answered meanwhile is answered at once, and changes nothing', async () => {
    const client = await clientWithFile();
    await client.ok(T.write(5, 2, 0, Buffer.from('HELLO')));
    await client.ok(T.flush(6, 5));
    expect(Buffer.from((await client.ok(T.read(5, 2, 0, 5))).data).toString()).toBe('HELLO');
    await client.expectNoLeaks();
  });

  it('of itself flushed, and of a request that ends by an error, come after that error', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('walk');
    const walk = client.call(T.walk(5, 0, 9, 'none'));
    await gate.arrived;
    const flush = client.call(T.flush(6, 5));
    const flushOfFlush = client.call(T.flush(7, 6));
    gate.open();
    expect((await walk).errno).toBe(Errno.ENOENT);
    await Promise.all([flush, flushOfFlush]);
    expect(client.order.slice(-3)).toEqual([
      { tag: 5, type: 7 },
      { tag: 6, type: 109 },
      { tag: 7, type: 109 },
    ]);
    await client.expectNoLeaks();
  });
});

describe('Tclunk and Tremove', () => {
  it('of a fid whose reads wait for something end them with EINTR, and are answered', async () => {
    for (const give of [T.clunk, T.remove]) {
      const client = await clientWithFile();
      client.fs.root.entries.get('file')!.target = 'blocks';
      const reads = [client.call(T.read(5, 2, 0, 5)), client.call(T.read(6, 2, 0, 5))];
      await client.ok(T.walk(7, 0, 3, 'file'));
      await client.ok(T.lopen(7, 3, 0));
      const other = client.send(T.read(8, 3, 0, 5));
      await client.ok(give(9, 2));
      expect((await Promise.all(reads)).map(({ errno }) => errno)).toEqual([Errno.EINTR, Errno.EINTR]);
      expect(client.pending).toBe(1);
      await client.server.dropAll();
      expect(await other).toHaveLength(0);
      await client.expectNoLeaks();
    }
  });

  it('leave requests alone that will end by themselves', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const read = client.call(T.read(5, 2, 0, 5));
    await gate.arrived;
    await client.ok(T.clunk(6, 2));
    gate.open();
    expect(Buffer.from((await read).data).toString()).toBe('hello');
    await client.expectNoLeaks();
  });
});
