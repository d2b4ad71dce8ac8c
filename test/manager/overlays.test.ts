import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { AttachRequest, Mount, MountRequest, ReviewPage } from '../../manager/control/api.js';
import { ChassisError } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

const CHANGE = { kind: 'added', path: '/new', type: 'file' } as const;

describe('the overlay of a mount', () => {
  const lab = ControllerHarness.perTest(3);

  function directory(name: string): string {
    const path = join(lab.folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** An attach of a directory, by default with changes that the daemon keeps. */
  async function attach(
    tag: string,
    terms: Partial<MountRequest> = {},
    via: AttachRequest['via'] = 'function',
  ): Promise<Mount> {
    const source = { type: 'directory' as const, path: directory('src') };
    const mounts = [{ tag, source, readOnly: false, overlay: { type: 'kept' as const }, ...terms }];
    return (await lab.controller.attach({ ...request([tag], { via }), mounts }))[0];
  }

  async function pages(tag: string, kind: 'diff' | 'commit' | 'discard' = 'diff'): Promise<ReviewPage[]> {
    const all = [];
    for await (const page of lab.controller.overlays.review(tag, { kind, paths: [] })) all.push(page);
    return all;
  }

  const kept = async () => (await lab.controller.describe()).kept.map(({ tag }) => tag);

  it.each(['function', 'tree', 'queue'] as const)('goes to the device process, on a %s', async (via) => {
    const mount = await attach('a', {}, via);
    expect(mount.overlay).toMatchObject({ type: 'kept' });
    const shown = {
      function: lab.devices.functions.get('slot1-fn0')?.device,
      tree: lab.devices.inTree.get('a'),
      queue: lab.devices.onQueues.get(0),
    }[via];
    expect(shown).toMatchObject({ overlay: mount.overlay });
    await pages('a', 'commit');
    expect(lab.devices.reviews).toMatchObject([{ kind: 'commit', mount: { function: 'slot1-fn0' } }]);
    expect(lab.devices.stoppedReviews).toEqual([1]);
  });

  it('is kept when its mount leaves with changes, found by its tag, and shown again by the next attach', async () => {
    const { overlay } = await attach('a');
    lab.devices.changesOf = () => [CHANGE];
    expect(await lab.controller.detach('a', QUERY)).toEqual({
      tags: ['a'],
      kept: [{ tag: 'a', source: join(lab.folder, 'src'), upper: overlay }],
    });
    expect(await kept()).toEqual(['a']);
    expect((await pages('a'))[0].changes).toEqual([CHANGE]);
    expect(lab.devices.reviews.at(-1)).toMatchObject({ overlay: { upper: overlay } });
    expect((await attach('a', {}, 'tree')).overlay).toEqual(overlay);
    expect(await kept()).toEqual([]);
  });

  it('is forgotten when nothing was changed, or all was committed or discarded', async () => {
    const { overlay } = await attach('a');
    expect(await lab.controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    expect(existsSync(overlay && 'path' in overlay ? overlay.path : '')).toBe(false);
    for (const kind of ['commit', 'discard'] as const) {
      await attach('a');
      lab.devices.changesOf = () => [CHANGE];
      await lab.controller.detach('a', QUERY);
      expect(await kept()).toEqual(['a']);
      lab.devices.changesOf = () => [];
      const review = lab.controller.overlays.review('a', { kind, paths: [] });
      // Who is told that it is done does not ask for more.
      expect((await review.next()).value).toMatchObject({ done: true });
      expect(await kept()).toEqual([]);
      await review.return(undefined);
    }
    await expect(pages('a')).rejects.toMatchObject(refusal('NO_MOUNT'));
  });

  it('is dropped at a detach that says so, and that of no other mount', async () => {
    await attach('a');
    await attach('b');
    lab.devices.changesOf = () => [CHANGE];
    expect(await lab.controller.detach('a', { ...QUERY, discard: true })).toEqual({ tags: ['a'] });
    expect(lab.devices.reviews.at(-1)).toMatchObject({ kind: 'discard' });
    await lab.controller.detach('b', QUERY);
    expect(await kept()).toEqual(['b']);
  });

  it('in memory is not detached while it has changes, unless they may go', async () => {
    for (const via of ['function', 'tree', 'queue'] as const) {
      await attach('a', { overlay: { type: 'memory' } }, via);
      lab.devices.changesOf = () => [CHANGE];
      await expect(lab.controller.detach('a', { ...QUERY, force: true })).rejects.toMatchObject(
        refusal('CHANGES_PENDING', /in memory/, /chassis commit a.*--discard/),
      );
      expect(lab.controller.tags).toContain('a');
      await lab.controller.detach('a', { ...QUERY, discard: true });
      expect(await kept()).toEqual([]);
    }
  });

  it('in memory keeps the neighbours with which it would leave', async () => {
    await attach('a', { overlay: { type: 'memory' } }, 'tree');
    lab.devices.changesOf = () => [CHANGE];
    await expect(lab.controller.detach('chassis', { ...QUERY, slot: true })).rejects.toMatchObject(
      refusal('CHANGES_PENDING'),
    );
  });

  it('is kept when the chassis goes, and there for the next of its name', async () => {
    await attach('a');
    await attach('m', { overlay: { type: 'memory' } });
    lab.devices.changesOf = () => [CHANGE];
    expect(await lab.controller.detachAll(1000)).toMatchObject([{ tag: 'a' }]);
  });

  it('is not mistaken for that of another directory, or on other terms', async () => {
    await attach('a');
    lab.devices.changesOf = () => [CHANGE];
    await lab.controller.detach('a', QUERY);
    const other = { type: 'directory' as const, path: directory('other') };
    await expect(attach('a', { source: other })).rejects.toMatchObject(
      refusal('CHANGES_PENDING', /changes of .*src are kept for the tag "a"/, /another --tag/),
    );
    await expect(attach('a', { owner: { type: 'mapped' } })).rejects.toMatchObject(
      refusal('CHANGES_PENDING', /another --owner/),
    );
    await expect(
      attach('a', { overlay: { type: 'directory', path: directory('upper') } }),
    ).rejects.toMatchObject(refusal('CHANGES_PENDING'));
    // Without an overlay the directory itself is shown, and what is kept stays kept.
    expect((await attach('a', { overlay: undefined })).overlay).toBeUndefined();
    expect(await kept()).toEqual(['a']);
  });

  it.each([
    ['has something in it already', (path: string) => writeFileSync(join(path, 'mine'), ''), /not empty/],
    ['is not there', (_: string) => undefined, /there is no/],
  ])('does not take a folder for its changes that %s', async (_, prepare, message) => {
    const path = join(lab.folder, 'upper');
    if (!message.test('there is no')) mkdirSync(path);
    prepare(path);
    await expect(attach('a', { overlay: { type: 'directory', path } })).rejects.toMatchObject({
      message: expect.stringMatching(message) as string,
    });
    expect(lab.controller.tags).toEqual([]);
  });

  it('does not take a folder that is part of the directory, or the other way round, by any name', async () => {
    const within = directory('src/upper');
    const link = join(lab.folder, 'link');
    symlinkSync(within, link);
    for (const path of [within, link, lab.folder, directory('src')]) {
      await expect(attach('a', { overlay: { type: 'directory', path } })).rejects.toMatchObject(
        refusal('BAD_REQUEST', /not apart/),
      );
    }
  });

  it('takes a folder that it was to have before, though that came to nothing', async () => {
    const overlay = { type: 'directory' as const, path: directory('upper') };
    lab.devices.refuse = () => new ChassisError('SOURCE_UNREADABLE', 'no');
    await expect(attach('a', { overlay })).rejects.toMatchObject(refusal('SOURCE_UNREADABLE'));
    lab.devices.refuse = undefined;
    const source = { type: 'directory' as const, path: directory('other') };
    expect((await attach('b', { overlay, source })).overlay).toEqual(overlay);
  });

  it('does not take a folder that has changes of another directory', async () => {
    const path = directory('upper');
    mkdirSync(join(path, '.chassis-overlay'));
    writeFileSync(join(path, '.chassis-overlay.source'), '/somewhere/else');
    await expect(attach('a', { overlay: { type: 'directory', path } })).rejects.toMatchObject(
      refusal('CHANGES_PENDING', /changes of \/somewhere\/else/),
    );
  });

  it('is for directories alone, one folder each', async () => {
    await expect(attach('a', { source: { type: 'memory' } })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /mem:/),
    );
    const overlay = { type: 'directory' as const, path: directory('upper') };
    const source = { type: 'directory' as const, path: directory('src') };
    const mounts = ['a', 'b'].map((tag) => ({ tag, source, readOnly: false, overlay }));
    await expect(lab.controller.attach({ ...request(['a']), mounts })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /several mounts/),
    );
    await attach('plain', { overlay: undefined });
    await expect(pages('plain')).rejects.toMatchObject(refusal('BAD_REQUEST', /no overlay/, /--overlay/));
  });

  it('leaves nothing behind where the attach fails', async () => {
    lab.devices.refuse = () => new ChassisError('SOURCE_UNREADABLE', 'no');
    await expect(attach('a')).rejects.toMatchObject(refusal('SOURCE_UNREADABLE'));
    expect(await kept()).toEqual([]);
    expect(readdirSync(lab.folder)).not.toContain('overlays');
    await expect(attach('', {})).rejects.toMatchObject(refusal('TAG_INVALID'));
  });

  it('stays where nobody can say whether something was changed', async () => {
    await attach('a');
    lab.devices.die('it was killed');
    expect(await lab.controller.detach('a', QUERY)).toMatchObject({ kept: [{ tag: 'a' }] });
    expect(lab.log.join()).toMatch(/a: what is kept of it stays/);
    await pages('a');
    expect(lab.devices.reviews).toMatchObject([{ kind: 'diff', overlay: {} }]);
  });
});
