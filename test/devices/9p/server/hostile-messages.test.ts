/** THREATS: protocol arithmetic. Bytes that no client sends. */
import { describe, expect, it } from 'vitest';
import { REQUESTS_MAX } from '../../../../devices/9p/server/server.js';
import { Errno } from '../../../../devices/errno.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { Client } from './support/client.js';
import { message, NOFID, NOTAG, Reply, str, T, u16, u32, u64, u8 } from './support/wire.js';

/** A message that says it is `sizeBytes` long, whatever it is. */
function claiming(sizeBytes: number, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy.set(u32(sizeBytes), 0);
  return copy;
}

async function withOpenFile(): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', 'hello');
  await client.ok(T.walk(1, 0, 1, 'file'));
  await client.ok(T.lopen(1, 1, 2));
  return client;
}

describe('protocol arithmetic: sizes', () => {
  it.each([0, 1, 2, 3, 4, 5, 6])(
    'a message of %d bytes is answered with EPROTO and no tag',
    async (lengthBytes) => {
      const client = await Client.attached();
      const reply = await client.call(T.clunk(1, 0).subarray(0, lengthBytes));
      expect([reply.errno, reply.tag]).toEqual([Errno.EPROTO, NOTAG]);
      await client.expectNoLeaks();
    },
  );

  it.each([0, 6, 12, 1000])(
    'a message of 11 bytes that says it has %d is refused, with its tag',
    async (size) => {
      const client = await Client.attached();
      const reply = await client.call(claiming(size, T.clunk(0x1234, 0)));
      expect([reply.errno, reply.tag]).toEqual([Errno.EPROTO, 0x1234]);
      expect(await client.errno(T.getattr(1, 0))).toBe(0);
    },
  );

  it.each([65537, 0x7fffffff, 0x80000000, 0xffffffff])(
    'a size of %d, over msize, is refused',
    async (size) => {
      const client = await Client.attached();
      expect(await client.errno(claiming(size, T.clunk(1, 0)))).toBe(Errno.EMSGSIZE);
    },
  );

  it('a message longer than msize is refused though all of it is there', async () => {
    const client = new Client();
    await client.ok(T.version(NOTAG, 4096, '9P2000.L'));
    await client.ok(T.attach(1, 0, NOFID, '', '', 0));
    expect(await client.errno(T.write(1, 0, 0, new Uint8Array(4096)))).toBe(Errno.EMSGSIZE);
  });

  it('bytes after a message’s fields are refused', async () => {
    const client = await Client.attached();
    expect(await client.errno(message(120, 1, u32(0), u8(0)))).toBe(Errno.EPROTO);
    expect(await client.errno(message(24, 1, u32(0), u64(0), u32(0)))).toBe(Errno.EPROTO);
  });

  it('bytes after the message are not looked at', async () => {
    const client = await Client.attached();
    expect(await client.errno(Uint8Array.from([...T.getattr(1, 0), 9, 9, 9]))).toBe(0);
  });

  it('a message that is no Twrite and longer than any can be is refused', async () => {
    const client = await Client.attached();
    const bytes = message(104, 1, u32(1), u32(NOFID), str('x'.repeat(200)), str('y'.repeat(20000)), u32(0));
    expect(await client.errno(bytes)).toBe(Errno.ENAMETOOLONG);
    expect(await client.errno(message(120, 1, u32(0), new Array<number>(20000).fill(0)))).toBe(Errno.EPROTO);
  });

  it('messages and replies are the same however they are cut into pieces', async () => {
    for (const piece of [1, 2, 3, 7, 11, 13, 4096]) {
      const client = await withOpenFile();
      const whole = (await client.ok(T.getattr(1, 1))).bytes;
      expect((await client.ok(T.getattr(1, 1), { piece })).bytes).toEqual(whole);
      await client.ok(T.write(1, 1, 0, Buffer.from('goodbye')), { piece });
      expect(Buffer.from((await client.ok(T.read(1, 1, 0, 100), { piece })).data).toString()).toBe('goodbye');
      await client.expectNoLeaks();
    }
  });
});

describe('protocol arithmetic: counts', () => {
  it.each([0xffffffff, 0xfffffff5, 0x80000000, 0x7fffffff])(
    'Tread of %d bytes gives what there is and never leaves the reply',
    async (count) => {
      const client = await withOpenFile();
      const reply = await client.ok(T.read(1, 1, 0, count), { room: 64, piece: 16 });
      expect(Buffer.from(reply.data).toString()).toBe('hello');
      await client.expectNoLeaks();
    },
  );

  it.each([0xffffffff, 0xffffffe9, 0x80000000, 100])(
    'Twrite that says it has %d bytes but has 3 writes nothing',
    async (count) => {
      const client = await withOpenFile();
      const bytes = T.write(1, 1, 0, [1, 2, 3]);
      bytes.set(u32(count), 19);
      expect(await client.errno(bytes)).toBe(Errno.EPROTO);
      expect(client.fs.calls).not.toContain('write 0');
      await client.expectNoLeaks();
    },
  );

  it('Tread and Twrite at offsets from 2^53 on are refused, never done elsewhere', async () => {
    const client = await withOpenFile();
    for (const offset of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      expect(await client.errno(T.read(1, 1, offset, 10))).toBe(Errno.EOVERFLOW);
      expect(await client.errno(T.write(1, 1, offset, [1]))).toBe(Errno.EFBIG);
    }
    expect(client.fs.calls.filter((call) => /^(read|write) /.test(call))).toEqual([]);
  });

  it('Treaddir of 2^32 - 1 bytes is cut to the room of the reply', async () => {
    const client = await Client.attached();
    for (let i = 0; i < 50; i++) client.fs.file(`file ${i}`, '');
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.lopen(1, 1, 0));
    const reply = await client.ok(T.readdir(1, 1, 0, 0xffffffff), { room: 100, piece: 9 });
    expect(reply.bytes.length).toBeLessThanOrEqual(100);
    expect(reply.data.length).toBeGreaterThan(0);
  });

  it('Twalk that says it has 65535 names is refused', async () => {
    const client = await Client.attached();
    expect(await client.errno(message(110, 1, u32(0), u32(1), u16(0xffff)))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });
});

describe('protocol arithmetic: replies without room', () => {
  const REQUESTS: [string, Uint8Array][] = [
    ['Tclunk', T.clunk(1, 0)],
    ['Tread', T.read(1, 0, 0, 100)],
    ['Tmkdir', T.mkdir(1, 0, 'made', 0o755, 0)],
    ['Tgetattr', T.getattr(1, 0)],
    ['Tversion', T.version(NOTAG, 8192, '9P2000.L')],
    ['an unknown message', message(99, 1)],
    ['a short message', Uint8Array.from([1, 2, 3])],
  ];

  it.each(REQUESTS)(
    '%s with no room for an error is given back without a reply, not done',
    async (_name, bytes) => {
      for (let room = 0; room < 11; room++) {
        const client = await Client.attached();
        expect(await client.send(bytes, { room, piece: 4 })).toHaveLength(0);
        expect(client.fs.root.entries.has('made')).toBe(false);
        expect(await client.errno(T.getattr(1, 0))).toBe(0);
        await client.expectNoLeaks();
      }
    },
  );

  it('a change whose reply does not fit is refused before it is made', async () => {
    const client = await Client.attached();
    expect(await client.errno(T.mkdir(1, 0, 'made', 0o755, 0), { room: 19 })).toBe(Errno.EMSGSIZE);
    expect(await client.errno(T.lcreate(1, 0, 'made', 0o102, 0o644, 0), { room: 23 })).toBe(Errno.EMSGSIZE);
    expect(client.fs.root.entries.size).toBe(0);
    expect(await client.errno(T.mkdir(1, 0, 'made', 0o755, 0), { room: 20 })).toBe(0);
  });

  it('Twalk whose qids do not fit makes no fid', async () => {
    const client = await Client.attached();
    client.fs.directory('b', client.fs.directory('a'));
    expect(await client.errno(T.walk(1, 0, 1, 'a', 'b'), { room: 34 })).toBe(Errno.EMSGSIZE);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    expect(await client.errno(T.walk(1, 0, 1, 'a', 'b'), { room: 35 })).toBe(0);
  });

  it('Treadlink whose target does not fit is refused', async () => {
    const client = await Client.attached();
    await client.ok(T.symlink(1, 0, 'link', 'a'.repeat(100), 0));
    await client.ok(T.walk(1, 0, 1, 'link'));
    expect(await client.errno(T.readlink(1, 1), { room: 108 })).toBe(Errno.EMSGSIZE);
    expect((await client.ok(T.readlink(1, 1), { room: 109 })).fields.text()).toHaveLength(100);
  });
});

describe('protocol arithmetic: kinds of messages', () => {
  it('every type but the T-messages of 9P2000.L is refused with EOPNOTSUPP', async () => {
    const known = new Set([8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76]);
    for (const type of [100, 102, 104, 108, 110, 116, 118, 120, 122]) known.add(type);
    for (let type = 0; type < 256; type++) {
      if (known.has(type)) continue;
      const client = await Client.attached();
      expect(await client.errno(message(type, 1, u32(0))), `type ${type}`).toBe(Errno.EOPNOTSUPP);
    }
  });

  it('nothing but Tversion is understood before a version is agreed on', async () => {
    const client = new Client();
    for (const bytes of [T.attach(1, 0, NOFID, '', '', 0), T.flush(1, 2), T.getattr(1, 0), message(101, 1)])
      expect(await client.errno(bytes)).toBe(Errno.EPROTO);
    await client.expectNoLeaks();
  });

  it('a second request with a tag that is in use is refused, and the first goes on', async () => {
    const client = await withOpenFile();
    const gate = client.fs.gate('read');
    const first = client.call(T.read(9, 1, 0, 5));
    await gate.arrived;
    expect(await client.errno(T.getattr(9, 1))).toBe(Errno.EINVAL);
    gate.open();
    expect((await first).type).toBe(117);
    expect(await client.errno(T.getattr(9, 1))).toBe(0);
    await client.expectNoLeaks();
  });
});

describe('double fetch', () => {
  /** Notes which bytes are fetched, and overwrites each with 0xff once it was. */
  class HostileVector extends IoVector {
    readonly fetched: number[] = [];

    override gather(from: number, target: Uint8Array, targetOffset: number, lengthBytes: number): number {
      const count = super.gather(from, target, targetOffset, lengthBytes);
      for (let i = from; i < from + count; i++) {
        this.fetched.push(i);
        this.bytes[0][i] = 0xff;
      }
      return count;
    }
  }

  function handle(client: Client, bytes: Uint8Array): Promise<{ reply: Reply; fetched: number[] }> {
    const request = new HostileVector();
    request.push(bytes, 0, bytes.length, 0);
    const reply = new IoVector();
    const room = new Uint8Array(8192);
    reply.push(room, 0, room.length, 0);
    return new Promise((resolve) => {
      const done = (_token: unknown, replyBytes: number) =>
        resolve({ reply: new Reply(room.slice(0, replyBytes)), fetched: request.fetched });
      client.server.handle(request, reply, done, undefined);
    });
  }

  it('no byte of a message is fetched twice, so that a guest that goes on writing changes nothing', async () => {
    const client = await withOpenFile();
    client.fs.before = () => Promise.resolve(undefined);
    const bytes = T.walk(0x1234, 0, 2, 'file', 'x');
    const { reply, fetched } = await handle(client, bytes.slice());
    expect(fetched).toEqual(Array.from({ length: bytes.length }, (_, i) => i));
    expect([reply.type, reply.tag, reply.fields.number(2)]).toEqual([111, 0x1234, 1]);
    await client.expectNoLeaks();
  });

  it('nor of one that waited its turn, whose header was looked at before', async () => {
    const client = await withOpenFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 1, 0, 5)));
    await gate.arrived;
    const bytes = T.walk(0x1234, 0, 2, 'file', 'x');
    const waiting = handle(client, bytes.slice());
    gate.open();
    const { reply, fetched } = await waiting;
    expect(fetched).toEqual(Array.from({ length: bytes.length }, (_, i) => i));
    expect([reply.type, reply.tag, reply.fields.number(2)]).toEqual([111, 0x1234, 1]);
    await Promise.all(reads);
    await client.expectNoLeaks();
  });

  it('the data of a Twrite is not fetched at all by the server', async () => {
    const client = await withOpenFile();
    client.fs.run = () => 3;
    const { reply, fetched } = await handle(client, T.write(7, 1, 0, [1, 2, 3]));
    expect(fetched).toEqual(Array.from({ length: 23 }, (_, i) => i));
    expect([reply.type, reply.tag, reply.fields.number(4)]).toEqual([119, 7, 3]);
  });
});
