/** THREATS row 4, set-id bits and groups: CVE-2022-0358, CVE-2021-20263; CVE-2023-1386 is in the suite. */
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  FileMode,
  OpenFlag,
  SetAttr,
  type Created,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { modeOfNew, withoutSetId } from '../../../../../devices/9p/fs/set-id-bits.js';
import { attributesOf, changes, count, ok, text, vector } from '../suite/driver.js';
import { Exported, isRoot } from './exported.js';

const DIRECTORY_GROUP = 4242;
const ROOT = { uid: 0, gid: 0 };
const USER = { uid: 1000, gid: 1000 };

describe('the mode after a write', () => {
  it('has no set-user-id, and set-group-id only where it means locking', () => {
    expect(withoutSetId(0o7777).toString(8)).toBe('1777');
    expect(withoutSetId(0o6755).toString(8)).toBe('755');
    expect(withoutSetId(0o6745).toString(8)).toBe('2745');
    expect(withoutSetId(0o755).toString(8)).toBe('755');
  });
});

describe('the mode of a new file', () => {
  it('lends the group of a set-group-id directory to nobody', () => {
    expect(modeOfNew(0o2755, false, true, 1000).toString(8)).toBe('755');
    expect(modeOfNew(0o2755, false, true, 0).toString(8)).toBe('2755');
    expect(modeOfNew(0o2644, false, true, 1000).toString(8)).toBe('2644');
    expect(modeOfNew(0o2755, false, false, 1000).toString(8)).toBe('2755');
    expect(modeOfNew(0o755, true, true, 1000).toString(8)).toBe('2755');
  });
});

describe.runIf(isRoot)('in a set-group-id directory', () => {
  let exported: Exported;
  let directory: FsNode;

  beforeEach(async () => {
    exported = await Exported.make();
    mkdirSync(exported.at('d'));
    chownSync(exported.at('d'), 0, DIRECTORY_GROUP);
    chmodSync(exported.at('d'), 0o2777);
    directory = await ok<FsNode>(exported.root.walk('d'));
  });

  afterEach(() => {
    directory.release();
    exported.remove();
  });

  it('files and directories get its group, and directories hand the bit on', async () => {
    const { node, file } = await ok<Created>(
      directory.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o640, USER),
    );
    const below = await ok<FsNode>(directory.mkdir('below', 0o755, USER));
    const link = await ok<FsNode>(directory.symlink('s', 'x', USER));
    expect(await attributesOf(node)).toMatchObject({
      uid: 1000,
      gid: DIRECTORY_GROUP,
      mode: FileMode.S_IFREG | 0o640,
    });
    expect(await attributesOf(below)).toMatchObject({
      gid: DIRECTORY_GROUP,
      mode: FileMode.S_IFDIR | 0o2755,
    });
    expect(await attributesOf(link)).toMatchObject({ uid: 1000, gid: DIRECTORY_GROUP });
    await file.close();
    for (const each of [node, below, link]) each.release();
  });

  it('an unprivileged user gets no executable with its group (CVE-2022-0358)', async () => {
    const create = directory.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o2755, USER);
    const { node, file } = await ok<Created>(create);
    expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('755');
    const regular = await ok<FsNode>(directory.mknod('n', FileMode.S_IFREG | 0o6755, 0, USER));
    expect(((await attributesOf(regular)).mode & 0o7777).toString(8)).toBe('4755');
    const byRoot = await ok<FsNode>(directory.mknod('r', FileMode.S_IFREG | 0o2755, 0, ROOT));
    expect(((await attributesOf(byRoot)).mode & 0o7777).toString(8)).toBe('2755');
    await file.close();
    for (const each of [node, regular, byRoot]) each.release();
  });
});

describe.runIf(isRoot)('set-id bits that the host has set meanwhile', () => {
  let exported: Exported;

  beforeEach(async () => {
    exported = await Exported.make();
  });

  afterEach(() => {
    exported.remove();
  });

  it('are dropped by inline writes and by synchronous ones', async () => {
    for (const flags of [
      OpenFlag.O_WRONLY,
      OpenFlag.O_WRONLY | OpenFlag.O_SYNC,
      OpenFlag.O_RDWR | OpenFlag.O_APPEND,
    ]) {
      writeFileSync(exported.at('f'), 'program');
      const node = await ok<FsNode>(exported.root.walk('f'));
      const file = await ok<OpenFile>(node.open(flags));
      chmodSync(exported.at('f'), 0o6755);
      await count(file.write(0, vector(text('evil'))));
      expect((statSync(exported.at('f')).mode & 0o7777).toString(8)).toBe('755');
      await file.close();
      node.release();
    }
  });

  it('are dropped when the file is given away', async () => {
    writeFileSync(exported.at('f'), 'program');
    chmodSync(exported.at('f'), 0o6755);
    const node = await ok<FsNode>(exported.root.walk('f'));
    await count(node.setattr(changes(SetAttr.P9_ATTR_UID, { uid: 1000 })));
    expect((statSync(exported.at('f')).mode & 0o7777).toString(8)).toBe('755');
    node.release();
  });
});
