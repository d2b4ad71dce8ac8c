/**
 * The acceptance suite of `FileSystem`: whoever implements the interface runs it, says what their file system can, and gets a test
 * for each operation's successes and errno values.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FsNode } from '../../../../devices/9p/fs/file-system.js';
import { attributesSuite } from './suite/attributes.js';
import { dataSuite } from './suite/data.js';
import { directoriesSuite } from './suite/directories.js';
import { attributesOf, inodeOf, ok, type Context, type FileSystemUnderTest } from './suite/driver.js';
import { linksSuite } from './suite/links.js';
import { listingSuite } from './suite/listing.js';
import { locksSuite } from './suite/locks.js';
import { openingSuite } from './suite/opening.js';
import { renamingSuite } from './suite/renaming.js';
import { xattrsSuite } from './suite/xattrs.js';

export type { Capabilities, FileSystemUnderTest } from './suite/driver.js';

/** `makeFs` makes an empty file system for each test. `capabilities` must be those that `makeFs` answers with. */
export function fileSystemSuite(
  name: string,
  capabilities: FileSystemUnderTest['capabilities'],
  makeFs: () => Promise<Omit<FileSystemUnderTest, 'capabilities'>>,
): void {
  describe(name, () => {
    let made: Omit<FileSystemUnderTest, 'capabilities'>;
    let root: FsNode;

    beforeEach(async () => {
      made = await makeFs();
      root = await ok<FsNode>(made.fs.attach());
    });

    afterEach(async () => {
      root.release();
      await made.fs.close();
      await made.cleanup();
    });

    const context: Context = {
      capabilities,
      get fs() {
        return made.fs;
      },
      get root() {
        return root;
      },
    };

    describe('the root', () => {
      it('is the same file at each attach', async () => {
        const again = await ok<FsNode>(made.fs.attach());
        expect(inodeOf(await attributesOf(again))).toBe(inodeOf(await attributesOf(root)));
        again.release();
      });

      it('is its own parent', async () => {
        const parent = await ok<FsNode>(root.parent());
        expect(inodeOf(await attributesOf(parent))).toBe(inodeOf(await attributesOf(root)));
        parent.release();
      });
    });

    for (const suite of [
      openingSuite,
      dataSuite,
      directoriesSuite,
      renamingSuite,
      linksSuite,
      attributesSuite,
      listingSuite,
      xattrsSuite,
      locksSuite,
    ]) {
      suite(context);
    }
  });
}
