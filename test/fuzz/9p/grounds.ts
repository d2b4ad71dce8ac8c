/** The file systems that sequences run on. Each case has a fresh one, or a fresh directory, with a directory for each lane. */
import { mkdirSync, rmSync } from 'node:fs';
import { Volume } from 'memfs';
import type { FileSystem } from '../../../devices/9p/fs/file-system.js';
import { memoryVolume } from '../../../devices/9p/fs/node-fs/memory-volume.js';
import { NodeFs } from '../../../devices/9p/fs/node-fs/node-fs.js';
import { Exported, openDescriptors } from '../../devices/9p/fs/host-directory/exported.js';
import { MemoryFileSystem } from '../../devices/9p/server/support/memory-file-system.js';
import type { Rules } from './model.js';

/** A file system for one case. */
export interface Ground {
  readonly fs: FileSystem;
  readonly rules: Rules;
  /** What the lanes' directories are below. */
  readonly path: string;
  /** Once the session is gone: what has not been given back, or '' where all has been. Gives the ground itself back. */
  end(): string;
}

/** What makes grounds, and holds what outlives a case. */
export interface Grounds {
  make(lanes: readonly string[], fillsAttributes: boolean): Promise<Ground>;
  close(): void;
}

/** The tests' own, which counts what it gives out. */
const memory: Grounds = {
  make: async (lanes, fillsAttributes) => {
    const fs = new MemoryFileSystem();
    fs.fillsAttributes = fillsAttributes;
    for (const lane of lanes) fs.directory(lane);
    const end = (): string =>
      fs.liveNodes + fs.liveFiles === 0 ? '' : `${fs.liveNodes} nodes, ${fs.liveFiles} files`;
    return { fs, rules: { exact: false, stale: false }, path: '', end };
  },
  close: () => undefined,
};

const memfs: Grounds = {
  make: async (lanes) => {
    const volume = new Volume();
    for (const lane of lanes) volume.mkdirSync(`/${lane}`);
    const fs = new NodeFs(memoryVolume(volume), { ownership: 'kept' });
    return { fs, rules: { exact: true, stale: true }, path: '', end: () => '' };
  },
  close: () => undefined,
};

/** A directory of the host, with this many descriptors for nodes. */
function host(maxHandles: number): Grounds {
  let exported: Exported | undefined;
  let outside = '';
  let cases = 0;
  return {
    make: async (lanes) => {
      exported ??= await Exported.make({ maxHandles });
      const { fs } = exported;
      if (outside === '') outside = exported.describeOutside();
      const path = `case-${cases++}`;
      const at = exported.at(path);
      for (const lane of lanes) mkdirSync(`${at}/${lane}`, { recursive: true });
      const before = openDescriptors();
      const end = (): string => {
        rmSync(at, { recursive: true });
        const descriptors = openDescriptors();
        if (exported?.describeOutside() !== outside) return 'changes outside of the export';
        return descriptors === before ? '' : `${descriptors - before} descriptors`;
      };
      return { fs, rules: { exact: true, stale: false }, path: `${path}/`, end };
    },
    close: () => exported?.remove(),
  };
}

export function makeGrounds(): readonly Grounds[] {
  return [memory, memfs, host(64), host(1)];
}
