/** Quotas over memfs: fd and memory exhaustion by a guest (CVE-2020-10717), and that the count never drifts from what is there. */
import { Volume } from 'memfs';
import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { isFailure } from '../../../../../devices/errno.js';
import {
  FileMode,
  FileSystemStatistics,
  OpenFlag,
  SetAttr,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { memoryVolume } from '../../../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs, type NodeFsLike } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import {
  attributesOf,
  changes,
  count,
  create,
  failure,
  mkdir,
  ok,
  put,
  self,
  vector,
} from '../suite/driver.js';

const BLOCK_BYTES = 4096;
const MAX_BLOCKS = 24;
const MAX_FILES = 16;

async function rootOf(volume: Volume, maxFiles = MAX_FILES): Promise<FsNode> {
  const maxTotalBytes = MAX_BLOCKS * BLOCK_BYTES;
  return ok<FsNode>(
    new NodeFs(memoryVolume(volume), { ownership: 'kept', maxTotalBytes, maxFiles }).attach(),
  );
}

async function used(root: FsNode): Promise<{ blocks: number; files: number }> {
  const s = new FileSystemStatistics();
  await count(root.statfs(s));
  expect(s.blocksAvailable).toBe(s.blocksFree);
  return { blocks: s.blocks - s.blocksFree, files: s.files - s.filesFree };
}

const blocksOf = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES);

/** What memfs itself holds, names and inodes and files open without a name, looked up in its own tables. */
function held(volume: Volume): { blocks: number; files: number } {
  const core = volume._core;
  const nameless = new Set(Object.values(core.fds).map((file) => file.node));
  const regular = new Set(nameless);
  let [files, blocks] = [0, 0];
  const visit = (directory: string): void => {
    for (const name of volume.readdirSync(`${directory}/`) as string[]) {
      const path = `${directory}/${name}`;
      const stats = volume.lstatSync(path);
      const node = core.inodes[Number(stats.ino)];
      files++;
      nameless.delete(node);
      if (stats.isSymbolicLink()) blocks++;
      else if (stats.isDirectory()) visit(path);
      else regular.add(node);
    }
  };
  visit('');
  for (const node of regular) blocks += blocksOf(node.getSize());
  return { blocks, files: files + nameless.size };
}

/** Bytes that memfs has taken for content, whoever still sees it. */
function capacity(volume: Volume): number {
  const { inodes, fds } = volume._core;
  const nodes = new Set([...Object.values(inodes), ...Object.values(fds).map((file) => file.node)]);
  return [...nodes].reduce((sum, node) => sum + Number(Reflect.get(node, 'capacity')), 0);
}

const size = (sizeBytes: number) => changes(SetAttr.P9_ATTR_SIZE, { sizeBytes });

describe('CVE-2020-10717: a guest that fills an object in memory', () => {
  it('with content gets what fits, then ENOSPC, in whichever files', async () => {
    const root = await rootOf(new Volume());
    const first = await create(root, 'a');
    expect(await count(first.file.write(0, vector(new Uint8Array(20 * BLOCK_BYTES))))).toBe(20 * BLOCK_BYTES);
    const second = await create(root, 'b');
    expect(await count(second.file.write(0, vector(new Uint8Array(9 * BLOCK_BYTES))))).toBe(4 * BLOCK_BYTES);
    expect(await failure(second.file.write(4 * BLOCK_BYTES, vector(new Uint8Array(1))))).toBe('ENOSPC');
    expect(await failure(second.node.setattr(size(5 * BLOCK_BYTES)))).toBe('ENOSPC');
    expect(await failure(second.node.setattr(size(25 * BLOCK_BYTES)))).toBe('EFBIG');
    expect(await failure(second.file.write(2 ** 40, vector(new Uint8Array(1))))).toBe('EFBIG');
    expect(await failure(root.symlink('s', 'target', self))).toBe('ENOSPC');
    expect((await attributesOf(second.file)).sizeBytes).toBe(4 * BLOCK_BYTES);
    await count(first.node.setattr(size(1)));
    expect(await used(root)).toEqual({ blocks: 5, files: 2 });
    for (const { node, file } of [first, second]) {
      await file.close();
      node.release();
    }
    root.release();
  });

  it('with names of any kind gets ENOSPC, and EEXIST or the file where the name is there', async () => {
    const root = await rootOf(new Volume(), 4);
    const node = await put(root, 'f', 'x');
    (await mkdir(root, 'd')).release();
    (await ok<FsNode>(root.symlink('s', 'x', self))).release();
    await count(root.link('l', node));
    for (const answer of [
      root.create('n', OpenFlag.O_CREAT, 0o644, self),
      root.mkdir('n', 0o755, self),
      root.symlink('n', 'x', self),
      root.mknod('n', FileMode.S_IFREG, 0, self),
      root.link('n', node),
    ])
      expect(await failure(answer)).toBe('ENOSPC');
    expect(await failure(root.mkdir('d', 0o755, self))).toBe('EEXIST');
    expect(await failure(root.link('l', node))).toBe('EEXIST');
    const again = await create(root, 'f', OpenFlag.O_RDWR);
    await again.file.close();
    for (const each of [again.node, node, root]) each.release();
  });

  it('with files that it removes while they are open has them counted until it closes them', async () => {
    const root = await rootOf(new Volume(), 1);
    const { node, file } = await create(root, 'f');
    await count(file.write(0, vector(new Uint8Array(BLOCK_BYTES + 1))));
    await count(root.unlink('f', false));
    expect(await used(root)).toEqual({ blocks: 2, files: 1 });
    expect(await failure(root.mkdir('d', 0o755, self))).toBe('ENOSPC');
    await count(file.setattr(size(3 * BLOCK_BYTES)));
    expect(await used(root)).toEqual({ blocks: 3, files: 1 });
    await file.close();
    expect(await used(root)).toEqual({ blocks: 0, files: 0 });
    node.release();
    root.release();
  });

  it('with directories in directories gets ENAMETOOLONG, by making and by moving', async () => {
    const root = await rootOf(new Volume(), 1000);
    const chain = async (name: string): Promise<FsNode[]> => {
      const nodes = [await mkdir(root, name)];
      while (nodes.length < 200) nodes.push(await mkdir(nodes[nodes.length - 1], 'd'));
      return nodes;
    };
    const [one, other] = [await chain('one'), await chain('other')];
    expect(await failure(root.rename('other', one[199], 'd'))).toBe('ENAMETOOLONG');
    expect(await failure(root.rename('other', one[56], 'x'))).toBe('ENAMETOOLONG');
    expect(await failure(root.rename('other', one[55], 'x'))).toBe('OK');
    expect(await failure(other[199].mkdir('d', 0o755, self))).toBe('ENAMETOOLONG');
    for (const node of [...one, ...other, root]) node.release();
  });

  it('and empties it again, by all ways to remove, leaves memfs nothing', async () => {
    const volume = new Volume();
    const root = await rootOf(volume);
    for (let round = 0; round < 50; round++) {
      (await mkdir(root, 'd')).release();
      (await mkdir(root, 'e')).release();
      await count(root.rename('d', root, 'e'));
      await count(root.unlink('e', true));
      const node = await put(root, 'f', 'x'.repeat(3 * BLOCK_BYTES));
      (await put(root, 'g', 'x'.repeat(3 * BLOCK_BYTES))).release();
      await count(root.rename('g', root, 'f'));
      node.release();
      const kept = await ok<FsNode>(root.walk('f'));
      await count(kept.setattr(size(1)));
      kept.release();
      expect(capacity(volume)).toBeLessThanOrEqual(BLOCK_BYTES);
      await count(root.unlink('f', false));
    }
    expect(Object.keys(volume._core.inodes)).toHaveLength(1);
    expect(await used(root)).toEqual({ blocks: 0, files: 0 });
    root.release();
  });
});

describe('what the object holds at the start', () => {
  it('counts, hard links as one content', async () => {
    const volume = Volume.fromJSON({ '/d/a': 'x'.repeat(5000), '/b': '' });
    volume.linkSync('/d/a', '/d/l');
    volume.symlinkSync('a', '/d/s');
    const root = await rootOf(volume);
    expect(await used(root)).toEqual({ blocks: 3, files: 5 });
    root.release();
  });

  it('without inode numbers cannot be counted: EOPNOTSUPP', async () => {
    const volume = Volume.fromJSON({ '/f': '' });
    const object: NodeFsLike = Object.assign(Object.create(volume) as NodeFsLike, {
      lstat: ((path, done) => {
        volume.lstat(path, (error, stats) => {
          done(error, stats && Object.assign(stats, { ino: 0 }));
        });
      }) satisfies NodeFsLike['lstat'],
    });
    expect(await failure(new NodeFs(object, { maxFiles: 10 }).attach())).toBe('EOPNOTSUPP');
  });
});

describe('random operations, some at once', () => {
  const NAMES = ['a', 'b', 'c', 'd'];
  const step = fc.record({
    kind: fc.constantFrom(
      'create', 'open', 'truncating', 'append', 'mkdir', 'symlink', 'link', 'unlink', 'rmdir', 'rename',
      'write', 'write', 'write', 'cut', 'cut open', 'close', 'remove',
    ), // prettier-ignore
    name: fc.constantFrom(...NAMES),
    other: fc.constantFrom(...NAMES),
    inside: fc.boolean(),
    bytes: fc.integer({ min: 0, max: 12 * BLOCK_BYTES }),
    at: fc.integer({ min: 0, max: 12 * BLOCK_BYTES }),
  });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  class Guest {
    readonly #root: FsNode;
    readonly #files: OpenFile[] = [];

    constructor(root: FsNode) {
      this.#root = root;
    }

    async run({ kind, name, other, inside, bytes, at }: Step): Promise<void> {
      const directory = inside ? await this.#root.walk('d') : this.#root;
      if (isFailure(directory)) return;
      const file = this.#files.length === 0 ? undefined : this.#files[at % this.#files.length];
      const { O_CREAT, O_RDWR, O_TRUNC, O_APPEND } = OpenFlag;
      if (kind === 'create') await this.#create(directory, name, O_RDWR | O_CREAT);
      else if (kind === 'append') await this.#create(directory, name, O_RDWR | O_CREAT | O_APPEND);
      else if (kind === 'mkdir') release(await directory.mkdir(name, 0o755, self));
      else if (kind === 'symlink') release(await directory.symlink(name, other, self));
      else if (kind === 'unlink') await directory.unlink(name, false);
      else if (kind === 'rmdir') await directory.unlink(name, true);
      else if (kind === 'rename') await directory.rename(name, this.#root, other);
      else if (kind === 'write') await file?.write(at, vector(new Uint8Array(bytes)));
      else if (kind === 'cut open') await file?.setattr(size(bytes));
      else if (kind === 'close') await this.#close(file);
      else {
        const node = await directory.walk(name);
        if (!isFailure(node)) {
          if (kind === 'link') await this.#root.link(other, node);
          else if (kind === 'cut') await node.setattr(size(bytes));
          else if (kind === 'remove') await node.remove();
          else this.#keep(await node.open(kind === 'truncating' ? O_RDWR | O_TRUNC : O_RDWR));
          node.release();
        }
      }
      if (inside) directory.release();
    }

    async closeAll(): Promise<void> {
      while (this.#files.length > 0) await this.#close(this.#files[0]);
    }

    async #create(directory: FsNode, name: string, flags: number): Promise<void> {
      const created = await directory.create(name, flags, 0o644, self);
      if (isFailure(created)) return;
      created.node.release();
      this.#keep(created.file);
    }

    #keep(file: OpenFile | number): void {
      if (!isFailure(file)) this.#files.push(file);
    }

    async #close(file: OpenFile | undefined): Promise<void> {
      if (file === undefined) return;
      this.#files.splice(this.#files.indexOf(file), 1);
      await file.close();
    }
  }

  function release(answer: FsNode | number): void {
    if (!isFailure(answer)) answer.release();
  }

  it('leave the count at what memfs holds, within the limits and twice the memory', async () => {
    const batches = fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), {
      minLength: 30,
      maxLength: 60,
    });
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const volume = new Volume();
        const root = await rootOf(volume);
        const guest = new Guest(root);
        for (const batch of all) {
          // A file is closed only when nothing is under way on it.
          const closing = batch.filter(({ kind }) => kind === 'close');
          await Promise.all(batch.filter(({ kind }) => kind !== 'close').map((each) => guest.run(each)));
          for (const each of closing) await guest.run(each);
          const now = await used(root);
          expect(now).toEqual(held(volume));
          expect(now.blocks).toBeLessThanOrEqual(MAX_BLOCKS);
          expect(now.files).toBeLessThanOrEqual(MAX_FILES);
          expect(capacity(volume)).toBeLessThanOrEqual(2 * MAX_BLOCKS * BLOCK_BYTES);
        }
        await guest.closeAll();
        expect(await used(root)).toEqual(held(volume));
        root.release();
      }),
      { numRuns: 60 },
    );
  });
});
