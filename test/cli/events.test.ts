import { readFile } from 'node:fs/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EVENT_TYPES, type Event } from '../../manager/control/api.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { runExample } from '../support/run-example.js';

/** A busy machine starts the command line slowly. */
describe('chassis events', { timeout: 180_000 }, () => {
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
  });
  afterAll(async () => {
    await daemon.stop();
  });

  const follow = (...words: string[]) =>
    execa(process.execPath, [CHASSIS, 'events', ...words, '--dir', daemon.directory], { reject: false });

  it('tells what happens, of all chassis or of one, and goes on where it was told to', async () => {
    const following = follow('--json', '--since', 'start');
    const lines = following[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await lines.next()).value as string) as Event;
    expect(await next()).toMatchObject({ type: 'gap' });
    await daemon.json('create', 'dev');
    await daemon.json('attach', 'mem:', '--tag', 'm', '--chassis', 'dev');
    await daemon.json('detach', 'm', '--chassis', 'dev');
    const told: Event[] = [];
    for (let i = 0; i < 4; i++) told.push(await next());
    expect(told).toMatchObject([
      { type: 'chassis.created', chassis: 'dev', slots: 8 },
      { type: 'process.started', chassis: 'dev' },
      { type: 'mount.attached', tag: 'm', state: 'parked' },
      { type: 'mount.detached', tag: 'm' },
    ]);
    following.kill('SIGINT');
    expect((await following).exitCode).toBe(0);

    const resumed = follow('--since', told[1].id, '--chassis', 'dev');
    const more = resumed[Symbol.asyncIterator]();
    const text = [(await more.next()).value, (await more.next()).value];
    expect(text[0]).toMatch(/^\d{4}-[^ ]+Z dev mount\.attached m in slot 1, function 0: parked$/);
    expect(text[1]).toMatch(/Z dev mount\.detached m$/);
    resumed.kill('SIGINT');
    await resumed;
  });

  it('is in the client, as docs/events.md shows', async () => {
    process.env.CHASSIS_DIR = daemon.directory;
    const said = await runExample('docs/events.md', 'test/cli/events.test.ts');
    delete process.env.CHASSIS_DIR;
    expect(said).toBe('1 chassis\nchassis.created\nprocess.started');
  });

  it('ends with the daemon, and says so', async () => {
    const own = await TestDaemon.start();
    const following = execa(process.execPath, [CHASSIS, 'events', '--since', '', '--dir', own.directory], {
      reject: false,
    });
    const lines = following[Symbol.asyncIterator]();
    expect((await lines.next()).value).toMatch(/is not known to this daemon/);
    expect(await own.stop()).toBe(0);
    const { exitCode, stderr } = await following;
    expect([exitCode, stderr]).toEqual([3, expect.stringContaining('the daemon went away')]);
  });
});

describe('docs/events.md', () => {
  it('names every type of event', async () => {
    const page = await readFile(new URL('../../docs/events.md', import.meta.url), 'utf8');
    const named = Array.from(page.matchAll(/^\| `([a-zA-Z.]+)` \|/gm), ([, type]) => type);
    expect(named.sort()).toEqual([...EVENT_TYPES].sort());
  });
});
