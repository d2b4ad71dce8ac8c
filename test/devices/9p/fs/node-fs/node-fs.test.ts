/** What objects may do to NodeFs: lack functions, throw, call back with garbage, count inodes badly. */
import { createFsFromVolume, Volume } from 'memfs';
import { describe, expect, it } from 'vitest';
import {
  FileMode,
  FileSystemStatistics,
  OpenFlag,
  SetAttr,
  type Created,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  NodeFs,
  type NodeFsLike,
  type NodeFsOptions,
  type NodeFsStats,
} from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import {
  attributesOf,
  changes,
  contentAt,
  contentOf,
  count,
  create,
  failure,
  inodeOf,
  listing,
  mkdir,
  names,
  ok,
  put,
  read,
  self,
  text,
  vector,
  write,
} from '../suite/driver.js';

async function rootOf(object: NodeFsLike, options: NodeFsOptions = {}): Promise<FsNode> {
  return ok<FsNode>(new NodeFs(object, options).attach());
}

/** memfs with some functions replaced. */
function altered(volume: Volume, replaced: Partial<NodeFsLike>): NodeFsLike {
  return Object.assign(Object.create(volume) as NodeFsLike, replaced);
}

describe('the root', () => {
  it('that is missing is ENOENT, that is a file ENOTDIR, that is no absolute path a RangeError', async () => {
    const volume = Volume.fromJSON({ '/f': '' });
    expect(await failure(new NodeFs(volume, { root: '/none' }).attach())).toBe('ENOENT');
    expect(await failure(new NodeFs(volume, { root: '/f' }).attach())).toBe('ENOTDIR');
    expect(() => new NodeFs(volume, { root: 'relative' })).toThrow(RangeError);
  });

  it('inside the object hides the rest', async () => {
    const volume = Volume.fromJSON({ '/srv/f': 'inside', '/f': 'outside' });
    const root = await rootOf(volume, { root: '/srv' });
    expect(await names(root)).toEqual(['f']);
    expect(await contentAt(root, 'f')).toBe('inside');
    const above = await ok<FsNode>(root.parent());
    expect(await names(above)).toEqual(['f']);
    above.release();
    root.release();
  });
});

describe('an object without some functions', () => {
  it('answers EOPNOTSUPP for what they would do', async () => {
    const volume = Volume.fromJSON({ '/f': 'content' });
    const fs = createFsFromVolume(volume);
    const bare: NodeFsLike = {
      lstat: (path, done) => {
        fs.lstat(path, done);
      },
      readdir: (path, done) => {
        fs.readdir(path, done);
      },
      open: (path, flags, mode, done) => {
        fs.open(path, flags, mode, done);
      },
      close: fs.close,
      fstat: (fd, done) => {
        fs.fstat(fd, done);
      },
      read: fs.read,
    };
    const root = await rootOf(bare);
    const node = await ok<FsNode>(root.walk('f'));
    expect(await contentOf(node)).toBe('content');
    expect(await names(root)).toEqual(['f']);
    expect(await failure(root.mkdir('d', 0o755, self))).toBe('EOPNOTSUPP');
    expect(await failure(root.symlink('s', 'x', self))).toBe('EOPNOTSUPP');
    expect(await failure(root.link('l', node))).toBe('EOPNOTSUPP');
    expect(await failure(root.rename('f', root, 'g'))).toBe('EOPNOTSUPP');
    expect(await failure(root.unlink('f', false))).toBe('EOPNOTSUPP');
    expect(await failure(root.statfs(new FileSystemStatistics()))).toBe('EOPNOTSUPP');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })))).toBe('EOPNOTSUPP');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_UID, { uid: 77 })))).toBe('EOPNOTSUPP');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_MTIME, {})))).toBe('EOPNOTSUPP');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_SIZE, {})))).toBe('EOPNOTSUPP');
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    expect(await failure(file.write(0, vector(text('x'))))).toBe('EROFS');
    expect(await failure(file.fsync(true))).toBe('OK');
    await file.close();
    node.release();
    root.release();
  });
});

describe('an object that misbehaves', () => {
  it('by throwing, or with errors of no known code, is EIO and never a rejection', async () => {
    const volume = Volume.fromJSON({ '/f': 'content' });
    const errors: unknown[] = [new Error('no code'), 'text', 7, { code: 'ENONSENSE' }, { code: 42 }];
    for (const error of errors) {
      const throwing = await rootOf(
        altered(volume, {
          mkdir: () => {
            throw error;
          },
          readdir: (_path, done) => {
            done(error);
          },
        }),
      );
      expect(await failure(throwing.mkdir('d', 0o755, self))).toBe('EIO');
      const open = await ok<OpenFile>(throwing.open(OpenFlag.O_RDONLY));
      expect(await failure(open.readdir(0, { entry: () => true }))).toBe('EIO');
      await open.close();
      throwing.release();
    }
  });

  it('by calling back with nothing is EIO', async () => {
    const volume = Volume.fromJSON({ '/f': 'content' });
    const root = await rootOf(
      altered(volume, {
        open: (_path, _flags, _mode, done) => {
          done(null);
        },
      }),
    );
    const node = await ok<FsNode>(root.walk('f'));
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('EIO');
    node.release();
    root.release();
  });

  it("with names that are none: they are not listed, so that nobody is sent to '..'", async () => {
    const volume = Volume.fromJSON({ '/f': 'content' });
    const root = await rootOf(
      altered(volume, {
        readdir: (_path, done) => {
          done(null, ['.', '..', 'a/b', '', '/f', 'f\0', 7, null, 'f']);
        },
      }),
    );
    expect(await names(root)).toEqual(['f']);
    root.release();
  });

  it('with attributes that are no numbers gives zeros', async () => {
    const volume = Volume.fromJSON({ '/f': 'content' });
    const garbage = {
      mode: 0o100644,
      ino: NaN,
      size: -1,
      mtimeMs: Infinity,
      uid: NaN,
    } as unknown as NodeFsStats;
    const root = await rootOf(
      altered(volume, {
        lstat: (path, done) => {
          if (path === '/') volume.lstat(path, done);
          else done(null, garbage);
        },
      }),
    );
    const node = await ok<FsNode>(root.walk('f'));
    const attributes = await attributesOf(node);
    expect(attributes).toMatchObject({ sizeBytes: 0, mtimeSeconds: 0, uid: 0, nlink: 0 });
    for (const value of Object.values(attributes)) expect(Number.isSafeInteger(Number(value))).toBe(true);
    node.release();
    root.release();
  });
});

describe('inode numbers', () => {
  /** memfs whose inode numbers are what `renumber` makes of them. */
  function renumbered(volume: Volume, renumber: (ino: number) => number): NodeFsLike {
    return altered(volume, {
      lstat: (path, done) => {
        volume.lstat(path, (error, stats) => {
          done(error, stats && Object.assign(stats, { ino: renumber(Number(stats.ino)) }));
        });
      },
    });
  }

  for (const [what, renumber] of [
    ['none', () => 0],
    ['the same for all', () => 5],
  ] as const) {
    it(`of an object that has ${what} are made up: different, and the same in walks and listings`, async () => {
      const root = await rootOf(renumbered(Volume.fromJSON({ '/a': '', '/b': '', '/d/a': '' }), renumber));
      const nodes = [root];
      for (const name of ['a', 'b', 'd']) nodes.push(await ok<FsNode>(root.walk(name)));
      nodes.push(await ok<FsNode>(nodes[3].walk('a')));
      const inodes = await Promise.all(nodes.map(async (node) => inodeOf(await attributesOf(node))));
      expect(new Set(inodes).size).toBe(nodes.length);
      for (const { name, inodeHigh, inodeLow } of await listing(root)) {
        if (name !== '.' && name !== '..') {
          const node = await ok<FsNode>(root.walk(name));
          expect(await attributesOf(node)).toMatchObject({ inodeHigh, inodeLow });
          node.release();
        }
      }
      for (const node of nodes) node.release();
    });
  }

  it('stay when the file is renamed', async () => {
    const root = await rootOf(renumbered(Volume.fromJSON({ '/a': '' }), () => 0));
    const node = await ok<FsNode>(root.walk('a'));
    const before = inodeOf(await attributesOf(node));
    await count(root.rename('a', root, 'b'));
    expect(inodeOf(await attributesOf(node))).toBe(before);
    node.release();
    root.release();
  });
});

describe('ownership', () => {
  const user = { uid: 1000, gid: 1000 };

  it('of one owner is what all files have, and cannot be given away', async () => {
    const root = await rootOf(Volume.fromJSON({ '/f': '' }), { ownership: user });
    const node = await ok<FsNode>(root.walk('f'));
    const directory = await ok<FsNode>(root.mkdir('d', 0o755, { uid: 0, gid: 0 }));
    for (const each of [root, node, directory]) expect(await attributesOf(each)).toMatchObject(user);
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_UID, { uid: 0 })))).toBe('EPERM');
    expect(await failure(node.setattr(changes(SetAttr.P9_ATTR_UID, { uid: 1000 })))).toBe('OK');
    for (const each of [node, directory, root]) each.release();
  });

  it('that is kept never closes a file to the guest’s root', async () => {
    const root = await rootOf(new Volume(), { ownership: 'kept' });
    const closed = await ok<FsNode>(root.mkdir('closed', 0o000, user));
    const { node, file } = await ok<Created>(
      closed.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o000, user),
    );
    await write(file, 0, 'private');
    await file.close();
    expect(await contentAt(closed, 'f')).toBe('private');
    expect(await attributesOf(node)).toMatchObject({ ...user, mode: FileMode.S_IFREG });
    await count(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o4711 })));
    expect((await attributesOf(node)).mode).toBe(FileMode.S_IFREG | 0o4711);
    for (const each of [node, closed, root]) each.release();
  });

  it('that is kept stays with an unlinked file, and does not pass to the next of its number', async () => {
    const root = await rootOf(new Volume(), { ownership: 'kept' });
    const old = await ok<Created>(root.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o600, user));
    await count(root.unlink('f', false));
    const fresh = await create(root, 'f', OpenFlag.O_RDWR, 0o644);
    expect(await attributesOf(old.file)).toMatchObject({ ...user, mode: FileMode.S_IFREG | 0o600 });
    expect(await attributesOf(fresh.node)).toMatchObject({ ...self, mode: FileMode.S_IFREG | 0o644 });
    await count(old.file.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o640 })));
    expect((await attributesOf(old.node)).mode).toBe(FileMode.S_IFREG | 0o640);
    expect((await attributesOf(fresh.file)).mode).toBe(FileMode.S_IFREG | 0o644);
    for (const { node, file } of [old, fresh]) {
      await file.close();
      node.release();
    }
    root.release();
  });

  it('of files that the object had before is what the object says', async () => {
    const volume = Volume.fromJSON({ '/f': 'x' });
    volume.chmodSync('/f', 0o640);
    const root = await rootOf(volume, { ownership: 'kept' });
    const node = await ok<FsNode>(root.walk('f'));
    expect((await attributesOf(node)).mode & 0o777).toBe(0o640);
    await count(node.setattr(changes(SetAttr.P9_ATTR_GID, { gid: 5 })));
    expect(await attributesOf(node)).toMatchObject({ gid: 5, mode: FileMode.S_IFREG | 0o640 });
    node.release();
    root.release();
  });
});

describe('two file systems', () => {
  it('do not link or rename across: EXDEV', async () => {
    const [one, two] = [await rootOf(new Volume()), await rootOf(new Volume())];
    const node = await put(one, 'f', 'x');
    expect(await failure(two.link('f', node))).toBe('EXDEV');
    expect(await failure(one.rename('f', two, 'f'))).toBe('EXDEV');
    expect(await failure(node.renameTo(two, 'f'))).toBe('EXDEV');
    for (const each of [node, one, two]) each.release();
  });
});

describe('changes by the embedding program', () => {
  it('are seen, and stale nodes told apart', async () => {
    const volume = Volume.fromJSON({ '/d/f': 'old' });
    const root = await rootOf(volume);
    const directory = await ok<FsNode>(root.walk('d'));
    const node = await ok<FsNode>(directory.walk('f'));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    volume.writeFileSync('/d/g', 'new');
    volume.renameSync('/d/g', '/d/f');
    expect(await contentAt(directory, 'f')).toBe('new');
    expect(await read(file, 0, 10)).toBe('old');
    volume.rmSync('/d', { recursive: true });
    expect(await failure(directory.walk('f'))).toBe('ENOENT');
    expect(await failure(directory.getattr(await attributesOf(root)))).toBe('ESTALE');
    (await mkdir(root, 'd')).release();
    expect(await names(root)).toEqual(['d']);
    await file.close();
    for (const each of [node, directory, root]) each.release();
  });
});
