/** Policies that forbid something, and that change while guests are at work. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  FileSystemStatistics,
  LockStatus,
  LockType,
  OpenFlag,
  SetAttr,
  type Created,
  type FsNode,
  type Lock,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import {
  PatternError,
  PolicyFs,
  type AuditEvent,
  type Policy,
} from '../../../../../devices/9p/fs/policy/policy-fs.js';
import { nodeAt } from '../overlay/trees.js';
import {
  attributesOf,
  changes,
  contentAt,
  contentOf,
  count,
  create,
  failure,
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

let base: string;
let fs: PolicyFs;
let root: FsNode;
let events: AuditEvent[];
let dropped: number;

async function mount(policy: Policy): Promise<void> {
  events = [];
  dropped = 0;
  fs = new PolicyFs(await HostDirectory.open(base), policy, (some, lost) => {
    events.push(...some);
    dropped += lost;
  });
  root = await ok<FsNode>(fs.attach());
}

async function unmount(): Promise<void> {
  root.release();
  await fs.close();
}

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'policy-'));
  mkdirSync(join(base, 'src', 'lib'), { recursive: true });
  mkdirSync(join(base, 'private'));
  writeFileSync(join(base, 'file'), 'content');
  writeFileSync(join(base, 'src', 'main.c'), 'main');
  writeFileSync(join(base, 'src', 'lib', 'lib.c'), 'lib');
  writeFileSync(join(base, 'private', 'key'), 'secret');
});

afterEach(async () => {
  await unmount();
  execFileSync('rm', ['-rf', base]);
});

describe('a read-only policy', () => {
  it('refuses every change with EROFS, through what was open before, too', async () => {
    await mount({});
    const { node, file } = await create(root, 'open');
    fs.setPolicy({ readOnly: true });
    const change = changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 });
    expect(await failure(file.write(0, vector(text('x'))))).toBe('EROFS');
    expect(await failure(file.setattr(change))).toBe('EROFS');
    expect(await failure(node.setattr(change))).toBe('EROFS');
    expect(await failure(node.setxattr('user.a', text('x'), 0))).toBe('EROFS');
    expect(await failure(node.open(OpenFlag.O_WRONLY))).toBe('EROFS');
    expect(await failure(node.open(OpenFlag.O_RDONLY | OpenFlag.O_TRUNC))).toBe('EROFS');
    expect(await failure(root.create('x', OpenFlag.O_RDWR, 0o644, self))).toBe('EROFS');
    expect(await failure(root.mkdir('x', 0o755, self))).toBe('EROFS');
    expect(await failure(root.symlink('x', 'y', self))).toBe('EROFS');
    expect(await failure(root.mknod('x', 0o644, 0, self))).toBe('EROFS');
    expect(await failure(root.link('x', node))).toBe('EROFS');
    expect(await failure(root.unlink('open', false))).toBe('EROFS');
    expect(await failure(root.rename('open', root, 'x'))).toBe('EROFS');
    expect(await failure(node.remove())).toBe('EROFS');
    expect(await failure(node.renameTo(root, 'x'))).toBe('EROFS');
    expect(await read(file, 0, 10)).toBe('');
    fs.setPolicy({});
    expect(await write(file, 0, 'again')).toBe(5);
    await file.close();
    node.release();
  });
});

describe('denied paths', () => {
  beforeEach(() => mount({ deny: ['private', '**/*.key'] }));

  it('do not show in walks and listings, nor does what is below them', async () => {
    expect(await names(root)).toEqual(['file', 'src']);
    expect(await failure(root.walk('private'))).toBe('ENOENT');
    expect(await failure(root.unlink('private', true))).toBe('ENOENT');
    expect(await failure(root.rename('private', root, 'public'))).toBe('ENOENT');
  });

  it('cannot be made, by any operation', async () => {
    const file = await nodeAt(root, '/file');
    const src = await nodeAt(root, '/src');
    expect(await failure(root.create('a.key', OpenFlag.O_RDWR, 0o644, self))).toBe('EACCES');
    expect(await failure(src.mkdir('b.key', 0o755, self))).toBe('EACCES');
    expect(await failure(root.symlink('c.key', 'x', self))).toBe('EACCES');
    expect(await failure(root.mknod('d.key', 0o644, 0, self))).toBe('EACCES');
    expect(await failure(root.link('e.key', file))).toBe('EACCES');
    expect(await failure(root.rename('file', root, 'f.key'))).toBe('EACCES');
    expect(await failure(file.renameTo(src, 'g.key'))).toBe('EACCES');
    expect(await failure(root.rename('src', root, 'private'))).toBe('EACCES');
    file.release();
    src.release();
  });

  it('stay denied where a directory above them would be renamed', async () => {
    fs.setPolicy({ deny: ['src/lib/lib.c', '**/deep/secret'] });
    expect(await failure(root.rename('src', root, 'other'))).toBe('EACCES');
    const src = await nodeAt(root, '/src');
    expect(await failure(src.rename('lib', root, 'lib'))).toBe('EACCES');
    const deep = await mkdir(src, 'deep');
    expect(await failure(deep.renameTo(root, 'shallow'))).toBe('EACCES');
    // Files, and directories that no pattern looks into, go where they like.
    await count(src.rename('main.c', root, 'main.c'));
    (await mkdir(src, 'free')).release();
    await count(src.rename('free', root, 'free'));
    src.release();
    deep.release();
  });

  it('are closed to those who hold them when the policy changes, and open again', async () => {
    const node = await nodeAt(root, '/src/main.c');
    const src = await nodeAt(root, '/src');
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    const listing = await ok<OpenFile>(src.open(OpenFlag.O_RDONLY));
    fs.setPolicy({ deny: ['src/main.c'] });
    expect(await failure(file.read(0, vector(new Uint8Array(4))))).toBe('EACCES');
    expect(await failure(file.write(0, vector(text('x'))))).toBe('EACCES');
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('EACCES');
    expect(await failure(node.getxattr('user.x'))).toBe('EACCES');
    const seen: string[] = [];
    await listing.readdir(0, { entry: (name) => seen.push(name) > 0 });
    expect(seen.sort()).toEqual(['.', '..', 'lib']);
    fs.setPolicy({});
    expect(await read(file, 0, 4)).toBe('main');
    await file.close();
    await listing.close();
    node.release();
    src.release();
  });

  it('follow a file that is renamed', async () => {
    fs.setPolicy({ deny: [] });
    const node = await nodeAt(root, '/file');
    await count(root.rename('file', root, 'renamed'));
    fs.setPolicy({ deny: ['renamed'] });
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('EACCES');
    fs.setPolicy({ deny: ['file'] });
    expect(await contentOf(node)).toBe('content');
    node.release();
  });

  it('with a pattern that cannot be leave the policy as it was', async () => {
    expect(() => {
      fs.setPolicy({ deny: ['a//b'] });
    }).toThrow(PatternError);
    expect(await failure(root.walk('private'))).toBe('ENOENT');
  });
});

describe('allowed paths', () => {
  beforeEach(() => mount({ allow: ['src/lib/**'], deny: ['**/hidden'] }));

  it('are all that shows, with the directories above them, which cannot be changed', async () => {
    expect(await names(root)).toEqual(['src']);
    const src = await nodeAt(root, '/src');
    expect(await names(src)).toEqual(['lib']);
    expect(await failure(src.walk('main.c'))).toBe('ENOENT');
    expect(await failure(root.walk('file'))).toBe('ENOENT');
    expect(await failure(src.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o700 })))).toBe('EACCES');
    expect(await failure(src.create('new', OpenFlag.O_RDWR, 0o644, self))).toBe('EACCES');
    expect(await failure(root.rename('src', root, 'other'))).toBe('EACCES');
    expect(await failure(root.unlink('src', true))).toBe('EACCES');
    const lib = await nodeAt(root, '/src/lib');
    expect(await contentAt(lib, 'lib.c')).toBe('lib');
    (await put(lib, 'new.c', 'new')).release();
    expect(await failure(lib.rename('lib.c', root, 'lib.c'))).toBe('EACCES');
    expect(await failure(lib.mkdir('hidden', 0o755, self))).toBe('EACCES');
    src.release();
    lib.release();
  });

  it('do not show a file of the name that a directory above them would have', async () => {
    fs.setPolicy({ allow: ['file/**'] });
    expect(await failure(root.walk('file'))).toBe('ENOENT');
    expect(await names(root)).toEqual([]);
  });
});

describe('quotas', () => {
  it('hold what the guest adds to bytes, and give back what it removes (CVE-2020-10717)', async () => {
    await mount({ maxBytes: 64 * 1024 });
    const large = new Uint8Array(40 * 1024);
    const { node, file } = await create(root, 'a');
    expect(await count(file.write(0, vector(large)))).toBe(large.length);
    const other = await create(root, 'b');
    expect(await count(other.file.write(0, vector(large)))).toBe(24 * 1024);
    expect(await failure(other.file.write(24 * 1024, vector(text('x'))))).toBe('ENOSPC');
    // Inside what is there already nothing is added.
    expect(await count(other.file.write(0, vector(new Uint8Array(1000))))).toBe(1000);
    expect(await failure(other.node.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 2 ** 30 })))).toBe(
      'ENOSPC',
    );
    const statistics = new FileSystemStatistics();
    await count(root.statfs(statistics));
    expect(statistics.blocksAvailable).toBe(0);
    await count(root.unlink('a', false));
    expect(await failure(other.file.write(24 * 1024, vector(text('x'))))).toBe('ENOSPC');
    await file.close();
    node.release();
    expect(await count(other.file.write(24 * 1024, vector(large)))).toBe(40 * 1024);
    await (await ok<OpenFile>(other.node.open(OpenFlag.O_RDWR | OpenFlag.O_TRUNC))).close();
    expect(await count(other.file.write(0, vector(large)))).toBe(40 * 1024);
    await other.file.close();
    other.node.release();
  });

  it('given while files are open count what is written from then on', async () => {
    await mount({});
    const { node, file } = await create(root, 'a');
    await write(file, 0, 'x'.repeat(5000));
    fs.setPolicy({ maxBytes: 8192 });
    expect(await count(file.write(5000, vector(new Uint8Array(20_000))))).toBe(16_384 - 5000);
    await file.close();
    node.release();
  });

  it('hold what it adds to names, but open what is there', async () => {
    await mount({ maxFiles: 3 });
    const node = await put(root, 'a', '');
    (await mkdir(root, 'b')).release();
    await count(root.link('c', node));
    expect(await failure(root.create('d', OpenFlag.O_RDWR, 0o644, self))).toBe('ENOSPC');
    expect(await failure(root.symlink('d', 'x', self))).toBe('ENOSPC');
    expect(await failure(root.mkdir('a', 0o755, self))).toBe('EEXIST');
    const opened = await ok<Created>(root.create('file', OpenFlag.O_RDWR, 0o644, self));
    expect(await read(opened.file, 0, 10)).toBe('content');
    await opened.file.close();
    opened.node.release();
    await count(root.unlink('b', true));
    (await mkdir(root, 'd')).release();
    node.release();
  });

  it('hold open files and directories', async () => {
    await mount({ maxOpenFiles: 2 });
    const { node, file } = await create(root, 'a');
    const directory = await ok<OpenFile>(root.open(OpenFlag.O_RDONLY));
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('EMFILE');
    expect(await failure(root.create('b', OpenFlag.O_RDWR, 0o644, self))).toBe('EMFILE');
    expect(existsSync(join(base, 'b'))).toBe(false);
    await directory.close();
    await (await ok<OpenFile>(node.open(OpenFlag.O_RDONLY))).close();
    await file.close();
    node.release();
  });
});

describe('revoking', () => {
  it('makes everything ESTALE: fids, open files, new attaches, and locks that are waited for', async () => {
    await mount({});
    const node = await nodeAt(root, '/file');
    const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    const lock = (processId: number): Lock => ({
      type: LockType.P9_LOCK_TYPE_WRLCK,
      startBytes: 0,
      lengthBytes: 0,
      processId,
      clientId: 'guest',
      wait: true,
    });
    expect(await first.lock(lock(1))).toBe(LockStatus.P9_LOCK_SUCCESS);
    const waiting = second.lock(lock(2));
    fs.revoke();
    expect(await failure(waiting)).toBe('EINTR');
    expect(await failure(first.read(0, vector(new Uint8Array(4))))).toBe('ESTALE');
    expect(await failure(first.write(0, vector(text('x'))))).toBe('ESTALE');
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('ESTALE');
    expect(await failure(root.walk('file'))).toBe('ESTALE');
    expect(await failure(root.mkdir('x', 0o755, self))).toBe('ESTALE');
    expect(await failure(fs.attach())).toBe('ESTALE');
    fs.setPolicy({});
    expect(await failure(root.walk('file'))).toBe('ESTALE');
    await first.close();
    await second.close();
    node.release();
  });
});

describe('the audit stream', () => {
  it('tells of what was refused, with its path as bytes', async () => {
    await mount({ deny: ['**/*.key'] });
    await failure(root.create('\xff\\\n.key', OpenFlag.O_RDWR, 0o644, self));
    await failure(root.walk('file'));
    await unmount();
    expect(events.map(({ operation, path, errno }) => ({ operation, path, errno }))).toEqual([
      { operation: 'create', path: '/\\xff\\x5c\\x0a.key', errno: 13 },
    ]);
    await mount({});
  });

  it('tells of everything on request, and of nothing', async () => {
    await mount({ audit: 'all' });
    const node = await nodeAt(root, '/file');
    expect(await contentOf(node)).toBe('content');
    fs.setPolicy({ audit: 'none', readOnly: true });
    await failure(node.open(OpenFlag.O_WRONLY));
    node.release();
    await unmount();
    expect(events.map(({ operation, path, errno }) => `${operation} ${path} ${errno}`)).toEqual([
      'walk /file 0',
      'open /file 0',
      'read /file 0',
    ]);
    await mount({});
  });

  it('is bounded: what is too much is counted', async () => {
    await mount({ readOnly: true });
    for (let i = 0; i < 5000; i++) await failure(root.mkdir(`d${i}`, 0o755, self));
    await unmount();
    expect(events.length + dropped).toBe(5000);
    expect(dropped).toBeGreaterThan(0);
    await mount({});
  });
});

describe('a policy that changes under traffic', () => {
  it('never lets through what both the old and the new one deny', async () => {
    const policies: Policy[] = [{ deny: ['private', 'a'] }, { allow: ['src/**', 'file'], deny: ['private'] }];
    await mount(policies[0]);
    let isOver = false;
    const reached: string[] = [];
    const attempt = async (): Promise<void> => {
      while (!isOver) {
        for (const [operation, answer] of [
          ['walk', root.walk('private')],
          ['create', root.create('private', OpenFlag.O_RDWR, 0o644, self)],
          ['rename', root.rename('src', root, 'private')],
          ['rename away', root.rename('private', root, 'src2')],
          ['link', nodeAt(root, '/file').then((node) => root.link('private', node))],
        ] as const) {
          if ((await failure(answer)) === 'OK') reached.push(operation);
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const changing = async (): Promise<void> => {
      for (let i = 0; i < 400; i++) {
        fs.setPolicy(policies[i % 2]);
        await new Promise((resolve) => setImmediate(resolve));
      }
      isOver = true;
    };
    await Promise.all([changing(), attempt(), attempt(), attempt()]);
    expect(reached).toEqual([]);
    expect(readFileSync(join(base, 'private', 'key'), 'utf8')).toBe('secret');
  });

  it('does not let a directory be renamed around a file that is being made in it', async () => {
    await mount({ deny: ['p/secret'] });
    const q = await mkdir(root, 'q');
    const renamed = failure(root.rename('q', root, 'p'));
    const made = failure(q.create('secret', OpenFlag.O_RDWR, 0o644, self));
    expect(await renamed).toBe('OK');
    expect(await made).toBe('EACCES');
    expect(existsSync(join(base, 'p', 'secret'))).toBe(false);
    q.release();
  });
});

describe('reading and writing', () => {
  it('ask the policy without making anything', async () => {
    await mount({ deny: ['private'] });
    truncateSync(join(base, 'file'), 4096);
    const node = await nodeAt(root, '/file');
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    const inner = await HostDirectory.open(base);
    const plainRoot = inner.attach() as FsNode;
    const plain = await ok<OpenFile>((await nodeAt(plainRoot, '/file')).open(OpenFlag.O_RDWR));
    const buffer = vector(new Uint8Array(16));
    const heapOf = (of: OpenFile): number => {
      for (let i = 0; i < 2000; i++) void of.read(0, buffer);
      const before = process.memoryUsage().heapUsed;
      for (let i = 0; i < 2000; i++) void of.read(0, buffer);
      return process.memoryUsage().heapUsed - before;
    };
    const cost = Math.min(...Array.from({ length: 5 }, () => heapOf(file)));
    const plainCost = Math.min(...Array.from({ length: 5 }, () => heapOf(plain)));
    // An object for each request would be 32,000 bytes and more.
    expect(cost - plainCost).toBeLessThan(16_000);
    await file.close();
    await plain.close();
    node.release();
    expect(await attributesOf(root)).toBeDefined();
  });
});
