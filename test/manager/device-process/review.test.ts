/** Reviews of overlays that a guest in this process changes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guest, type Mount } from '../../../guest/index.js';
import { openSource } from '../../../manager/composition.js';
import type { MountTerms, ReviewPage, ReviewRequest } from '../../../manager/control/api.js';
import type { Review } from '../../../manager/device-process/review.js';
import { Reviews } from '../../../manager/device-process/reviews.js';
import type { ServedMount } from '../../../manager/device-process/served-mount.js';
import { Chassis } from '../../../manager/index.js';
import { openMount, openOverlay } from '../../../manager/mount-file-system.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();
let lower: string;
let upper: string;
let served: ServedMount;
let mount: Mount;
const ends: (() => Promise<void>)[] = [];

async function boot(terms: Partial<MountTerms> = {}): Promise<void> {
  served = await openMount(
    openSource,
    { type: 'directory', path: lower },
    { readOnly: false, overlay: { type: 'directory', path: upper }, ...terms },
  );
  const chassis = new Chassis();
  await chassis.attach(served.fs, { tag: 'a' });
  const guest = await Guest.boot(chassis);
  ends.push(async () => {
    await guest.shutdown();
    await chassis.close();
  });
  mount = await guest.mount('a');
}

beforeEach(() => {
  [lower, upper] = [folder(), folder()];
  mkdirSync(join(lower, 'src'));
  writeFileSync(join(lower, 'src', 'main.c'), 'main');
  writeFileSync(join(lower, 'old'), 'old');
});
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function all(review: Review): Promise<string[]> {
  const lines: string[] = [];
  let page: ReviewPage;
  do {
    page = await review.next();
    lines.push(...page.changes.map(({ kind, path, type }) => `${kind} ${type} ${path}`));
  } while (!page.done);
  return lines;
}

function review(kind: ReviewRequest['kind'], ...paths: string[]): Promise<string[]> {
  return all(served.review({ kind, paths }));
}

describe('a review of an overlay that a guest has mounted', () => {
  it('lists what the guest changed, commits some of it, and drops the rest', async () => {
    await boot();
    await mount.writeFile('/src/main.c', 'changed');
    await mount.mkdir('/größer');
    await mount.writeFile('/größer/new', 'new');
    await mount.rm('/old');
    const listed = [
      'added directory /größer',
      'added file /größer/new',
      'removed file /old',
      'changed file /src/main.c',
    ];
    expect((await review('diff')).sort()).toEqual([...listed].sort());
    expect(await review('diff', 'src')).toEqual(['changed file /src/main.c']);
    expect(readFileSync(join(lower, 'src', 'main.c'), 'utf8')).toBe('main');
    expect(await review('commit', '/größer/', 'old')).toEqual(listed.slice(0, 3));
    expect(readFileSync(join(lower, 'größer', 'new'), 'utf8')).toBe('new');
    expect(existsSync(join(lower, 'old'))).toBe(false);
    expect(await review('discard')).toEqual(['changed file /src/main.c']);
    expect(await mount.readFile('/src/main.c', 'utf8')).toBe('main');
    expect(await review('diff')).toEqual([]);
  });

  it('says which path has no change, and then does nothing', async () => {
    await boot();
    await mount.writeFile('/a', 'a');
    await expect(review('commit', 'a', 'src/mian.c')).rejects.toMatchObject(
      refusal('NO_CHANGE', /\/src\/mian\.c/),
    );
    expect(existsSync(join(lower, 'a'))).toBe(false);
    expect(await review('diff', 'src')).toEqual([]);
    expect(() => served.review({ kind: 'diff', paths: [] })).not.toThrow();
    await expect(review('commit', '../a')).rejects.toMatchObject(refusal('BAD_REQUEST', /no path within/));
  });

  it('says where it stopped', async () => {
    await boot();
    await mount.writeFile('/src/main.c', 'changed');
    served.review({ kind: 'diff', paths: [] });
    // What is in the way: the lower layer has become something else.
    writeFileSync(join(lower, '.chassis-overlay.commit'), '');
    await expect(review('commit')).rejects.toMatchObject(refusal('REVIEW_STOPPED', /commit stopped with E/));
    expect(await mount.readFile('/src/main.c', 'utf8')).toBe('changed');
  });

  it('waits for whoever takes its pages, and ends with the mount', async () => {
    await boot();
    for (let i = 0; i < 600; i++) await mount.writeFile(`/f${i}`, '');
    const first = served.review({ kind: 'diff', paths: [] });
    // On a slow machine a page comes before it is full.
    const taken = (await first.next()).changes.length;
    expect(taken).toBeLessThanOrEqual(256);
    const ended = first.ended.then(() => 'ended');
    const later = new Promise((resolve) => setTimeout(resolve, 300, 'waits'));
    expect(await Promise.race([ended, later])).toBe('waits');
    const second = served.review({ kind: 'commit', paths: [] });
    expect(await all(first)).toHaveLength(600 - taken);
    await mount.unmount();
    await served.fs.close();
    await second.ended;
    expect(existsSync(join(lower, 'f599'))).toBe(false);
  });

  it('stops a commit between two files, with nothing lost', async () => {
    await boot();
    for (let i = 0; i < 300; i++) await mount.writeFile(`/f${i}`, 'x');
    const commit = served.review({ kind: 'commit', paths: [] });
    await commit.next();
    await commit.next();
    await commit.stop();
    for (let i = 0; i < 300; i++) expect(await mount.readFile(`/f${i}`, 'utf8')).toBe('x');
    await review('commit');
    expect(existsSync(join(lower, 'f299'))).toBe(true);
  });
});

describe('the owners of an overlay', () => {
  it('are kept in attributes of both layers where that is wanted', async () => {
    await boot({ owner: { type: 'mapped' } });
    await mount.writeFile('/mine', '');
    await mount.chown('/mine', 1234, 5678);
    await review('commit');
    expect(await mount.stat('/mine')).toMatchObject({ uid: 1234, gid: 5678 });
    expect(existsSync(join(lower, 'mine'))).toBe(true);
  });

  it('are one user where that is wanted, and new files that of the directory', async () => {
    await boot({ owner: { type: 'squash', guest: { uid: 1000, gid: 1000 } } });
    await mount.writeFile('/src/main.c', 'changed');
    expect(await mount.stat('/src/main.c')).toMatchObject({ uid: 1000, gid: 1000 });
    expect(await review('commit')).toEqual(['changed file /src/main.c']);
    expect(readFileSync(join(lower, 'src', 'main.c'), 'utf8')).toBe('changed');
  });
});

describe('the folder of an overlay', () => {
  it('is one mount’s, until that is closed', async () => {
    await boot();
    const terms: MountTerms = { readOnly: false, overlay: { type: 'directory', path: upper } };
    await expect(openMount(openSource, { type: 'directory', path: lower }, terms)).rejects.toMatchObject(
      refusal('SOURCE_IN_USE', /another mount/),
    );
    await mount.unmount();
    await served.fs.close();
    const next = await openMount(openSource, { type: 'directory', path: lower }, terms);
    await next.fs.close();
  });

  it('is reviewed without a mount, and let go of', async () => {
    await boot();
    await mount.writeFile('/new', 'new');
    await mount.unmount();
    await served.fs.close();
    const reviews = new Reviews((source, place, owner) => openOverlay(openSource, source, place, owner));
    const overlay = {
      source: { type: 'directory', path: lower },
      upper: { type: 'directory', path: upper },
    } as const;
    const number = await reviews.start({ kind: 'commit', paths: [], overlay }, undefined);
    await reviews.next(number);
    await reviews.close();
    await expect(reviews.next(number)).rejects.toMatchObject(refusal('INTERNAL'));
    expect(readFileSync(join(lower, 'new'), 'utf8')).toBe('new');
    await reviews.start({ kind: 'diff', paths: [], overlay }, undefined);
    await reviews.close();
  });
});
