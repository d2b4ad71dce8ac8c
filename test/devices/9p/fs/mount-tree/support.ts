/** A tree over file systems that watch their caller, and a 9p client of it. */
import { expect } from 'vitest';
import { MountTree, type AddOptions } from '../../../../../devices/9p/fs/mount-tree/mount-tree.js';
import type { ServerOptions } from '../../../../../devices/9p/server/options.js';
import { Sender } from '../../server/support/client.js';
import { MemoryFileSystem } from '../../server/support/memory-file-system.js';
import { Fields, T, type Reply } from '../../server/support/wire.js';

export const READ_ONLY = 0;
export const WRITE_ONLY = 1;
export const READ_WRITE = 2;

/** A file system that says whether it was closed, and whether everything had been given back by then. */
export class WatchedFileSystem extends MemoryFileSystem {
  closes = 0;
  heldAtClose = 0;

  override close(): void {
    super.close();
    this.closes++;
    this.heldAtClose = this.liveNodes + this.liveFiles;
  }
}

export interface Entry {
  readonly name: string;
  readonly path: bigint;
  readonly type: number;
  readonly cookie: number;
}

export class TreeClient extends Sender {
  readonly tree: MountTree;
  /** What `onChange` was told. */
  readonly changes: string[];
  /** What `onHelper` was told. */
  readonly helper: boolean[];
  readonly treeLog: string[];

  private constructor(
    tree: MountTree,
    { changes, helper }: { changes: string[]; helper: boolean[] },
    treeLog: string[],
    options: Partial<ServerOptions>,
  ) {
    super(tree, options);
    this.tree = tree;
    this.changes = changes;
    this.helper = helper;
    this.treeLog = treeLog;
  }

  /** Fid 0 is the tree's root. */
  static async attached(options: Partial<ServerOptions> = {}): Promise<TreeClient> {
    const changes: string[] = [];
    const helper: boolean[] = [];
    const log: string[] = [];
    const tree = new MountTree({
      onChange: (name) => changes.push(name),
      onHelper: (there) => helper.push(there),
      log: (message, error) => log.push(`${message}: ${String(error)}`),
    });
    const client = new TreeClient(tree, { changes, helper }, log, options);
    await client.start();
    return client;
  }

  add(name: string, options: Partial<AddOptions> = {}, fs = new WatchedFileSystem()): WatchedFileSystem {
    this.tree.add(name, fs, { readOnly: false, ...options });
    return fs;
  }

  /** Makes `fid` what the names lead to. */
  async walk(fid: number, ...names: string[]): Promise<Fields> {
    const { fields } = await this.ok(T.walk(1, 0, fid, ...names));
    expect(fields.number(2)).toBe(names.length);
    return fields;
  }

  async open(fid: number, flags: number, ...names: string[]): Promise<void> {
    await this.walk(fid, ...names);
    await this.ok(T.lopen(1, fid, flags));
  }

  /** The qid path of what the names lead to. */
  async path(...names: string[]): Promise<bigint> {
    const fields = await this.walk(900, ...names);
    let path = 0n;
    for (let i = 0; i < names.length; i++) ({ path } = fields.qid());
    await this.ok(T.clunk(1, 900));
    return path;
  }

  async write(fid: number, text: string, offset = 0): Promise<Reply> {
    return this.call(T.write(1, fid, offset, Buffer.from(text)));
  }

  /** The text that a read at an offset is answered with, once it is. */
  async read(fid: number, offset = 0, count = 8192, tag = 50): Promise<string> {
    return Buffer.from((await this.ok(T.read(tag, fid, offset, count))).data).toString('latin1');
  }

  /** Entries from a cookie on, as many as fit into `count` bytes. */
  async entries(fid: number, cookie = 0, count = 8192): Promise<Entry[]> {
    const { data } = await this.ok(T.readdir(1, fid, cookie, count));
    const fields = new Fields(data);
    const entries: Entry[] = [];
    while (fields.left > 0) {
      const { path } = fields.qid();
      const next = fields.number(8);
      const type = fields.number(1);
      entries.push({ name: fields.text(), path, type, cookie: next });
    }
    return entries;
  }

  /** The names in an open directory, from the start. */
  async names(fid: number, count = 8192): Promise<string[]> {
    const names: string[] = [];
    for (let cookie = 0; ;) {
      const entries = await this.entries(fid, cookie, count);
      const last = entries.at(-1);
      if (last === undefined) return names;
      names.push(...entries.map(({ name }) => name));
      cookie = last.cookie;
    }
  }

  /** Drops the client and closes the tree: everything must be back, and every file system closed once, with nothing held. */
  async expectNoLeaks(...systems: readonly WatchedFileSystem[]): Promise<void> {
    await this.server.close();
    expect(this.log).toEqual([]);
    expect(this.treeLog).toEqual([]);
    for (const { closes, heldAtClose, liveNodes, liveFiles } of systems)
      expect({ closes, heldAtClose, liveNodes, liveFiles }).toEqual({
        closes: 1,
        heldAtClose: 0,
        liveNodes: 0,
        liveFiles: 0,
      });
  }
}
