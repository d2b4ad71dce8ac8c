/** Attributes: modes, owners, times, statistics. */
import { describe, expect, it } from 'vitest';
import {
  FileMode,
  FileSystemStatistics,
  OpenFlag,
  SetAttr,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  changes,
  count,
  create,
  failure,
  inodeOf,
  mkdir,
  ok,
  put,
  self,
  write,
  type Context,
} from './driver.js';

const { P9_ATTR_ATIME, P9_ATTR_ATIME_SET, P9_ATTR_CTIME, P9_ATTR_GID, P9_ATTR_MODE } = SetAttr;
const { P9_ATTR_MTIME, P9_ATTR_MTIME_SET, P9_ATTR_SIZE, P9_ATTR_UID } = SetAttr;
const SET_TIMES = P9_ATTR_ATIME | P9_ATTR_ATIME_SET | P9_ATTR_MTIME | P9_ATTR_MTIME_SET;

export function attributesSuite(context: Context): void {
  describe('modes', () => {
    it('are changed through the node and through the file, all twelve bits', async () => {
      const { node, file } = await create(context.root, 'f');
      for (const mode of [0o7777, 0o4755, 0o000, 0o644]) {
        await count(node.setattr(changes(P9_ATTR_MODE, { mode })));
        expect((await attributesOf(node)).mode.toString(8)).toBe((FileMode.S_IFREG | mode).toString(8));
      }
      await count(file.setattr(changes(P9_ATTR_MODE, { mode: 0o600 })));
      expect((await attributesOf(file)).mode & 0o7777).toBe(0o600);
      await file.close();
      node.release();
    });

    it('cannot change a file into another type', async () => {
      const node = await put(context.root, 'f', '');
      await count(node.setattr(changes(P9_ATTR_MODE, { mode: FileMode.S_IFDIR | 0o755 })));
      expect((await attributesOf(node)).mode).toBe(FileMode.S_IFREG | 0o755);
      node.release();
    });

    it('lose set-user-id and set-group-id when the file is written or cut (CVE-2023-1386)', async () => {
      const node = await put(context.root, 'f', 'program');
      const setId = changes(P9_ATTR_MODE, { mode: 0o6755 });
      const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      await count(node.setattr(setId));
      await write(file, 0, 'evil');
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
      await count(file.setattr(setId));
      await write(file, 0, 'evil');
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
      await count(node.setattr(setId));
      await count(node.setattr(changes(P9_ATTR_SIZE, { sizeBytes: 1 })));
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
      await count(node.setattr(setId));
      await count(file.setattr(changes(P9_ATTR_SIZE, { sizeBytes: 0 })));
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
      await count(node.setattr(setId));
      await (await ok<OpenFile>(node.open(OpenFlag.O_RDWR | OpenFlag.O_TRUNC))).close();
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
      // Without group execution the bit means mandatory locking, and stays.
      await count(node.setattr(changes(P9_ATTR_MODE, { mode: 0o2644 })));
      await write(file, 0, 'data');
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('2644');
      await file.close();
      node.release();
    });
  });

  describe('owners', () => {
    it(
      context.capabilities.chown ? 'are changed, each on its own' : 'stay, and changing them is EPERM',
      async () => {
        const { node, file } = await create(context.root, 'f');
        const give = changes(P9_ATTR_UID | P9_ATTR_GID, { uid: 1234, gid: 5678 });
        if (!context.capabilities.chown) {
          expect(await failure(node.setattr(give))).toBe('EPERM');
        } else {
          await count(node.setattr(give));
          expect(await attributesOf(node)).toMatchObject({ uid: 1234, gid: 5678 });
          await count(file.setattr(changes(P9_ATTR_UID, { uid: 4321 })));
          expect(await attributesOf(file)).toMatchObject({ uid: 4321, gid: 5678 });
          await count(node.setattr(changes(P9_ATTR_GID, { gid: 8765 })));
          expect(await attributesOf(node)).toMatchObject({ uid: 4321, gid: 8765 });
        }
        await file.close();
        node.release();
      },
    );

    it(
      context.capabilities.chown ? 'of new files are who made them' : 'of new files are the process',
      async () => {
        const owner = { uid: 1234, gid: 5678 };
        const expected = context.capabilities.chown ? owner : self;
        const { node, file } = await ok<{ node: FsNode; file: OpenFile }>(
          context.root.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o4755, owner),
        );
        const made: FsNode[] = [
          node,
          await ok<FsNode>(context.root.mkdir('d', 0o1777, owner)),
          await ok<FsNode>(context.root.symlink('s', 'x', owner)),
          await ok<FsNode>(context.root.mknod('n', FileMode.S_IFREG | 0o600, 0, owner)),
        ];
        for (const each of made) expect(await attributesOf(each)).toMatchObject(expected);
        expect(((await attributesOf(made[0])).mode & 0o7777).toString(8)).toBe('4755');
        expect(((await attributesOf(made[1])).mode & 0o7777).toString(8)).toBe('1777');
        await file.close();
        for (const each of made) each.release();
      },
    );

    it('of new files are who they are anyway where the client named nobody', async () => {
      const nobody = { uid: 0xffff_ffff, gid: 0xffff_ffff };
      const made = await ok<FsNode>(context.root.mkdir('d', 0o755, nobody));
      const attributes = await attributesOf(made);
      expect(attributes.uid).not.toBe(nobody.uid);
      expect(attributes.gid).not.toBe(nobody.gid);
      (await ok<FsNode>(made.mkdir('below', 0o700, self))).release();
      made.release();
    });

    it('changed together with the mode leave the mode that was asked for', async () => {
      if (!context.capabilities.chown) return;
      const node = await put(context.root, 'f', '');
      const valid = P9_ATTR_UID | P9_ATTR_GID | P9_ATTR_MODE;
      await count(node.setattr(changes(valid, { uid: 1, gid: 2, mode: 0o6711 })));
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('6711');
      await count(node.setattr(changes(P9_ATTR_UID, { uid: 3 })));
      expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('711');
      node.release();
    });
  });

  describe('times', () => {
    it('are set to the unit that the file system keeps', async () => {
      const node = await put(context.root, 'f', '');
      const unit = context.capabilities.timeUnitNanoseconds;
      const atimeNanoseconds = Math.floor(123_456_789 / unit) * unit;
      const mtimeNanoseconds = Math.floor(987_654_321 / unit) * unit;
      await count(
        node.setattr(
          changes(SET_TIMES, {
            atimeSeconds: 1_111_111_111,
            atimeNanoseconds,
            mtimeSeconds: 1_222_222_222,
            mtimeNanoseconds,
          }),
        ),
      );
      const attributes = await attributesOf(node);
      expect(attributes.atimeSeconds).toBe(1_111_111_111);
      expect(attributes.mtimeSeconds).toBe(1_222_222_222);
      expect(Math.abs(attributes.atimeNanoseconds - atimeNanoseconds)).toBeLessThan(unit);
      expect(Math.abs(attributes.mtimeNanoseconds - mtimeNanoseconds)).toBeLessThan(unit);
      node.release();
    });

    it('before 1970 and after 2106 are kept', async () => {
      const node = await put(context.root, 'f', '');
      for (const seconds of [-86_400, 5_000_000_000]) {
        await count(node.setattr(changes(SET_TIMES, { atimeSeconds: seconds, mtimeSeconds: seconds })));
        expect(await attributesOf(node)).toMatchObject({ atimeSeconds: seconds, mtimeSeconds: seconds });
      }
      node.release();
    });

    it('are set one without the other, or to now', async () => {
      const { node, file } = await create(context.root, 'f');
      const start = Math.floor(Date.now() / 1000) - 1;
      await count(node.setattr(changes(SET_TIMES, { atimeSeconds: 1000, mtimeSeconds: 2000 })));
      await count(node.setattr(changes(P9_ATTR_MTIME | P9_ATTR_MTIME_SET, { mtimeSeconds: 3000 })));
      expect(await attributesOf(node)).toMatchObject({ atimeSeconds: 1000, mtimeSeconds: 3000 });
      await count(file.setattr(changes(P9_ATTR_ATIME, {})));
      expect((await attributesOf(node)).atimeSeconds).toBeGreaterThanOrEqual(start);
      expect((await attributesOf(node)).mtimeSeconds).toBe(3000);
      await file.close();
      node.release();
    });

    it('with more than a second of nanoseconds are EINVAL', async () => {
      const node = await put(context.root, 'f', '');
      for (const mtimeNanoseconds of [1_000_000_000, 0x3fffffff, 0x3ffffffe, -1]) {
        const change = changes(P9_ATTR_MTIME | P9_ATTR_MTIME_SET, { mtimeNanoseconds });
        expect(await failure(node.setattr(change))).toBe('EINVAL');
      }
      node.release();
    });

    it('follow writes, and a request for ctime alone is no error', async () => {
      const { node, file } = await create(context.root, 'f');
      await count(node.setattr(changes(SET_TIMES, { atimeSeconds: 1000, mtimeSeconds: 1000 })));
      await write(file, 0, 'x');
      expect((await attributesOf(node)).mtimeSeconds).toBeGreaterThan(1000);
      await count(node.setattr(changes(P9_ATTR_CTIME, {})));
      await count(node.setattr(changes(0, {})));
      await file.close();
      node.release();
    });
  });

  describe('getattr', () => {
    it('tells files apart by inode, and says how large they are', async () => {
      const files = [
        await put(context.root, 'a', 'a'),
        await put(context.root, 'b', 'bb'),
        await mkdir(context.root, 'd'),
      ];
      const seen = new Set<string>();
      for (const node of files) seen.add(inodeOf(await attributesOf(node)));
      expect(seen.size).toBe(3);
      const attributes = await attributesOf(files[1]);
      expect(attributes.sizeBytes).toBe(2);
      expect(attributes.blockSizeBytes).toBeGreaterThan(0);
      expect(attributes.mtimeSeconds).toBeGreaterThan(1_700_000_000);
      for (const node of files) node.release();
    });
  });

  describe('statfs', () => {
    it('says how much room there is', async () => {
      const statistics = new FileSystemStatistics();
      await count(context.root.statfs(statistics));
      expect(statistics.blockSizeBytes).toBeGreaterThan(0);
      expect(statistics.blocks).toBeGreaterThanOrEqual(statistics.blocksFree);
      expect(statistics.nameLengthBytes).toBe(255);
      for (const value of Object.values(statistics)) expect(Number.isSafeInteger(value)).toBe(true);
    });
  });
}
