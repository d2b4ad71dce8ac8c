/** Objects of other kinds than memfs and Node's own module: unions, and what answers with promises and lacks some of them. */
import { Volume } from 'memfs';
import { describe, expect, it } from 'vitest';
import { OpenFlag, SetAttr, type FsNode, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import {
  NodeFs,
  type NodeFsHandle,
  type NodeFsPromises,
} from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { changes, contentAt, failure, names, ok, put, text, vector } from '../suite/driver.js';
import { union } from './union.js';

describe('a union of volumes', () => {
  it('shows all of them, reads the lower one, and makes files in the upper one', async () => {
    const lower = Volume.fromJSON({ '/below.txt': 'from below', '/both.txt': 'hidden' });
    const upper = Volume.fromJSON({ '/both.txt': 'from above' });
    const fs = new NodeFs(union(lower, upper));
    const root = await ok<FsNode>(fs.attach());
    expect(await names(root)).toEqual(['below.txt', 'both.txt']);
    expect(await contentAt(root, 'below.txt')).toBe('from below');
    expect(await contentAt(root, 'both.txt')).toBe('from above');
    (await put(root, 'made.txt', 'made')).release();
    expect([upper.readFileSync('/made.txt', 'utf8'), lower.existsSync('/made.txt')]).toEqual(['made', false]);
    root.release();
    fs.close();
  });
});

/** The least that can be read, with a handle that has no descriptor. */
function leastPromises(volume: Volume, handle: Partial<NodeFsHandle> = {}): NodeFsPromises {
  const { promises } = volume;
  return {
    lstat: (path) => promises.lstat(path),
    readdir: (path) => promises.readdir(path),
    open: async (path, flags, mode) => {
      const opened = await promises.open(path, flags, mode);
      return {
        close: () => opened.close(),
        stat: () => opened.stat(),
        read: (...parameters) => opened.read(...parameters),
        ...handle,
      };
    },
  };
}

describe('an object with promises', () => {
  it('that can only read is read, and what it lacks is EOPNOTSUPP', async () => {
    const fs = new NodeFs(leastPromises(Volume.fromJSON({ '/f': 'content' })));
    const root = await ok<FsNode>(fs.attach());
    expect(await contentAt(root, 'f')).toBe('content');
    const node = await ok<FsNode>(root.walk('f'));
    expect(await failure(root.unlink('f', false))).toBe('EOPNOTSUPP');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })))).toBe('EOPNOTSUPP');
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    expect(await failure(file.write(0, vector(text('x'))))).toBe('EOPNOTSUPP');
    expect(await failure(file.fsync(false))).toBe('EOPNOTSUPP');
    await file.close();
    for (const each of [node, root]) each.release();
    fs.close();
  });

  it('that rejects is the errno of what it rejects with, and EIO where that is none', async () => {
    let rejection: unknown;
    const read = async (): Promise<never> => {
      throw rejection;
    };
    const fs = new NodeFs(leastPromises(Volume.fromJSON({ '/f': 'content' }), { read }));
    const root = await ok<FsNode>(fs.attach());
    const node = await ok<FsNode>(root.walk('f'));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    const answers: string[] = [];
    for (rejection of [Object.assign(new Error(), { code: 'EACCES' }), new Error(), 'text', undefined])
      answers.push(await failure(file.read(0, vector(new Uint8Array(4)))));
    expect(answers).toEqual(['EACCES', 'EIO', 'EIO', 'EIO']);
    await file.close();
    for (const each of [node, root]) each.release();
    fs.close();
  });
});
