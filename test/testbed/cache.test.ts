import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cache } from '../../testbed/cache.js';

let root: string;
let cache: Cache;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'chassis-cache-test-'));
  cache = new Cache(root);
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** What is in the cache beside locks. */
async function content(): Promise<string[]> {
  return (await readdir(root)).filter((name) => !name.endsWith('.lock'));
}

describe('the cache', () => {
  it('leaves nothing behind when a build fails, and builds again next time', async () => {
    const failing = cache.entry('thing', {}, async (directory) => {
      await writeFile(join(directory, 'half'), '');
      throw new Error('disk full');
    });
    await expect(failing).rejects.toThrow('disk full');
    expect(await content()).toEqual([]);
    const path = await cache.entry('thing', {}, (directory) => writeFile(join(directory, 'whole'), 'yes'));
    expect(await readFile(join(path, 'whole'), 'utf8')).toBe('yes');
  });

  it('publishes nothing once the signal has fired', async () => {
    const abort = new AbortController();
    const build = cache.entry('thing', { signal: abort.signal }, async () => abort.abort(new Error('stop')));
    await expect(build).rejects.toThrow('stop');
    expect(await content()).toEqual([]);
  });

  it('does not start for a signal that has fired already', async () => {
    const build = cache.entry('thing', { signal: AbortSignal.abort(new Error('stop')) }, async () => {
      throw new Error('started');
    });
    await expect(build).rejects.toThrow('stop');
  });

  it('builds once for several that ask at the same time', async () => {
    let builds = 0;
    const ask = () =>
      cache.entry('thing', {}, async (directory) => {
        builds++;
        await writeFile(join(directory, 'file'), '');
      });
    const paths = await Promise.all([ask(), ask(), ask()]);
    expect(builds).toBe(1);
    expect(new Set(paths)).toEqual(new Set([join(root, 'thing')]));
  });

  it('can stop waiting for another that builds', async () => {
    const abort = new AbortController();
    const locked = cache.locked('thing', {}, async () => {
      const waiting = cache.entry(
        'thing',
        { signal: abort.signal, onProgress: () => setImmediate(() => abort.abort()) },
        async () => {},
      );
      await expect(waiting).rejects.toThrow('abort');
    });
    await locked;
  });

  it('removes what a killed process left of the same entry, and nothing else', async () => {
    await mkdir(join(root, '.thing.tmp-dead'));
    await mkdir(join(root, '.other.tmp-alive'));
    await cache.entry('thing', {}, async () => {});
    expect((await content()).sort()).toEqual(['.other.tmp-alive', 'thing']);
  });

  it('lies where the user says', () => {
    expect(Cache.ofUser({ CHASSIS_CACHE: '/a', XDG_CACHE_HOME: '/b' }).root).toBe('/a');
    expect(Cache.ofUser({ XDG_CACHE_HOME: '/b' }).root).toBe('/b/chassis');
    expect(Cache.ofUser({}).root).toMatch(/\/\.cache\/chassis$/);
  });
});
