import { describe, expect, it } from 'vitest';
import { MountTree } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { ChassisError } from '../../../manager/control/api.js';
import { CHILDREN_PAGE } from '../../../manager/device-process/protocol.js';
import { ServedMount, type OpenMount } from '../../../manager/device-process/served-mount.js';
import { ServedTree } from '../../../manager/device-process/served-tree.js';
import type { Watched } from '../../../manager/host-watch/watched.js';
import { refusal } from '../refusal.js';

/** A tree of file systems that only note when they are closed. */
function setUp() {
  const closed: string[] = [];
  let opened = 0;
  const open: OpenMount = async (_, terms) => {
    const name = `fs${++opened}`;
    const fs = { attach: () => -2, close: () => void closed.push(name) };
    return new ServedMount({ fs, overlay: undefined, inMemory: [] }, terms);
  };
  const served = new ServedTree(new MountTree({ log: () => undefined }), (source, terms) =>
    open(source, terms),
  );
  const add = (name: string, target?: string) =>
    served.add({
      ...{ function: 'f', name, source: { type: 'memory' }, readOnly: false },
      ...(target !== undefined && { target }),
    });
  return { served, add, closed };
}

describe('the tree of a device process', () => {
  it.each([
    ['a name that is no file name', 'x/y', undefined, 'TAG_INVALID', /file name/],
    ['the name of its own directory', 'ctl', undefined, 'TAG_INVALID', /file name/],
    ['a target that is no path', 'x', 'relative', 'TAG_INVALID', /absolute path/],
    ['a name that is there', 'a', undefined, 'TAG_IN_USE', /another tag/],
  ] as const)('refuses %s, and closes what it had opened', async (_, name, target, code, wayOut) => {
    const { served, add, closed } = setUp();
    await add('a');
    await expect(add(name, target)).rejects.toMatchObject(refusal(code, /./, wayOut));
    expect(closed).toEqual(['fs2']);
    expect(served.list(0).map((child) => child.name)).toEqual(['a']);
  });

  it('passes on why a source cannot be opened', async () => {
    const served = new ServedTree(new MountTree({ log: () => undefined }), () =>
      Promise.reject(new ChassisError('SOURCE_MISSING', 'there is no x')),
    );
    await expect(
      served.add({ function: 'f', name: 'a', source: { type: 'memory' }, readOnly: false }),
    ).rejects.toMatchObject(refusal('SOURCE_MISSING'));
  });

  it('tells a guest of changes on the host, but for what its policy hides', async () => {
    const told: string[] = [];
    const tree = new MountTree({ log: () => undefined });
    tree.changed = (name, path) => void told.push(`${name} ${path}`);
    let watched: Watched | undefined;
    const served = new ServedTree(tree, async (_, terms, watch) => {
      watched = watch;
      const fs = { attach: () => -2, close: () => undefined };
      return new ServedMount({ fs, overlay: undefined, inMemory: [] }, terms);
    });
    const policy = { deny: ['**/.env'] };
    const source = { type: 'directory', path: '/src' } as const;
    await served.add({ function: 'f', name: 'a', source, readOnly: false, watch: true, policy });
    for (const path of ['file', '.env', 'deep/.env', '.']) watched?.onChange(path);
    served.mount('a')?.setPolicy(false, {});
    watched?.onChange('.env');
    served.mount('a')?.revoke();
    watched?.onChange('file');
    expect(told).toEqual(['a file', 'a .', 'a .env']);
  });

  it('says that no helper answers, and how to get one', async () => {
    const { served, add } = setUp();
    await add('a', '/work');
    await expect(served.mounted('a', 1)).rejects.toMatchObject(
      refusal('GUEST_TIMEOUT', /helper/, /guest-setup/),
    );
    await expect(served.mounted('none', 1)).rejects.toMatchObject(refusal('NO_MOUNT'));
  });

  it('lets go at once of what no guest holds, and of what is not there', async () => {
    const { served, add, closed } = setUp();
    await add('a', '/work');
    await served.release('a', 1);
    expect(served.remove('a')).toEqual({ fids: 0, openFiles: 0 });
    expect(served.remove('a')).toEqual({ fids: 0, openFiles: 0 });
    await expect.poll(() => closed).toEqual(['fs1']);
  });

  it('lists its children page by page', async () => {
    const { served, add } = setUp();
    const names = Array.from({ length: CHILDREN_PAGE + 1 }, (_, i) => `m${i}`);
    for (const name of names) await add(name);
    expect(served.list(0)).toHaveLength(CHILDREN_PAGE);
    expect(served.list(CHILDREN_PAGE)).toEqual([
      { name: names.at(-1), state: 'shown', detail: '', fids: 0, openFiles: 0 },
    ]);
    expect(served.list(CHILDREN_PAGE + 1)).toEqual([]);
  });
});
