/** What the operator asks of a guest's helper, and what becomes of it. */
import { beforeEach, describe, expect, it } from 'vitest';
import { READ_ONLY, TreeClient, WRITE_ONLY, type WatchedFileSystem } from './support.js';

const ACK = 21;
const LONG = { timeoutMs: 60_000 };
const SHORT = { timeoutMs: 5 };

let client: TreeClient;
let fs: WatchedFileSystem;

beforeEach(async () => {
  client = await TreeClient.attached();
  await client.open(ACK, WRITE_ONLY, 'ctl', 'ack');
  fs = client.add('a', { target: '/a' });
});

const state = () => client.tree.entry('a')?.state;
const ack = (text: string) => client.write(ACK, text);

/** All lines that a helper which starts now would be told. */
async function told(): Promise<string[]> {
  await client.open(30, READ_ONLY, 'ctl', 'events');
  const text = await client.read(30);
  return text.split('\n').slice(1, -2);
}

/** The child, mounted in the guest, which has something of it. */
async function mounted(): Promise<void> {
  await client.walk(1, 'a');
  await ack('mounted 1');
}

describe('mounted', () => {
  it('resolves once the helper says so, for all that wait, and at once from then on', async () => {
    const waiting = Promise.all([client.tree.mounted('a', LONG), client.tree.mounted('a', LONG)]);
    await ack('mounted 1');
    await waiting;
    await client.tree.mounted('a', SHORT);
    expect(state()).toBe('mounted');
  });

  it('rejects with what the helper said', async () => {
    const waiting = expect(client.tree.mounted('a', LONG)).rejects.toMatchObject({
      code: 'FAILED',
      childName: 'a',
      message: 'a: mount: permission denied',
    });
    await ack('failed 1 mount: permission denied');
    await waiting;
    await expect(client.tree.mounted('a', LONG)).rejects.toMatchObject({ code: 'FAILED' });
    await ack('mounted 1');
    await client.tree.mounted('a', LONG);
  });

  it('rejects when nobody answers in time, and can be asked again', async () => {
    await expect(client.tree.mounted('a', SHORT)).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(state()).toBe('waiting');
    await ack('mounted 1');
    await client.tree.mounted('a', SHORT);
  });

  it('rejects where there is no target, no such child, or the child goes', async () => {
    client.add('plain');
    await expect(client.tree.mounted('plain', LONG)).rejects.toMatchObject({ code: 'NO_TARGET' });
    await expect(client.tree.mounted('nothing', LONG)).rejects.toMatchObject({ code: 'NO_SUCH_CHILD' });
    const waiting = expect(client.tree.mounted('a', LONG)).rejects.toMatchObject({ code: 'NO_SUCH_CHILD' });
    client.tree.remove('a');
    await waiting;
  });
});

describe('release', () => {
  it('asks the helper, and resolves once it has unmounted', async () => {
    await mounted();
    const release = client.tree.release('a', LONG);
    expect(state()).toBe('releasing');
    expect(await told()).toEqual(['look', 'release 1 a /a']);
    await ack('unmounted 1');
    await release;
    expect(state()).toBe('released');
    await client.tree.release('a', SHORT);
    expect(client.tree.remove('a')).toEqual({ fids: 1, openFiles: 0 });
    await client.expectNoLeaks(fs);
  });

  it('rejects with who holds it, and it is wanted mounted as before', async () => {
    await mounted();
    const refused = expect(client.tree.release('a', LONG)).rejects.toMatchObject({
      code: 'BUSY',
      message: 'a: in use in the guest: 12 sh (cwd)',
    });
    await ack('busy 1 12 sh (cwd)');
    await refused;
    expect(client.tree.entry('a')).toMatchObject({ state: 'mounted', detail: '12 sh (cwd)' });
    expect(await told()).toEqual(['add 1 a /a']);
  });

  it('rejects when nobody answers in time; an answer that comes late has it mounted again', async () => {
    await mounted();
    await expect(client.tree.release('a', SHORT)).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(state()).toBe('mounted');
    expect(await told()).toEqual(['add 1 a /a']);
    const next = client.read(30, 0);
    await ack('unmounted 1');
    expect(state()).toBe('waiting');
    expect(await next).toBe('add 1 a /a\n');
    await ack('mounted 1');
    expect(state()).toBe('mounted');
  });

  it('is one caller’s at a time', async () => {
    await mounted();
    const first = client.tree.release('a', LONG);
    await expect(client.tree.release('a', LONG)).rejects.toMatchObject({ code: 'RELEASING' });
    await expect(client.tree.mounted('a', LONG)).rejects.toMatchObject({ code: 'RELEASING' });
    await ack('unmounted 1');
    await first;
  });

  it('needs nobody’s answer where the guest has nothing of the child', async () => {
    await client.tree.release('a', LONG);
    expect(state()).toBe('released');
  });

  it('of a child that has no target asks the helper all the same where the guest uses it', async () => {
    client.add('plain');
    await client.walk(5, 'plain');
    const release = client.tree.release('plain', LONG);
    expect(await told()).toContain('release 2 plain -');
    await ack('unmounted 2');
    await release;
    expect(client.tree.entry('plain')?.state).toBe('released');
  });

  it('ends those that wait until it is mounted', async () => {
    await client.walk(1, 'a');
    const waiting = expect(client.tree.mounted('a', LONG)).rejects.toMatchObject({ code: 'RELEASING' });
    const release = client.tree.release('a', LONG);
    await waiting;
    await ack('unmounted 1');
    await release;
  });

  it('rejects when the child is removed meanwhile', async () => {
    await mounted();
    const waiting = expect(client.tree.release('a', LONG)).rejects.toMatchObject({ code: 'NO_SUCH_CHILD' });
    client.tree.remove('a');
    await waiting;
    await client.expectNoLeaks(fs);
  });
});

describe('answers that do not fit', () => {
  it.each(['unmounted 1', 'busy 1 nobody'])('%o before anything was asked changes nothing', async (text) => {
    expect((await ack(text)).errno).toBe(0);
    expect(state()).toBe('waiting');
    expect(client.changes).toEqual([]);
  });

  it.each(['mounted 1', 'failed 1 x'])('%o in answer to a release changes nothing', async (text) => {
    await mounted();
    const release = client.tree.release('a', LONG);
    await ack(text);
    expect(state()).toBe('releasing');
    await ack('unmounted 1');
    await release;
    await ack(text);
    expect(state()).toBe('released');
  });
});

it('A guest that attaches anew has nothing mounted any more of what it has nothing of', async () => {
  client.add('kept', { target: '/kept' });
  await client.walk(2, 'kept');
  await ack('mounted 1\nmounted 2\n');
  client.tree.attach();
  expect(client.tree.entries().map((entry) => entry.state)).toEqual(['waiting', 'mounted']);
});
