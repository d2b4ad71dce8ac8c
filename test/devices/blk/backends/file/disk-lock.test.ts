/** Who may write to an image while a guest moves with it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { FileBackend } from '../../../../../devices/blk/backends/file/file-backend.js';
import { openDisk } from '../../../../../devices/blk/backends/file/open-disk.js';
import { temporaryFolder } from '../../support/files.js';

describe('a guest that moves with its disk', () => {
  function image(): string {
    const path = join(temporaryFolder(), 'disk.img');
    writeFileSync(path, new Uint8Array(4096));
    return path;
  }

  function open(path: string, awaited = false): FileBackend {
    const backend = new FileBackend(openDisk({ path, awaited }));
    onTestFinished(() => backend.close());
    return backend;
  }

  it('has it open in both processes, and one of them writes', () => {
    const path = image();
    const source = open(path);
    const destination = open(path, true);
    expect(destination.isOurs).toBe(false);
    expect(destination.engage()).toMatch(/in use by somebody who writes/);
    source.rest(true);
    expect(source.isOurs).toBe(false);
    expect(destination.engage()).toBeUndefined();
    expect(source.engage()).toMatch(/in use by somebody who writes/);
    // Paused where it is now, it stays there.
    destination.rest(true);
    expect(destination.isOurs).toBe(true);
  });

  it('goes on where it was, where it does not come', () => {
    const path = image();
    const source = open(path);
    const destination = open(path, true);
    source.rest(true);
    expect(source.engage()).toBeUndefined();
    expect(destination.engage()).toMatch(/in use/);
  });

  it('leaves it to nobody else in between', () => {
    const path = image();
    const source = open(path);
    const destination = open(path, true);
    source.rest(true);
    expect(() => openDisk({ path })).toThrow(BlockBackendError);
    expect(() => openDisk({ path })).toThrow(/is what a guest is moving with/);
    expect(destination.engage()).toBeUndefined();
  });

  it('keeps it while it is only paused, and nobody waits for it', async () => {
    const path = image();
    const source = open(path);
    source.rest(true);
    expect(source.isOurs).toBe(true);
    const destination = new FileBackend(openDisk({ path, awaited: true }));
    await destination.close();
    source.rest(true);
    expect(source.isOurs).toBe(true);
  });

  it.each([true, false])(
    'finds the cache mode there that it had, as who let it go says (write-back: %s)',
    (writeBack) => {
      const path = image();
      const source = open(path);
      const destination = open(path, true);
      source.rest(writeBack);
      expect(destination.engage()).toBeUndefined();
      expect(destination.writeBackBefore).toBe(writeBack);
      // On it goes, while the one it left is there still.
      const third = open(path, true);
      destination.rest(true);
      expect(third.engage()).toBeUndefined();
      expect(third.writeBackBefore).toBe(writeBack);
    },
  );

  it('finds no word of its cache mode where nobody left one', async () => {
    const path = image();
    const source = new FileBackend(openDisk({ path }));
    const destination = open(path, true);
    source.rest(true);
    expect(source.engage()).toBeUndefined();
    source.rest(true);
    await source.close();
    expect(destination.engage()).toBeUndefined();
    expect(destination.writeBackBefore).toBeUndefined();
  });
});
