import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Client9p } from '../../../guest/9p/client.js';
import { GuestError } from '../../../guest/errors.js';
import { hex, ScriptedTransport, type PendingRequest } from './scripted-transport.js';

const RCLUNK = '07000000 79 0000';

function setUp(maxMessageBytes?: number) {
  const transport = new ScriptedTransport(maxMessageBytes);
  return { transport, client: new Client9p(transport), requests: transport.requests };
}

/** A reply with the request's tag. */
function answer(request: PendingRequest, type: number, body = ''): void {
  const bytes = hex(`00000000 00 0000 ${body}`);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.byteLength, true);
  view.setUint8(4, type);
  view.setUint16(5, request.tag, true);
  request.reply(bytes);
}

describe('a reply that is none', () => {
  it.each([
    ['nothing at all', ''],
    ['a header cut short', '07000000 79'],
    ['a size below the header', '06000000 79 0000'],
    ['a size beyond what was written', '08000000 79 0000'],
    ['a size near 2^32', 'ffffffff 79 0000'],
    ['another tag', '07000000 79 0100'],
    ['another message', '07000000 77 0000'],
    ['the request itself', '0b000000 78 0000 01000000'],
    ['Rlerror without an errno', '07000000 07 0000'],
    ['Rlerror with errno 0', '0b000000 07 0000 00000000'],
    ['9P2000’s own Rerror', '0b000000 6b 0000 02000000'],
  ])('%s, is EIO', async (_what, bytes) => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => request.reply(hex(bytes));
    await expect(client.clunk(1)).rejects.toMatchObject({ code: 'EIO', syscall: 'clunk' });
  });

  it('claims to be longer than there is room for, is EIO', async () => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => request.reply(hex(RCLUNK).fill(0xff, 0, 4), 0xffff_ffff);
    await expect(client.clunk(1)).rejects.toMatchObject({ code: 'EIO' });
  });

  it.each([
    [
      'Rread with more than was asked for',
      (c: Client9p) => c.read(1, 0, new Uint8Array(2)),
      117,
      '03000000 010203',
    ],
    [
      'Rread with less than it says',
      (c: Client9p) => c.read(1, 0, new Uint8Array(9)),
      117,
      '04000000 010203',
    ],
    [
      'Rread with a count near 2^32',
      (c: Client9p) => c.read(1, 0, new Uint8Array(9)),
      117,
      'ffffffff 010203',
    ],
    ['Rwrite of more than was sent', (c: Client9p) => c.write(1, 0, new Uint8Array(2)), 119, '03000000'],
    [
      'Rwalk of more names than were asked for',
      (c: Client9p) => c.walk(1, 2, []),
      111,
      `0100 ${'00'.repeat(13)}`,
    ],
    ['Rwalk of no name where some were asked for', (c: Client9p) => c.walk(1, 2, ['a']), 111, '0000'],
    [
      'Rwalk with fewer qids than it says',
      (c: Client9p) => c.walk(1, 2, ['a', 'b']),
      111,
      `0200 ${'00'.repeat(25)}`,
    ],
    ['Rreadlink with a length beyond its end', (c: Client9p) => c.readlink(1), 23, 'ffff 61'],
    ['Rreaddir with a count beyond its end', (c: Client9p) => c.readdir(1, 0, 0), 41, '20000000 00'],
    [
      'Rreaddir with an entry cut short',
      (c: Client9p) => c.readdir(1, 0, 0),
      41,
      `10000000 ${'00'.repeat(16)}`,
    ],
    [
      'Rreaddir with an entry across its count',
      (c: Client9p) => c.readdir(1, 0, 0),
      41,
      `18000000 ${'00'.repeat(22)} 0400 61626364`,
    ],
    ['Rgetattr cut short', (c: Client9p) => c.getattr(1), 25, '00'.repeat(152)],
  ])('%s, is EIO', async (_what, call, type, body) => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => answer(request, type, body);
    await expect(call(client)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('never gets further than an error, whatever its bytes', async () => {
    const { transport, client } = setUp();
    const calls: ((client: Client9p) => Promise<unknown>)[] = [
      (c) => c.walk(1, 2, ['a', 'b']),
      (c) => c.readdir(1, 0, 0),
      (c) => c.getattr(1),
      (c) => c.getlock(1, { type: 0, start: 0, length: 0, procId: 0, clientId: '' }),
      (c) => c.read(1, 0, new Uint8Array(10)),
    ];
    const types = [111, 41, 25, 55, 117];
    await fc.assert(
      fc.asyncProperty(fc.nat(4), fc.uint8Array({ maxLength: 300 }), async (which, body) => {
        transport.onRequest = (request) => answer(request, types[which], Buffer.from(body).toString('hex'));
        await calls[which](client).catch((error: unknown) => {
          expect(error).toBeInstanceOf(GuestError);
        });
      }),
      { numRuns: 500 },
    );
  });
});

describe('errors', () => {
  it('carry the server’s errno by name and number', async () => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => answer(request, 7, '02000000');
    await expect(client.lopen(1, 0)).rejects.toMatchObject({ code: 'ENOENT', errno: -2, syscall: 'lopen' });
  });

  it('carry numbers that have no name as they are', async () => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => answer(request, 7, 'ffffffff');
    await expect(client.lopen(1, 0)).rejects.toMatchObject({ code: 'E4294967295' });
  });

  it('of the transport come through, and give the tag back', async () => {
    const { transport, client, requests } = setUp();
    transport.onRequest = (request) => request.fail('ENODEV');
    await expect(client.getattr(1)).rejects.toMatchObject({ code: 'ENODEV' });
    await expect(client.getattr(1)).rejects.toMatchObject({ code: 'ENODEV' });
    expect(requests.map(({ tag }) => tag)).toEqual([0, 0]);
    expect(requests.every(({ released }) => released)).toBe(true);
  });

  it('tell of names that no message has room for, and nothing is sent', async () => {
    const { client, requests } = setUp();
    await expect(client.mkdir(1, 'x'.repeat(8192), 0, 0)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    await expect(client.mkdir(1, 'x'.repeat(70_000), 0, 0)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    expect(requests).toEqual([]);
  });
});

describe('the version', () => {
  it.each([
    ['another dialect', '00100000 0600 395032303030'],
    ['an msize below the least', 'ff0f0000 0800 3950323030302e4c'],
    ['an msize above the proposal', '01200000 0800 3950323030302e4c'],
    ['no dialect', '00100000 0700 756e6b6e6f776e'],
  ])('is refused where the server says %s', async (_what, body) => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => answer(request, 101, body);
    await expect(client.version(8192)).rejects.toMatchObject({ code: 'EREMOTEIO' });
  });

  it('bounds reads and writes by what was agreed on', async () => {
    const { transport, client, requests } = setUp(100_000);
    transport.onRequest = (request) => answer(request, 101, '00100000 0800 3950323030302e4c');
    await client.version(50_000);
    expect(client.maxDataBytes).toBe(4096 - 24);
    transport.onRequest = (request) => answer(request, 119, '01000000');
    await client.write(1, 0, new Uint8Array(60_000));
    expect(requests[1].bytes.byteLength).toBe(4096 - 24 + 23);
  });
});

describe('many requests in flight', () => {
  it('have tags of their own and may be answered in any order', async () => {
    const { client, requests } = setUp();
    const links = [0, 1, 2].map((fid) => client.readlink(fid));
    expect(requests.map(({ tag }) => tag)).toEqual([0, 1, 2]);
    for (const i of [2, 0, 1]) answer(requests[i], 23, `0100 6${i}`);
    expect((await Promise.all(links)).map((link) => link[0])).toEqual([0x60, 0x61, 0x62]);
  });
});

describe('a request whose signal aborts', () => {
  async function aborted() {
    const { client, requests, transport } = setUp();
    const abort = new AbortController();
    const result = client.lopen(1, 0, abort.signal);
    // Looked at by the test later; it may be settled before.
    result.catch(() => undefined);
    abort.abort();
    await Promise.resolve();
    const [original, flush] = requests;
    return { client, requests, transport, abort, result, original, flush };
  }

  it('is flushed by its tag: size[4] Tflush tag[2] oldtag[2]', async () => {
    const { flush, original } = await aborted();
    expect(flush.type).toBe(108);
    expect(flush.bytes).toEqual(hex('09000000 6c 0100 0000'));
    expect(original.released).toBe(false);
  });

  it('rejects with the reason once the flush is answered, and its buffers are let go of', async () => {
    const { flush, original, abort, result, client, requests } = await aborted();
    answer(flush, 109);
    await expect(result).rejects.toBe(abort.signal.reason);
    expect([original.cancelled, original.released]).toEqual([true, true]);
    void client.clunk(1);
    expect(requests[2].tag).toBe(0);
  });

  it('succeeds where the server had done it before the flush', async () => {
    const { flush, original, result, client, requests } = await aborted();
    answer(original, 13, `${'00'.repeat(13)} 00000000`);
    await new Promise((resolve) => setImmediate(resolve));
    // Its tag is not used again before the flush is answered.
    void client.clunk(1);
    expect(requests[2].tag).not.toBe(original.tag);
    answer(flush, 109);
    expect((await result).ioUnitBytes).toBe(0);
  });

  it('rejects with the reason where the request comes back unanswered', async () => {
    const { flush, original, abort, result } = await aborted();
    original.reply(new Uint8Array());
    answer(flush, 109);
    await expect(result).rejects.toBe(abort.signal.reason);
  });

  it('waits for its own answer where the server cannot flush', async () => {
    const { flush, original, result } = await aborted();
    answer(flush, 7, '5f000000');
    await Promise.resolve();
    answer(original, 7, '04000000');
    await expect(result).rejects.toMatchObject({ code: 'EINTR' });
  });

  it('fails as the transport does where that breaks meanwhile', async () => {
    const { flush, original, result } = await aborted();
    original.fail('ENODEV');
    flush.fail('ENODEV');
    await expect(result).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('is not sent where it had aborted before', async () => {
    const { client, requests } = setUp();
    const reason = new Error('no');
    await expect(client.lopen(1, 0, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });
});

describe('fids', () => {
  it('come back with a clunk, whatever the server answers', async () => {
    const { transport, client } = setUp();
    transport.onRequest = (request) => answer(request, 7, '05000000');
    const fid = client.takeFid();
    await expect(client.clunk(fid)).rejects.toMatchObject({ code: 'EIO' });
    expect(client.fidCount).toBe(0);
    expect(client.takeFid()).toBe(fid);
  });
});
