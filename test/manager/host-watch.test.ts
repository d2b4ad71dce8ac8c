/** Watches of a device process that may have few of the system's, or none. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import type { HostNode } from '../../devices/9p/fs/host-directory/host-node.js';
import { HostError, Reactor } from '../../host/index.js';
import { SourceWatches } from '../../manager/host-watch/source-watches.js';
import { Watched } from '../../manager/host-watch/watched.js';
import { temporaryFolders } from './temporary-folder.js';

const O_RDONLY = 0;

describe('the watches of a device process', () => {
  let reactor: Reactor;
  let log: string[];
  let told: string[];
  const newFolder = temporaryFolders();
  let folder: string;

  beforeEach(() => {
    reactor = new Reactor({ onError: (error) => log.push(String(error)) });
    reactor.start();
    log = [];
    told = [];
    folder = newFolder();
  });
  afterEach(() => {
    reactor.close();
    expect(log.filter((line) => !line.includes('inotify'))).toEqual([]);
  });

  async function open(watches: SourceWatches): Promise<{ directory: HostDirectory; watched: Watched }> {
    const directory = await HostDirectory.open(folder);
    const watched = new Watched((path) => told.push(path));
    watches.begin(directory, watched);
    const root = directory.attach() as HostNode;
    const listing = root.open(O_RDONLY);
    if (typeof listing !== 'number') void listing.close();
    root.release();
    return { directory, watched };
  }

  it('tell each mount of a directory of its changes, and say how many directories are watched', async () => {
    const watches = new SourceWatches(reactor, (line) => log.push(line));
    const one = await open(watches);
    const two = await open(watches);
    mkdirSync(join(folder, 'new'));
    await expect.poll(() => told).toEqual(['new', 'new']);
    expect(one.watched.describe()).toEqual({ directories: 1 });
    one.directory.close();
    writeFileSync(join(folder, 'file'), '');
    await expect.poll(() => told).toEqual(['new', 'new', 'file']);
    two.directory.close();
    expect(log).toEqual([]);
  });

  it('are done without where the system has no more instances, which is logged and shown', async () => {
    // Taking what the system has would take it from the tests beside this one, and what they give back would be there to be had.
    const noneLeft = (): never => {
      throw new HostError('EMFILE', 'inotify_init1', 'too many open files');
    };
    const { directory, watched } = await open(new SourceWatches(reactor, (line) => log.push(line), noneLeft));
    expect(watched.describe()).toEqual({
      directories: 0,
      problem: expect.stringMatching(/nothing is watched.*max_user_instances/) as string,
    });
    expect(log).toEqual([watched.problem]);
    directory.close();
  });
});
