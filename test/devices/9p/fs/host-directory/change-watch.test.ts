/** What is told of changes on the host, by the real kernel: which directories, which names, and what is the guest's own doing. */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ChangeSource, ChangeWatch } from '../../../../../devices/9p/fs/host-directory/change-watch.js';
import type { HostNode } from '../../../../../devices/9p/fs/host-directory/host-node.js';
import { Errno, isFailure } from '../../../../../devices/errno.js';
import { IoVector } from '../../../../../devices/io-vector.js';
import { Reactor } from '../../../../../host/index.js';
import { HostWatcher } from '../../../../../manager/host-watch/host-watcher.js';
import { Exported, openDescriptors } from './exported.js';

const OWNER = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const O_RDONLY = 0;
const O_RDWR = 2;
/** Together longer than changes are gathered. In turns, so that a machine that stands still in one of them does no harm. */
const TURNS = 10;
const TURN_MS = 20;

let exported: Exported;
let reactor: Reactor;
let watcher: HostWatcher;
let watch: ChangeWatch;
let told: string[];
let before: number;

/** Some descriptors of the process are opened by the first that needs them. */
beforeAll(async () => {
  const first = await Exported.make();
  list(first.root);
  first.remove();
});

beforeEach(async () => {
  before = openDescriptors();
  exported = await Exported.make();
  reactor = new Reactor({
    onError: (error) => {
      throw error;
    },
  });
  reactor.start();
  watcher = new HostWatcher(reactor);
  told = [];
  watch = exported.fs.watch({ source: watcher, listener: (path) => told.push(path) });
});

afterEach(() => {
  exported.remove();
  watcher.close();
  reactor.close();
  expect(openDescriptors()).toBe(before);
});

/** As a guest does that looks a name up: the node, with a reference. */
function walk(...names: string[]): HostNode {
  let node = exported.root;
  for (const name of names) {
    const next = node.walk(name);
    if (isFailure(next)) throw new Error(`walk to ${name} failed with ${next}`);
    if (node !== exported.root) node.release();
    node = next;
  }
  return node;
}

function list(node: HostNode): void {
  const directory = node.open(O_RDONLY);
  if (isFailure(directory)) throw new Error(`open failed with ${directory}`);
  void directory.close();
}

/** What has been told once nothing more comes. */
async function settled(): Promise<string[]> {
  for (let turn = 0; turn < TURNS; turn++) await delay(TURN_MS);
  return told.splice(0).sort();
}

describe('changes on the host', () => {
  it('are told by path: contents, attributes, what comes, goes and is renamed', async () => {
    mkdirSync(exported.at('sub'));
    for (const name of ['a', 'b', 'c', 'd']) writeFileSync(exported.at('sub', name), '');
    const node = walk('sub', 'a');
    appendFileSync(exported.at('sub', 'a'), 'more');
    chmodSync(exported.at('sub', 'b'), 0o600);
    unlinkSync(exported.at('sub', 'c'));
    renameSync(exported.at('sub', 'd'), exported.at('sub', 'e'));
    writeFileSync(exported.at('top'), '');
    expect(await settled()).toEqual(['sub/a', 'sub/b', 'sub/c', 'sub/d', 'sub/e', 'top']);
    node.release();
  });

  it('are told once for many of one file, and again when it changes again', async () => {
    list(exported.root);
    for (let i = 0; i < 1000; i++) appendFileSync(exported.at('file'), 'x');
    expect(await settled()).toEqual(['file']);
    appendFileSync(exported.at('file'), 'x');
    expect(await settled()).toEqual(['file']);
  });

  it('are watched where the guest has been, and neither above, below nor beside', async () => {
    mkdirSync(exported.at('listed', 'unseen'), { recursive: true });
    mkdirSync(exported.at('looked-at'));
    const listed = walk('listed');
    list(listed);
    walk('looked-at').release();
    for (const path of ['listed/new', 'listed/unseen/x', 'looked-at/x']) writeFileSync(exported.at(path), '');
    writeFileSync(`${exported.outside}/x`, '');
    expect(await settled()).toEqual(['listed/new']);
    expect(watch.size).toBe(2);
    listed.release();
  });

  it('are told after the guest has let the directory go', async () => {
    mkdirSync(exported.at('sub'));
    const node = walk('sub');
    list(node);
    node.release();
    writeFileSync(exported.at('sub', 'x'), '');
    expect(await settled()).toEqual(['sub/x']);
  });

  it('are not told where the guest has made them', async () => {
    list(exported.root);
    const created = exported.root.create('file', O_RDWR, 0o644, OWNER);
    const made = exported.root.mkdir('directory', 0o755, OWNER);
    if (isFailure(created) || isFailure(made)) throw new Error('nothing was created');
    const bytes = new IoVector();
    bytes.push(Buffer.from('text'), 0, 4, 0);
    expect(await created.file.write(0, bytes)).toBe(4);
    const link = exported.root.symlink('link', 'target', OWNER) as HostNode;
    expect(exported.root.link('second', created.node)).toBe(0);
    expect(exported.root.rename('second', exported.root, 'renamed')).toBe(0);
    expect(await settled()).toEqual([]);
    expect(await created.file.write(4, bytes)).toBe(4);
    void created.file.close();
    expect(exported.root.unlink('link', false)).toBe(0);
    expect(exported.root.unlink('directory', true)).toBe(0);
    expect(await settled()).toEqual([]);
    created.node.release();
    link.release();
    made.release();
  });

  it('are told of a file that the guest has open and wrote to a while ago', async () => {
    list(exported.root);
    const created = exported.root.create('file', O_RDWR, 0o644, OWNER);
    if (isFailure(created)) throw new Error('nothing was created');
    const bytes = new IoVector();
    bytes.push(Buffer.from('text'), 0, 4, 0);
    await created.file.write(0, bytes);
    expect(await settled()).toEqual([]);
    appendFileSync(exported.at('file'), 'x');
    expect(await settled()).toEqual(['file']);
    void created.file.close();
    created.node.release();
  });

  it('in more files than can be told are told as everything, and the latest by path', async () => {
    list(exported.root);
    for (let i = 0; i < 5000; i++) writeFileSync(exported.at(`file-${i}`), '');
    const paths = await settled();
    expect(paths).toContain('.');
    expect(paths).toContain('file-4999');
    expect(paths.length).toBeLessThan(4200);
    appendFileSync(exported.at('file-0'), 'x');
    expect(await settled()).toEqual(['file-0']);
  });

  it('are told as everything where the kernel has dropped some', async () => {
    list(exported.root);
    // Nothing is read meanwhile: the kernel keeps 16,384 events unless told otherwise.
    for (let i = 0; i < 9000; i++) {
      writeFileSync(exported.at(`file-${i}`), '');
      unlinkSync(exported.at(`file-${i}`));
    }
    expect(await settled()).toContain('.');
  });

  it('keep names as bytes', async () => {
    list(exported.root);
    writeFileSync(
      Buffer.concat([Buffer.from(exported.at('x')).subarray(0, -1), Buffer.from([0xff, 0x20])]),
      '',
    );
    expect(await settled()).toEqual(['\xff ']);
  });
});

describe('a directory that is watched', () => {
  it('and swapped for a symbolic link tells nothing of where the link leads, nor of where it has gone', async () => {
    mkdirSync(exported.at('sub', 'deep'), { recursive: true });
    const node = walk('sub', 'deep');
    list(node);
    renameSync(exported.at('sub'), `${exported.outside}/sub`);
    symlinkSync(exported.outside, exported.at('sub'));
    mkdirSync(`${exported.outside}/deep`);
    writeFileSync(`${exported.outside}/deep/secret-name`, '');
    writeFileSync(`${exported.outside}/sub/secret-name`, '');
    writeFileSync(`${exported.outside}/sub/deep/secret-name`, '');
    expect(await settled()).toEqual(['sub']);
    node.release();
  });

  it('is told of under its new name after the guest has renamed it and been there', async () => {
    mkdirSync(exported.at('old'));
    const node = walk('old');
    list(node);
    expect(exported.root.rename('old', exported.root, 'new')).toBe(0);
    await settled();
    list(node);
    writeFileSync(exported.at('new', 'x'), '');
    expect(await settled()).toEqual(['new/x']);
    node.release();
  });

  it('is given up when it is removed, by whomever', async () => {
    for (const name of ['by-host', 'by-guest']) {
      mkdirSync(exported.at(name));
      const node = walk(name);
      list(node);
      node.release();
    }
    expect(watch.size).toBe(3);
    rmSync(exported.at('by-host'), { recursive: true });
    expect(exported.root.unlink('by-guest', true)).toBe(0);
    await settled();
    expect(isFailure(exported.root.walk('by-host'))).toBe(true);
    await settled();
    expect(watch.size).toBe(1);
  });
});

describe('the number of watched directories', () => {
  function directories(count: number): void {
    for (let i = 0; i < count; i++) mkdirSync(exported.at(`d${i}`));
  }
  function visit(i: number): void {
    const node = walk(`d${i}`);
    list(node);
    node.release();
  }

  it('is bounded: those that the guest was in last are kept', async () => {
    watch.close();
    watch = exported.fs.watch({
      ...{ source: watcher, listener: (path) => told.push(path) },
      maxDirectories: 10,
    });
    directories(20);
    for (let i = 1; i < 20; i++) {
      visit(0);
      visit(i);
    }
    expect(watch.size).toBe(10);
    for (let i = 0; i < 20; i++) writeFileSync(exported.at(`d${i}`, 'x'), '');
    const paths = await settled();
    expect(paths).toContain('d19/x');
    expect(paths).toContain('d0/x');
    expect(paths).not.toContain('d1/x');
    expect(paths.length).toBeLessThanOrEqual(10);
  });

  it('gets no larger than the system allows, which is said, and grows again later', async () => {
    const limited = new Limited(watcher, 10);
    const other = await Exported.make();
    for (let i = 0; i < 20; i++) mkdirSync(other.at(`d${i}`));
    const bounded = other.fs.watch({ source: limited, listener: () => undefined });
    for (let i = 0; i < 20; i++) {
      const node = other.root.walk(`d${i}`) as HostNode;
      list(node);
      node.release();
    }
    expect([bounded.size, bounded.limited]).toEqual([10, false]);
    limited.maximum = 0;
    limited.dropsNothing = true;
    const node = other.root.walk('d0') as HostNode;
    list(node);
    expect(bounded.limited).toBe(true);
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
    expect(bounded.limited).toBe(false);
    vi.restoreAllMocks();
    node.release();
    other.remove();
  });
});

/** A source with few watches. */
class Limited implements ChangeSource {
  maximum: number;
  dropsNothing = false;
  readonly #inner: ChangeSource;
  #count = 0;

  constructor(inner: ChangeSource, maximum: number) {
    this.#inner = inner;
    this.maximum = maximum;
  }

  watch(fd: number, watch: ChangeWatch): number {
    if (this.#count >= this.maximum) return -Errno.ENOSPC;
    this.#count++;
    return this.#inner.watch(fd, watch);
  }

  unwatch(wd: number, watch: ChangeWatch): void {
    if (!this.dropsNothing) this.#count--;
    this.#inner.unwatch(wd, watch);
  }
}
