/** Servers over one directory of the host, `dir/deep/file` in it, which have to end without a word in their logs and without a leaked descriptor. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect } from 'vitest';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import type { JournalStore } from '../../../../../devices/9p/server/journal/journal-store.js';
import type { ServerOptions } from '../../../../../devices/9p/server/options.js';
import { Exported, openDescriptors } from '../../fs/host-directory/exported.js';
import { Sender } from './client.js';
import { T, type Reply } from './wire.js';

const UID = process.geteuid?.() ?? 0;

export class DirectoryServers {
  private servers: Sender[] = [];
  private before = 0;
  private directory: Exported | undefined;

  /** Of the file's tests, whose hooks it sets. */
  static perTest(): DirectoryServers {
    const servers = new DirectoryServers();
    beforeEach(() => servers.start());
    afterEach(() => servers.stop());
    return servers;
  }

  get exported(): Exported {
    if (!this.directory) throw new Error('no directory');
    return this.directory;
  }

  async add(options: Partial<ServerOptions> = {}, store?: JournalStore): Promise<Sender> {
    const sender = new Sender(await HostDirectory.open(this.exported.path), options, store);
    this.servers.push(sender);
    return sender;
  }

  /** A client at work. */
  async atWork(): Promise<Sender> {
    const client = await this.add();
    await client.start(UID);
    return client;
  }

  private async start(): Promise<void> {
    this.directory = await Exported.make();
    mkdirSync(this.exported.at('dir', 'deep'), { recursive: true });
    writeFileSync(this.exported.at('dir', 'deep', 'file'), 'content');
    this.before = openDescriptors();
    this.servers = [];
  }

  private async stop(): Promise<void> {
    for (const { server, log } of this.servers) {
      await server.close();
      expect(log).toEqual([]);
    }
    expect(openDescriptors()).toBe(this.before);
    this.exported.remove();
  }
}

export async function openFile(
  client: Sender,
  fid: number,
  flags: number,
  ...names: string[]
): Promise<void> {
  await client.ok(T.walk(1, 0, fid, ...names));
  await client.ok(T.lopen(1, fid, flags));
}

export function textOf(reply: Reply): string {
  return Buffer.from(reply.data).toString('latin1');
}
