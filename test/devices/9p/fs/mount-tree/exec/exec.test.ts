/** `ctl/exec`: commands between the host and helpers that may be slow, gone, or hostile. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Errno } from '../../../../../../devices/errno.js';
import type { CommandRequest } from '../../../../../../devices/9p/fs/mount-tree/exec/command-script.js';
import type { GuestCommand } from '../../../../../../devices/9p/fs/mount-tree/exec/guest-command.js';
import { T } from '../../../server/support/wire.js';
import { READ_ONLY, READ_WRITE, TreeClient, WRITE_ONLY } from '../support.js';

const REQUESTS = 30;
const STDIN = 31;
const STDOUT = 32;
const STDERR = 33;
const STATUS = 34;
const PIECE = 8000;
const QUEUE_BYTES = 256 * 1024;

const request = (...command: string[]): CommandRequest => ({ command, env: {} });

/** A guest that runs commands, or says so. */
class Guest {
  readonly client: TreeClient;

  private constructor(client: TreeClient) {
    this.client = client;
  }

  static async ready(): Promise<Guest> {
    const client = await TreeClient.attached();
    await client.open(REQUESTS, READ_ONLY, 'ctl', 'exec', 'requests');
    return new Guest(client);
  }

  start(...command: string[]): GuestCommand {
    return this.client.tree.commands.start(request(...command));
  }

  /** Opens all files of a command and says that it runs. */
  async take(id: number, pid = 100): Promise<void> {
    const open = (fid: number, flags: number, name: string) =>
      this.client.open(fid, flags, 'ctl', 'exec', String(id), name);
    await open(STATUS, WRITE_ONLY, 'status');
    await open(STDIN, READ_ONLY, 'stdin');
    await open(STDOUT, WRITE_ONLY, 'stdout');
    await open(STDERR, WRITE_ONLY, 'stderr');
    await this.client.write(STATUS, `started ${pid}\n`);
  }

  async clunk(...fids: number[]): Promise<void> {
    for (const fid of fids) await this.client.ok(T.clunk(1, fid));
  }

  async exit(code: number): Promise<void> {
    await this.client.write(STATUS, `exited ${code}\n`);
    await this.clunk(STDOUT, STDERR, STATUS, STDIN);
  }

  async errnoOf(fid: number, text: string): Promise<number> {
    const { type, fields } = await this.client.write(fid, text);
    return type === 7 ? fields.number(4) : 0;
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const bytes = (of: string) => new Uint8Array(Buffer.from(of, 'latin1'));

describe('commands in a guest', () => {
  afterEach(() => vi.useRealTimers());

  it('are refused while no helper waits for them, and again once it has gone', async () => {
    const client = await TreeClient.attached();
    expect(client.tree.commands.isEnabled).toBe(false);
    expect(() => client.tree.commands.start(request('true'))).toThrow('does not run commands');
    await client.open(REQUESTS, READ_ONLY, 'ctl', 'exec', 'requests');
    expect(client.tree.commands.isEnabled).toBe(true);
    await client.ok(T.clunk(1, REQUESTS));
    expect(() => client.tree.commands.start(request('true'))).toThrow('does not run commands');
    await client.expectNoLeaks();
  });

  it('get their input, give back what they print, and end with their exit code', async () => {
    const guest = await Guest.ready();
    const { client } = guest;
    const asked = client.read(REQUESTS);
    const command = guest.start('cat');
    expect(await asked).toBe('run 1\n');
    await guest.take(1);
    const reading = client.read(STDIN, 0, 100, 60);
    expect(await command.input(bytes('\0\xff in'), 1000)).toBe(true);
    expect(await reading).toBe('\0\xff in');
    // Linux goes on behind a short answer, and is answered with nothing, once.
    expect(await client.read(STDIN, 5, 95)).toBe('');
    const atEnd = client.read(STDIN, 5, 100, 60);
    command.endInput();
    expect(await atEnd).toBe('');
    await client.write(STDOUT, 'out');
    await client.write(STDERR, 'error');
    const { stdout, stderr, outcome } = await command.output(1000, 1000);
    expect([text(stdout), text(stderr), outcome]).toEqual(['out', 'error', undefined]);
    const last = command.output(1000, 10_000);
    await guest.exit(7);
    expect(await last).toMatchObject({ outcome: { exitCode: 7 } });
    await client.open(40, READ_ONLY, 'ctl', 'exec');
    expect(await client.names(40)).toEqual(['.', '..', 'requests']);
    await client.expectNoLeaks();
  });

  it('are shown in directories of their own while they run, several at once', async () => {
    const guest = await Guest.ready();
    guest.start('one');
    guest.start('two');
    await guest.client.open(40, READ_ONLY, 'ctl', 'exec');
    expect(await guest.client.names(40)).toEqual(['.', '..', 'requests', '1', '2']);
    await guest.client.open(41, READ_ONLY, 'ctl', 'exec', '2');
    expect(await guest.client.names(41)).toEqual([
      ...['.', '..', 'script', 'stdin', 'stdout', 'stderr', 'status'],
    ]);
    await guest.client.open(42, READ_ONLY, 'ctl', 'exec', '2', 'script');
    expect(await guest.client.read(42)).toMatch(/exec two\n$/);
    expect(await guest.client.read(REQUESTS)).toBe('run 1\n');
    expect(await guest.client.read(REQUESTS)).toBe('run 2\n');
  });

  it('of more than the guest has places for are refused', async () => {
    const guest = await Guest.ready();
    for (let i = 0; i < 16; i++) guest.start('sleep');
    expect(() => guest.start('sleep')).toThrow('runs 16 commands already');
    await guest.client.expectNoLeaks();
  });

  it('that print faster than the host takes wait, and lose nothing', async () => {
    const guest = await Guest.ready();
    const command = guest.start('yes');
    await guest.take(1);
    const piece = 'y'.repeat(PIECE);
    let written = 0;
    let last: Promise<unknown> | undefined;
    for (let done = true; done;) {
      last = guest.client.write(STDOUT, piece);
      written += PIECE;
      done = await Promise.race([last.then(() => true), new Promise<false>((r) => setTimeout(r, 50, false))]);
    }
    // One that is under way, and the piece with which it was full.
    expect(written).toBeLessThanOrEqual(QUEUE_BYTES + 2 * PIECE);
    let taken = 0;
    while (taken < written) taken += (await command.output(100_000, 1000)).stdout.length;
    await last;
    expect(taken).toBe(written);
    command.end();
    await guest.client.expectNoLeaks();
  });

  it('that read nothing keep no more of their input than there is room for', async () => {
    const guest = await Guest.ready();
    const command = guest.start('sleep');
    await guest.take(1);
    let taken = 0;
    while (await command.input(new Uint8Array(PIECE), 20)) taken += PIECE;
    expect(taken).toBeLessThan(QUEUE_BYTES + PIECE);
    let read = 0;
    while (read < taken) read += (await guest.client.read(STDIN, 0, PIECE)).length;
    expect(await command.input(new Uint8Array(PIECE), 20)).toBe(true);
    expect(read).toBe(taken);
  });

  it('are interrupted where they wait, and the host loses nothing by it', async () => {
    const guest = await Guest.ready();
    const command = guest.start('cat');
    await guest.take(1);
    const reading = guest.client.call(T.read(60, STDIN, 0, 100));
    await guest.client.call(T.flush(61, 60));
    await reading.catch(() => undefined);
    await command.input(bytes('later'), 1000);
    expect(await guest.client.read(STDIN, 0, 100, 62)).toBe('later');
  });

  it('get signals by the number that they said, and none once they have ended', async () => {
    const guest = await Guest.ready();
    const command = guest.start('sleep');
    expect(await guest.client.read(REQUESTS)).toBe('run 1\n');
    expect(command.signal('TERM')).toBe(false);
    await guest.take(1, 4711);
    expect(command.signal('TERM')).toBe(true);
    expect(await guest.client.read(REQUESTS)).toBe('signal 4711 TERM\n');
    await guest.exit(143);
    expect(command.signal('KILL')).toBe(false);
  });

  it('are told to end, then killed, once nobody listens any more, and what they print is refused', async () => {
    const guest = await Guest.ready();
    const command = guest.start('sleep');
    await guest.client.read(REQUESTS);
    await guest.take(1, 77);
    vi.useFakeTimers();
    command.end();
    expect(await guest.client.read(REQUESTS)).toBe('signal 77 TERM\n');
    expect(await guest.errnoOf(STDOUT, 'late')).toBe(Errno.EPIPE);
    vi.advanceTimersByTime(5000);
    expect(await guest.client.read(REQUESTS)).toBe('signal 77 KILL\n');
    expect(command.hasEnded).toBe(false);
    vi.advanceTimersByTime(5000);
    expect(command.hasEnded).toBe(true);
  });

  it('that nobody begins with in time fail, and cannot be begun with later', async () => {
    const guest = await Guest.ready();
    vi.useFakeTimers();
    const command = guest.start('true');
    vi.advanceTimersByTime(15_000);
    expect(await command.output(10, 0)).toMatchObject({ outcome: { failure: 'untaken' } });
    const { type } = await guest.client.call(T.walk(1, 0, 50, 'ctl', 'exec', '1', 'status'));
    expect(type === 7 || type === 111).toBe(true);
  });

  it('are told to the next helper where the one before it had not begun, and go on where it had', async () => {
    const guest = await Guest.ready();
    const taken = guest.start('one');
    guest.start('two');
    await guest.take(1);
    await guest.clunk(REQUESTS);
    await guest.client.open(REQUESTS, READ_ONLY, 'ctl', 'exec', 'requests');
    expect(await guest.client.read(REQUESTS)).toBe('run 2\n');
    await guest.exit(0);
    expect(await taken.output(10, 1000)).toMatchObject({ outcome: { exitCode: 0 } });
  });

  it('are lost with what ran them, and with their guest', async () => {
    const guest = await Guest.ready();
    const command = guest.start('sleep');
    await guest.take(1);
    const waiting = command.output(10, 60_000);
    await guest.clunk(STATUS);
    expect(await waiting).toMatchObject({ outcome: { failure: 'lost' } });
    const other = guest.start('sleep');
    await guest.clunk(STDIN, STDOUT, STDERR);
    await guest.take(2);
    const reading = guest.client.call(T.read(60, STDIN, 0, 100)).catch(() => undefined);
    await guest.client.server.close();
    expect(await other.output(10, 1000)).toMatchObject({ outcome: { failure: 'lost' } });
    await reading;
  });

  it('end a moment after their exit, though a service that they started holds their output', async () => {
    const guest = await Guest.ready();
    const command = guest.start('start-it');
    await guest.take(1);
    await guest.client.write(STDOUT, 'started');
    await guest.client.write(STATUS, 'exited 0\n');
    let printed = '';
    for (let outcome; outcome === undefined;) {
      const page = await command.output(10, 5000);
      printed += text(page.stdout);
      ({ outcome } = page);
    }
    expect(printed).toBe('started');
    expect(await guest.errnoOf(STDOUT, 'more')).toBe(Errno.EPIPE);
  });
});

describe('a hostile guest', () => {
  it('opens each file of a command once, and for what it is for', async () => {
    const guest = await Guest.ready();
    guest.start('true');
    await guest.take(1);
    const attempts: [string, number, number][] = [
      ['stdin', READ_ONLY, Errno.EBUSY],
      ['stdout', WRITE_ONLY, Errno.EBUSY],
      ['status', WRITE_ONLY, Errno.EBUSY],
      ['stdin', READ_WRITE, Errno.EACCES],
      ['stdout', READ_ONLY, Errno.EACCES],
      ['script', WRITE_ONLY, Errno.EACCES],
    ];
    for (const [name, flags, errno] of attempts) {
      await guest.client.walk(50, 'ctl', 'exec', '1', name);
      const { type, fields } = await guest.client.call(T.lopen(1, 50, flags));
      expect([name, type, fields.number(4)]).toEqual([name, 7, errno]);
      await guest.clunk(50);
    }
    await guest.client.walk(50, 'ctl', 'exec', 'requests');
    expect((await guest.client.call(T.lopen(1, 50, READ_ONLY))).fields.number(4)).toBe(Errno.EBUSY);
  });

  it.each([
    '',
    'exited',
    'exited 256\n',
    'exited -1\n',
    'exited 1e1\n',
    'started 1\n',
    'started 99999999\n',
    'started 5\nexited 0\n',
    '\0\0\0',
    'signal 1 KILL\n',
  ])('is told that the status %j is none', async (line) => {
    const guest = await Guest.ready();
    const command = guest.start('true');
    await guest.client.open(STATUS, WRITE_ONLY, 'ctl', 'exec', '1', 'status');
    expect(await guest.errnoOf(STATUS, line)).toBe(Errno.EINVAL);
    expect(command.hasEnded).toBe(false);
    expect(await guest.errnoOf(STATUS, 'x'.repeat(65))).toBe(Errno.EMSGSIZE);
  });

  it('cannot say twice which process it is, or how it ended', async () => {
    const guest = await Guest.ready();
    const command = guest.start('true');
    await guest.take(1);
    expect(await guest.errnoOf(STATUS, 'started 101\n')).toBe(Errno.EINVAL);
    await guest.client.write(STATUS, 'exited 3\n');
    await guest.errnoOf(STATUS, 'exited 0\n');
    await guest.clunk(STDOUT, STDERR);
    expect(await command.output(1, 1000)).toMatchObject({ outcome: { exitCode: 3 } });
  });

  it('that does not read its requests has a bounded number of them kept', async () => {
    const guest = await Guest.ready();
    const command = guest.start('sleep');
    await guest.take(1);
    for (let i = 0; i < 10_000; i++) command.signal('USR1');
    let lines = 0;
    for (; lines < 300; lines++) {
      const line = await Promise.race([
        guest.client.read(REQUESTS, 0, 100),
        new Promise<undefined>((resolve) => setTimeout(resolve, 100, undefined)),
      ]);
      if (line === undefined) break;
    }
    expect(lines).toBeLessThanOrEqual(256);
  });

  it.each(['0', '01', '-1', '9999999999999999', '1 ', 'requests2'])(
    'finds no command called %j',
    async (name) => {
      const guest = await Guest.ready();
      guest.start('true');
      const { type } = await guest.client.call(T.walk(1, 0, 50, 'ctl', 'exec', name));
      const walked = type === 111;
      if (walked) expect((await guest.client.call(T.lopen(1, 50, READ_ONLY))).type).toBe(7);
    },
  );
});
