/** THREATS row 7, exhaustion of descriptors by a guest: CVE-2020-10717. And that none leaks. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Attributes,
  OpenFlag,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  contentOf,
  count,
  failure,
  inodeOf,
  listing,
  mkdir,
  ok,
  put,
  self,
  write,
  create,
} from '../suite/driver.js';
import { Exported, openDescriptors } from './exported.js';

let exported: Exported;

afterEach(() => {
  exported.remove();
});

describe('nodes beyond the limit of descriptors', () => {
  it('that are only looked at have none', async () => {
    exported = await Exported.make();
    mkdirSync(exported.at('dir'));
    const directory = await ok<FsNode>(exported.root.walk('dir'));
    for (let i = 0; i < 500; i++) writeFileSync(exported.at('dir', `f${i}`), '');
    const before = openDescriptors();
    const nodes: FsNode[] = [];
    for (let i = 0; i < 500; i++) nodes.push(await ok<FsNode>(directory.walk(`f${i}`)));
    for (const node of nodes) expect((await attributesOf(node)).nlink).toBe(1);
    // Their directory's alone.
    expect(openDescriptors()).toBe(before + 1);
    for (const node of [...nodes, directory]) node.release();
    expect(openDescriptors()).toBe(before);
  });

  it('all work, while few descriptors are open', async () => {
    exported = await Exported.make({ maxHandles: 64 });
    const before = openDescriptors();
    const nodes: FsNode[] = [];
    for (let i = 0; i < 1000; i++) nodes.push(await put(exported.root, `f${i}`, `content ${i}`));
    expect(openDescriptors() - before).toBeLessThanOrEqual(64);
    for (const i of [0, 1, 500, 998, 999, 7]) expect(await contentOf(nodes[i])).toBe(`content ${i}`);
    expect(openDescriptors() - before).toBeLessThanOrEqual(64);
    for (const node of nodes) node.release();
    expect(openDescriptors()).toBe(before);
  });

  it('are found again after their directories were renamed by the guest', async () => {
    exported = await Exported.make({ maxHandles: 1 });
    const nodes: FsNode[] = [];
    const directories: FsNode[] = [];
    for (let d = 0; d < 50; d++) {
      const directory = await mkdir(exported.root, `d${d}`);
      directories.push(directory);
      nodes.push(await put(directory, 'f', `in ${d}`));
    }
    for (let d = 0; d < 49; d++) await count(exported.root.rename(`d${d}`, directories[49], `moved${d}`));
    for (let d = 0; d < 50; d++) expect(await contentOf(nodes[d])).toBe(`in ${d}`);
    for (const node of [...nodes, ...directories]) node.release();
  });

  it('that are gone, or another file by now, are ENOENT to look at and ESTALE to use', async () => {
    exported = await Exported.make({ maxHandles: 1 });
    const before = openDescriptors();
    const gone = await put(exported.root, 'gone', 'x');
    const replaced = await put(exported.root, 'replaced', 'x');
    const directory = await mkdir(exported.root, 'dir');
    const below = await put(directory, 'f', 'x');
    const others: FsNode[] = [];
    for (let i = 0; i < 100; i++) others.push(await put(exported.root, `f${i}`, ''));
    // Opening them takes descriptors, of which these have none any more after that.
    for (const other of others) await contentOf(other);
    rmSync(exported.at('gone'));
    writeFileSync(exported.at('new'), 'another');
    renameSync(exported.at('new'), exported.at('replaced'));
    renameSync(exported.at('dir'), exported.at('elsewhere'));
    mkdirSync(exported.at('dir'));
    writeFileSync(exported.at('dir', 'f'), 'another');
    for (const node of [gone, replaced, directory, below]) {
      expect(await failure(node.getattr(new Attributes()))).toBe('ENOENT');
      expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('ESTALE');
      expect(await failure(node.remove())).toBe('ESTALE');
    }
    for (const node of [gone, replaced, directory, below, ...others]) node.release();
    expect(openDescriptors()).toBe(before);
  });

  it('without a name stay usable, until there are too many: then unlinking is EMFILE', async () => {
    exported = await Exported.make({ maxHandles: 64 });
    const before = openDescriptors();
    const nodes: FsNode[] = [];
    const answers: string[] = [];
    for (let i = 0; i < 100; i++) {
      nodes.push(await put(exported.root, `f${i}`, `${i}`));
      answers.push(await failure(exported.root.unlink(`f${i}`, false)));
    }
    const kept = answers.indexOf('EMFILE');
    expect(kept).toBeGreaterThan(30);
    expect(answers.slice(kept).every((answer) => answer === 'EMFILE')).toBe(true);
    for (let i = 0; i < 100; i++) expect(await contentOf(nodes[i])).toBe(`${i}`);
    expect(openDescriptors() - before).toBeLessThanOrEqual(64);
    nodes[0].release();
    expect(await failure(exported.root.unlink('f99', false))).toBe('OK');
    for (const node of nodes.slice(1)) node.release();
    expect(openDescriptors()).toBe(before);
  });

  it('in a deep tree are reached from the root again', async () => {
    exported = await Exported.make({ maxHandles: 1 });
    const path = [exported.root as FsNode];
    for (let depth = 0; depth < 150; depth++) path.push(await mkdir(path[depth], 'd'));
    const deep = await put(path[150], 'f', 'deep');
    const others: FsNode[] = [];
    for (let i = 0; i < 100; i++) others.push(await put(exported.root, `f${i}`, ''));
    expect(await contentOf(deep)).toBe('deep');
    let up = await ok<FsNode>(deep.parent());
    for (let depth = 150; depth > 0; depth--) {
      expect(inodeOf(await attributesOf(up))).toBe(inodeOf(await attributesOf(path[depth])));
      const above = await ok<FsNode>(up.parent());
      up.release();
      up = above;
    }
    for (const node of [up, deep, ...path.slice(1), ...others]) node.release();
  });
});

describe('open files', () => {
  it('are limited, and closing one makes room', async () => {
    exported = await Exported.make({ maxOpenFiles: 8 });
    const node = await put(exported.root, 'f', 'x');
    const files: OpenFile[] = [];
    for (let i = 0; i < 8; i++) files.push(await ok<OpenFile>(node.open(OpenFlag.O_RDONLY)));
    expect(await failure(node.open(OpenFlag.O_RDONLY))).toBe('EMFILE');
    expect(await failure(exported.root.open(OpenFlag.O_RDONLY))).toBe('EMFILE');
    expect(await failure(exported.root.create('g', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o644, self))).toBe(
      'EMFILE',
    );
    expect(await failure(exported.root.walk('g'))).toBe('ENOENT');
    await files.pop()?.close();
    files.push(await ok<OpenFile>(exported.root.open(OpenFlag.O_RDONLY)));
    for (const file of files) await file.close();
    node.release();
  });
});

describe('a process out of descriptors', () => {
  /** Sets the soft limit of this process. */
  function limitDescriptors(soft: number): void {
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`], { stdio: 'ignore' });
  }

  it('closes those of nodes to go on', async () => {
    exported = await Exported.make({ maxHandles: 4096 });
    const held: FsNode[] = [];
    for (let i = 0; i < 300; i++) writeFileSync(exported.at(`f${i}`), `content ${i}`);
    const highest = Math.max(...readdirSync('/proc/self/fd').map(Number));
    const before = Number(
      execFileSync('prlimit', ['--pid', String(process.pid), '--nofile', '-o', 'SOFT', '--noheadings']),
    );
    limitDescriptors(highest + 60);
    try {
      for (let i = 0; i < 300; i++) held.push(await ok<FsNode>(exported.root.walk(`f${i}`)));
      for (let i = 0; i < 300; i++) expect(await contentOf(held[i])).toBe(`content ${i}`);
    } finally {
      for (const node of held) node.release();
      limitDescriptors(before);
    }
  });
});

describe('no descriptor leaks', () => {
  it('from any operation, successful or not', async () => {
    exported = await Exported.make();
    const before = openDescriptors();
    const { root } = exported;
    for (let round = 0; round < 50; round++) {
      const directory = await mkdir(root, 'd');
      const { node, file } = await create(directory, 'f');
      await write(file, 0, 'x');
      await file.fsync(false);
      await failure(directory.mkdir('f', 0o755, self));
      await failure(directory.create('f', OpenFlag.O_CREAT | OpenFlag.O_EXCL, 0o644, self));
      await failure(directory.create('f', OpenFlag.O_CREAT | 3, 0o644, self));
      await failure(directory.symlink('f', 'x', self));
      await failure(directory.walk('none'));
      await failure(node.walk('none'));
      await failure(node.open(3));
      await failure(directory.open(OpenFlag.O_RDWR));
      await failure(root.unlink('d', true));
      (await ok<FsNode>(directory.symlink('s', 'x', self))).release();
      await count(directory.link('l', node));
      await listing(directory);
      await count(directory.rename('f', root, 'moved'));
      for (const [from, name] of [
        [directory, 's'],
        [directory, 'l'],
        [root, 'moved'],
      ] as const) {
        await count(from.unlink(name, false));
      }
      await count(root.unlink('d', true));
      await file.close();
      node.release();
      directory.release();
    }
    expect(openDescriptors()).toBe(before);
  });
});
