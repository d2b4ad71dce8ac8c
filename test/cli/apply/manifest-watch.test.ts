import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ManifestWatch } from '../../../cli/apply/watch/manifest-watch.js';
import type { WatchEvent } from '../../../cli/apply/watch/watch-event.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';
import { FakeDaemon } from './fake-daemon.js';

/** No look without a change, unless a test says so. */
const NEVER_MS = 600_000;

describe('a watched manifest', () => {
  const temporary = temporaryFolders();
  let folder: string;
  let daemon: FakeDaemon;
  let ended: AbortController;
  let running: Promise<void> | undefined;
  let events: WatchEvent[];
  let heard: () => void;

  beforeEach(() => {
    folder = temporary();
    daemon = new FakeDaemon();
    ended = new AbortController();
    events = [];
    heard = () => undefined;
    mkdirSync(join(folder, 'src'));
  });
  afterEach(async () => {
    ended.abort();
    await running;
  });

  function write(text: string, file = 'chassis.yaml'): void {
    writeFileSync(join(folder, file), text);
  }

  function start(path = 'chassis.yaml', lookMs = NEVER_MS): void {
    const watch = new ManifestWatch(daemon, {
      ...{ path: join(folder, path), prune: true, force: false, timeoutMs: 1000, lookMs },
      signal: ended.signal,
      say: (event) => {
        events.push(event);
        heard();
      },
    });
    running = watch.run();
  }

  /** The next event of the kind, which may have come already; those before it are dropped. */
  async function next<K extends WatchEvent['event']>(kind: K): Promise<Extract<WatchEvent, { event: K }>> {
    for (;;) {
      const at = events.findIndex(({ event }) => event === kind);
      if (at >= 0) return events.splice(0, at + 1)[at] as Extract<WatchEvent, { event: K }>;
      await new Promise<void>((resolve) => (heard = resolve));
    }
  }

  function tags(): string[] {
    const mounts = daemon.chassis.get('dev')?.mounts ?? [];
    return mounts.filter(({ source }) => source?.type === 'directory').map(({ tag }) => tag);
  }

  const ONE = 'chassis: {dev: {mounts: {src: {source: src}}}}\n';
  const TWO = 'chassis: {dev: {mounts: {src: {source: src}, more: {source: .}}}}\n';

  it('is applied at once, after each edit, and after an editor that saves by renaming', async () => {
    write(ONE);
    start();
    await next('in-step');
    expect(tags()).toEqual(['src']);
    write(TWO);
    await next('in-step');
    expect(tags()).toEqual(['src', 'more']);
    write(ONE, '.chassis.yaml.swp');
    renameSync(join(folder, '.chassis.yaml.swp'), join(folder, 'chassis.yaml'));
    await next('in-step');
    expect(tags()).toEqual(['src']);
  });

  it('keeps what was good before where an edit is broken, says so once, and goes on with the next', async () => {
    write(ONE);
    start();
    await next('in-step');
    write('chassis: {dev: {mounts: {src: {sauce: src}}}}\n');
    expect((await next('invalid')).problems).toMatchObject([{}, { suggestion: 'did you mean "source"?' }]);
    rmSync(join(folder, 'chassis.yaml'));
    expect((await next('invalid')).message).toMatch(/^there is no /);
    expect(tags()).toEqual(['src']);
    write(TWO);
    await next('in-step');
    expect(tags()).toEqual(['src', 'more']);
  });

  it('takes a mount out while its directory is gone, and puts it in again once it is back', async () => {
    write(TWO);
    start();
    await next('in-step');
    renameSync(join(folder, 'src'), join(folder, 'elsewhere'));
    expect(await next('source-gone')).toMatchObject({ tag: 'src', path: join(folder, 'src') });
    await next('detached');
    expect(tags()).toEqual(['more']);
    mkdirSync(join(folder, 'src'));
    await next('source-back');
    await next('in-step');
    expect(tags()).toEqual(['more', 'src']);
  });

  it('notices, when it looks, a directory that took the place of another', async () => {
    write(ONE);
    start('chassis.yaml', 50);
    await next('in-step');
    mkdirSync(join(folder, 'new'));
    renameSync(join(folder, 'src'), join(folder, 'old'));
    renameSync(join(folder, 'new'), join(folder, 'src'));
    await next('detached');
    await next('in-step');
    expect(daemon.calls.slice(-2)).toEqual(['detach dev src', 'attach dev src']);
  });

  it('notices that a folder above a directory went, and came back', async () => {
    const inner = join(folder, 'a', 'b', 'src');
    mkdirSync(inner, { recursive: true });
    write('chassis: {dev: {mounts: {src: {source: a/b/src}}}}\n');
    start();
    await next('in-step');
    renameSync(join(folder, 'a'), join(folder, 'away'));
    await next('detached');
    renameSync(join(folder, 'away'), join(folder, 'a'));
    await next('in-step');
    expect(tags()).toEqual(['src']);
  });

  it('waits for a guest that has the mount, and says so once', async () => {
    write(ONE);
    daemon.isBooted = true;
    start('chassis.yaml', 50);
    await next('in-step');
    const [mount] = daemon.chassis.get('dev')?.mounts ?? [];
    mount.counters = { fids: 1 } as typeof mount.counters;
    rmSync(join(folder, 'src'), { recursive: true });
    expect(await next('waiting')).toMatchObject({ tag: 'src' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(events.filter(({ event }) => event === 'waiting')).toEqual([]);
    delete mount.counters;
    await next('detached');
    // Its function stays in the guest for when the directory is back.
    expect(daemon.calls.at(-1)).toBe('detach dev src (kept)');
  });

  it('puts back what was taken out by hand, says what failed, and goes on with the next edit', async () => {
    write(ONE);
    start('chassis.yaml', 50);
    await next('in-step');
    daemon.failAt = daemon.calls.length + 1;
    await daemon.detach('dev', 'src');
    expect(await next('failed')).toMatchObject({ code: 'VMM_REFUSED', suggestion: 'try again' });
    daemon.failAt = undefined;
    write(`${ONE}\n# changed\n`);
    await next('in-step');
    expect(tags()).toEqual(['src']);
  });

  it('in a folder goes with its file, and only what the folder made goes', async () => {
    mkdirSync(join(folder, 'manifests'));
    await daemon.create('dev');
    await daemon.attach('dev', { mounts: [{ tag: 'by-hand', source: { type: 'directory', path: '/' } }] });
    write('chassis: {dev: {mounts: {src: {source: ../src}}}}\n', 'manifests/one.yaml');
    write('chassis: {dev: {mounts: {two: {source: ../src}}}}\n', 'manifests/two.yaml');
    start('manifests');
    await next('in-step');
    expect(tags()).toEqual(['by-hand', 'src', 'two']);
    rmSync(join(folder, 'manifests', 'one.yaml'));
    await next('in-step');
    expect(tags()).toEqual(['by-hand', 'two']);
  });

  it('ends as soon as it is told to, and leaves what runs as it is', async () => {
    write(ONE);
    start();
    await next('in-step');
    ended.abort();
    await running;
    expect(tags()).toEqual(['src']);
  });
});
