/** Every backend, and every stack of backends that is of use, through the one suite. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { AlignedBackend } from '../../../../devices/blk/backends/aligned/aligned-backend.js';
import { FileBackend } from '../../../../devices/blk/backends/file/file-backend.js';
import { openUnnamedDisk } from '../../../../devices/blk/backends/file/open-disk.js';
import { openFileBackend } from '../../../../devices/blk/backends/file/open-file.js';
import { MemoryBackend } from '../../../../devices/blk/backends/memory/memory-backend.js';
import { openNbdBackend } from '../../../../devices/blk/backends/nbd/open-nbd.js';
import { overlayFileBytes } from '../../../../devices/blk/backends/overlay/overlay-store.js';
import { OverlayBackend } from '../../../../devices/blk/backends/overlay/overlay-backend.js';
import { CAN_DIRECT, MEMORY_FOLDER, temporaryFolder } from '../support/files.js';
import { pattern } from '../support/vectors.js';
import { BACKEND_BYTES, backendSuite, type MadeBackend } from './backend-suite.js';
import { ALL_FLAGS, Flag, NbdServer, type ServerOptions } from './nbd/nbd-server.js';

const content = pattern(BACKEND_BYTES, 77);
const zeroes = new Uint8Array(BACKEND_BYTES);

function file(options: { direct?: boolean; readOnly?: boolean; folder?: string } = {}): MadeBackend {
  const path = join(options.folder ?? temporaryFolder(), 'disk.img');
  writeFileSync(path, content);
  return { backend: openFileBackend({ path, ...options }), content };
}

async function nbd(options: Partial<ServerOptions>, readOnly = false): Promise<MadeBackend> {
  const server = await NbdServer.start({ sizeBytes: BACKEND_BYTES, ...options });
  server.cache.set(content);
  server.medium.set(content);
  const backend = await openNbdBackend({ uri: server.uri, readOnly, connections: 3, log: () => {} });
  return { backend, content };
}

describe('a block backend', () => {
  backendSuite('in memory', {
    make: async () => ({ backend: new MemoryBackend({ sizeBytes: BACKEND_BYTES }), content: zeroes }),
    makeReadOnly: async () => ({ backend: MemoryBackend.of(content, { readOnly: true }), content }),
    canResize: true,
  });

  backendSuite('in a file', {
    make: async () => file(),
    makeReadOnly: async () => file({ readOnly: true }),
    canResize: true,
  });

  describe.skipIf(MEMORY_FOLDER === undefined)('where nothing is ever on a disk', () => {
    backendSuite('in a file of a file system in memory', {
      make: async () => file({ folder: temporaryFolder(MEMORY_FOLDER) }),
      canResize: true,
    });
  });

  describe.skipIf(!CAN_DIRECT)('where the file system can', () => {
    backendSuite('in a file past the page cache', {
      make: async () => file({ direct: true }),
      makeReadOnly: async () => file({ direct: true, readOnly: true }),
      canResize: true,
    });
  });

  backendSuite('in blocks of 4 KiB alone', {
    make: async () => ({
      backend: new AlignedBackend(
        MemoryBackend.of(content),
        { offsetBytes: 4096, memoryBytes: 1 },
        (sizeBytes) => ({ bytes: new Uint8Array(sizeBytes), offset: 0, address: 0 }),
      ),
      content,
    }),
    canResize: true,
  });

  describe.each([
    ['clusters of 4 KiB', 4096],
    ['clusters of a sector', 512],
    ['clusters of 64 KiB', 65536],
  ])('over another, with %s', (_name, clusterBytes) => {
    backendSuite('in memory', {
      make: async () => ({
        backend: OverlayBackend.inMemory(MemoryBackend.of(content, { readOnly: true }), { clusterBytes }),
        content,
      }),
      canResize: true,
    });
  });

  backendSuite('over another, with changes in a file without a name', {
    make: async () => {
      const folder = temporaryFolder();
      const makeTop = (sizeBytes: number) => new FileBackend(openUnnamedDisk(folder, sizeBytes));
      const base = MemoryBackend.of(content, { readOnly: true });
      return { backend: OverlayBackend.thrownAway(base, makeTop), content };
    },
    canResize: true,
  });

  backendSuite('over a file, kept in another', {
    make: async () => {
      const path = join(temporaryFolder(), 'top.overlay');
      const createBytes = overlayFileBytes(BACKEND_BYTES, 16384);
      const top = openFileBackend({ path, createBytes });
      const base = file({ readOnly: true }).backend;
      return { backend: await OverlayBackend.kept(base, top, { clusterBytes: 16384 }), content };
    },
    canResize: true,
  });

  backendSuite('over an NBD server', {
    make: async () => ({ backend: OverlayBackend.inMemory((await nbd({})).backend), content }),
    canResize: true,
  });

  backendSuite('on an NBD server with everything', {
    make: () => nbd({}),
    makeReadOnly: () => nbd({ flags: Flag.HAS_FLAGS | Flag.READ_ONLY }),
    canResize: false,
  });

  backendSuite('on an NBD server by TCP, with simple replies', {
    make: () => nbd({ structured: false, tcp: true }),
    makeReadOnly: () => nbd({}, true),
    canResize: false,
  });

  backendSuite('on an NBD server that reads, writes and flushes on one connection', {
    make: () => nbd({ flags: Flag.HAS_FLAGS | Flag.FLUSH }),
    canResize: false,
  });

  backendSuite('on an NBD server that takes small requests of whole blocks', {
    make: () => nbd({ flags: ALL_FLAGS & ~Flag.FUA, blockSizes: [4096, 4096, 8192] }),
    canResize: false,
  });
});
