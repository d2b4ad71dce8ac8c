/** Whose files are: the guest's users, and the host's. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  FileMode,
  OpenFlag,
  SetAttr,
  type Created,
  type FileSystem,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { IdentityError, IdentityFs } from '../../../../../devices/9p/fs/identity/identity-fs.js';
import { MappedFs } from '../../../../../devices/9p/fs/identity/mapped-fs.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { nodeAt } from '../overlay/trees.js';
import {
  attributesOf,
  changes,
  contentAt,
  count,
  failure,
  mkdir,
  names,
  ok,
  text,
  vector,
  write,
} from '../suite/driver.js';

const { P9_ATTR_GID, P9_ATTR_MODE, P9_ATTR_SIZE, P9_ATTR_UID } = SetAttr;
const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0;

let base: string;
let fs: FileSystem;
let root: FsNode;

async function mount(wrap: (inner: FileSystem) => FileSystem): Promise<void> {
  fs = wrap(await HostDirectory.open(base));
  root = await ok<FsNode>(fs.attach());
}

function at(...path: string[]): string {
  return join(base, ...path);
}

/** A new file of the guest's user. */
async function make(name: string, uid: number, gid: number, mode = 0o644): Promise<FsNode> {
  const flags = OpenFlag.O_CREAT | OpenFlag.O_RDWR | OpenFlag.O_EXCL;
  const { node, file } = await ok<Created>(root.create(name, flags, mode, { uid, gid }));
  await file.close();
  return node;
}

function modeOf(mode: number): string {
  return (mode & 0o7777).toString(8);
}

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'identity-'));
});

afterEach(async () => {
  root.release();
  await fs.close();
  execFileSync('rm', ['-rf', base]);
});

describe.runIf(isRoot)('ids mapped by ranges', () => {
  const ids = [
    { guest: 0, host: 100_000, count: 1000 },
    { guest: 1000, host: 5000, count: 1 },
  ];

  beforeEach(() => mount((inner) => new IdentityFs(inner, { uids: ids, gids: ids })));

  it("are the host's below and the guest's above, for new files and given ones", async () => {
    const node = await make('f', 0, 1000);
    expect(statSync(at('f'))).toMatchObject({ uid: 100_000, gid: 5000 });
    expect(await attributesOf(node)).toMatchObject({ uid: 0, gid: 1000 });
    await count(node.setattr(changes(P9_ATTR_UID | P9_ATTR_GID, { uid: 1000, gid: 999 })));
    expect(statSync(at('f'))).toMatchObject({ uid: 5000, gid: 100_999 });
    await count(node.setattr(changes(P9_ATTR_UID | P9_ATTR_GID, { uid: 0xffff_ffff, gid: 0 })));
    expect(statSync(at('f'))).toMatchObject({ uid: 5000, gid: 100_000 });
    node.release();
  });

  it('that stand for nothing are seen as 65534, and can neither be given files nor make any', async () => {
    writeFileSync(at('roots'), '');
    const node = await nodeAt(root, '/roots');
    expect(await attributesOf(node)).toMatchObject({ uid: NOBODY, gid: NOBODY });
    for (const id of [1001, NOBODY, 100_000]) {
      expect(await failure(node.setattr(changes(P9_ATTR_UID, { uid: id })))).toBe('EINVAL');
      expect(await failure(node.setattr(changes(P9_ATTR_GID, { gid: id })))).toBe('EINVAL');
      expect(await failure(root.mkdir('d', 0o755, { uid: id, gid: 0 }))).toBe('EOVERFLOW');
      expect(await failure(root.create('c', OpenFlag.O_RDWR, 0o644, { uid: 0, gid: id }))).toBe('EOVERFLOW');
    }
    expect(await names(root)).toEqual(['roots']);
    expect(statSync(at('roots'))).toMatchObject({ uid: 0, gid: 0 });
    node.release();
  });

  it('give no set-user-id program to a user of the host outside the ranges', async () => {
    const node = await make('program', 1000, 1000, 0o4755);
    expect(modeOf(statSync(at('program')).mode)).toBe('4755');
    await count(node.setattr(changes(P9_ATTR_UID, { uid: 0 })));
    expect(statSync(at('program')).uid).toBe(100_000);
    expect(modeOf(statSync(at('program')).mode)).toBe('755');
    node.release();
  });

  it('are translated in POSIX ACLs, both ways', async () => {
    const node = await make('f', 0, 0);
    const acl = (uid: number): Uint8Array => {
      const view = new DataView(new ArrayBuffer(4 + 5 * 8));
      view.setUint32(0, 2, true);
      const entries = [
        [1, 6, 0xffff_ffff],
        [2, 4, uid],
        [4, 4, 0xffff_ffff],
        [16, 4, 0xffff_ffff],
        [32, 0, 0xffff_ffff],
      ];
      for (const [i, [tag, permissions, id]] of entries.entries()) {
        view.setUint16(4 + i * 8, tag, true);
        view.setUint16(6 + i * 8, permissions, true);
        view.setUint32(8 + i * 8, id, true);
      }
      return new Uint8Array(view.buffer);
    };
    const answer = await failure(node.setxattr('system.posix_acl_access', acl(1000), 0));
    // The host's file system may have none.
    if (answer === 'EOPNOTSUPP') return;
    expect(answer).toBe('OK');
    expect(await node.getxattr('system.posix_acl_access')).toEqual(acl(1000));
    const plain = await HostDirectory.open(base);
    const below = await nodeAt(await ok<FsNode>(plain.attach()), '/f');
    expect(await below.getxattr('system.posix_acl_access')).toEqual(acl(5000));
    expect(await failure(node.setxattr('system.posix_acl_access', acl(4000), 0))).toBe('EINVAL');
    expect(await failure(node.setxattr('system.posix_acl_access', text('xyz'), 0))).toBe('EINVAL');
    node.release();
  });
});

describe('ranges of ids', () => {
  beforeEach(() => mount((inner) => inner));

  it('that overlap or are none are refused', async () => {
    const inner = await HostDirectory.open(base);
    for (const uids of [
      [{ guest: 0, host: 0, count: 0 }],
      [{ guest: -1, host: 0, count: 1 }],
      [{ guest: 0, host: 2 ** 32 - 1, count: 1 }],
      [{ guest: 0.5, host: 0, count: 1 }],
      [
        { guest: 0, host: 0, count: 10 },
        { guest: 9, host: 100, count: 1 },
      ],
      [
        { guest: 0, host: 0, count: 10 },
        { guest: 100, host: 9, count: 1 },
      ],
    ])
      expect(() => new IdentityFs(inner, { uids, gids: [] }), JSON.stringify(uids)).toThrow(IdentityError);
    inner.close();
  });
});

describe.runIf(isRoot)('ids squashed to one', () => {
  const squash = { guest: { uid: 1000, gid: 1000 }, host: { uid: 4000, gid: 4001 } };

  beforeEach(() => mount((inner) => new IdentityFs(inner, { squash })));

  it("show everything as the guest's one user's, and make everything the host's one's", async () => {
    writeFileSync(at('roots'), '');
    for (const uid of [0, 1000, 1234]) (await make(`f${uid}`, uid, uid)).release();
    (await ok<FsNode>(root.symlink('s', 'x', { uid: 0, gid: 0 }))).release();
    for (const name of await names(root)) {
      const node = await nodeAt(root, `/${name}`);
      expect(await attributesOf(node), name).toMatchObject(squash.guest);
      const expected = name === 'roots' ? { uid: 0, gid: 0 } : squash.host;
      expect(lstatSync(at(name)), name).toMatchObject(expected);
      node.release();
    }
  });

  it('let nobody give files away, nor take what others have on the host', async () => {
    writeFileSync(at('roots'), '');
    chownSync(at('roots'), 7, 8);
    const node = await nodeAt(root, '/roots');
    expect(await failure(node.setattr(changes(P9_ATTR_UID, { uid: 0 })))).toBe('EPERM');
    expect(await failure(node.setattr(changes(P9_ATTR_GID, { gid: 0 })))).toBe('EPERM');
    await count(node.setattr(changes(P9_ATTR_UID | P9_ATTR_GID, squash.guest)));
    expect(statSync(at('roots'))).toMatchObject({ uid: 7, gid: 8 });
    expect(await failure(node.setxattr('system.posix_acl_access', text('x'), 0))).toBe('EOPNOTSUPP');
    node.release();
  });
});

describe('metadata mapped to extended attributes', () => {
  beforeEach(() => mount((inner) => new MappedFs(inner)));

  it("keeps the guest's owners and modes, and makes files of the host that only the daemon may use", async () => {
    const node = await make('f', 1234, 5678, 0o4777);
    expect(await attributesOf(node)).toMatchObject({ uid: 1234, gid: 5678, mode: FileMode.S_IFREG | 0o4777 });
    (await mkdir(root, 'd', 0o1777)).release();
    expect(modeOf(statSync(at('f')).mode)).toBe('600');
    expect(modeOf(statSync(at('d')).mode)).toBe('700');
    expect(statSync(at('f')).uid).toBe(process.geteuid?.());
    node.release();
  });

  it('outlives the process', async () => {
    (await make('f', 1, 2, 0o640)).release();
    (await ok<FsNode>(root.symlink('s', 'target', { uid: 3, gid: 4 }))).release();
    root.release();
    await fs.close();
    await mount((inner) => new MappedFs(inner));
    const file = await nodeAt(root, '/f');
    const link = await nodeAt(root, '/s');
    expect(await attributesOf(file)).toMatchObject({ uid: 1, gid: 2, mode: FileMode.S_IFREG | 0o640 });
    expect(await attributesOf(link)).toMatchObject({ uid: 3, gid: 4, sizeBytes: 6 });
    expect(await link.readlink()).toBe('target');
    file.release();
    link.release();
  });

  it('makes links, FIFOs and device nodes that are plain files on the host (CVE-2023-2861)', async () => {
    (await ok<FsNode>(root.symlink('s', '/etc/passwd', { uid: 0, gid: 0 }))).release();
    for (const [name, type] of [
      ['c', FileMode.S_IFCHR],
      ['b', FileMode.S_IFBLK],
      ['p', FileMode.S_IFIFO],
      ['k', FileMode.S_IFSOCK],
    ] as const) {
      const node = await ok<FsNode>(root.mknod(name, type | 0o666, 0x803, { uid: 0, gid: 0 }));
      expect(await failure(node.open(OpenFlag.O_RDWR))).toMatch(/^(EACCES|ENXIO)$/);
      expect(await failure(node.setattr(changes(P9_ATTR_SIZE, { sizeBytes: 0 })))).toBe('EINVAL');
      node.release();
    }
    for (const name of ['s', 'c', 'b', 'p', 'k']) expect(lstatSync(at(name)).isFile(), name).toBe(true);
    expect(readFileSync(at('s'), 'utf8')).toBe('/etc/passwd');
  });

  it('hides its attribute from the guest, and lets it neither write nor remove it (CVE-2017-7493)', async () => {
    const node = await make('f', 1000, 1000);
    const forged = text('1:0:0:104755:0');
    for (const name of ['user.chassis.metadata', 'user.chassis.', 'user.chassis.other']) {
      expect(await failure(node.setxattr(name, forged, 0)), name).toBe('EPERM');
      expect(await failure(node.getxattr(name)), name).toBe('ENODATA');
      expect(await failure(node.removexattr(name)), name).toBe('ENODATA');
    }
    await count(node.setxattr('user.chassis', text('free'), 0));
    expect(Buffer.from(await ok<Uint8Array>(node.listxattr())).toString()).toBe('user.chassis\0');
    expect(await attributesOf(node)).toMatchObject({ uid: 1000, mode: FileMode.S_IFREG | 0o644 });
    node.release();
  });

  it('drops set-id bits when the file is written, cut or given away (CVE-2023-1386)', async () => {
    const node = await make('f', 0, 0, 0o6755);
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    const setId = changes(P9_ATTR_MODE, { mode: 0o6755 });
    await write(file, 0, 'evil');
    expect(modeOf((await attributesOf(node)).mode)).toBe('755');
    await count(node.setattr(setId));
    await write(file, 0, 'evil');
    expect(modeOf((await attributesOf(node)).mode)).toBe('755');
    await count(node.setattr(setId));
    await count(file.setattr(changes(P9_ATTR_SIZE, { sizeBytes: 1 })));
    expect(modeOf((await attributesOf(node)).mode)).toBe('755');
    await count(node.setattr(setId));
    await count(node.setattr(changes(P9_ATTR_UID, { uid: 5 })));
    expect(modeOf((await attributesOf(node)).mode)).toBe('755');
    await file.close();
    node.release();
  });

  it("lends no executable the group of a set-group-id directory that is not its maker's (CVE-2022-0358)", async () => {
    const directory = await mkdir(root, 'd', 0o2775);
    await count(directory.setattr(changes(P9_ATTR_GID | P9_ATTR_MODE, { gid: 42, mode: 0o2775 })));
    const flags = OpenFlag.O_CREAT | OpenFlag.O_RDWR;
    const owner = { uid: 1000, gid: 1000 };
    const { node, file } = await ok<Created>(directory.create('x', flags, 0o2755, owner));
    expect(await attributesOf(node)).toMatchObject({ uid: 1000, gid: 42 });
    expect(modeOf((await attributesOf(node)).mode)).toBe('755');
    const below = await ok<FsNode>(directory.mkdir('below', 0o755, owner));
    expect(modeOf((await attributesOf(below)).mode)).toBe('2755');
    await file.close();
    for (const each of [node, below, directory]) each.release();
  });

  it('says EIO of an attribute that cannot be, and does nothing with the file', async () => {
    const setfattr = async (name: string, value: string): Promise<void> => {
      const plain = await HostDirectory.open(base);
      const node = await nodeAt(await ok<FsNode>(plain.attach()), `/${name}`);
      await count(node.setxattr('user.chassis.metadata', text(value), 0));
      node.release();
    };
    mkdirSync(at('d'));
    writeFileSync(at('f'), 'x');
    for (const [name, value] of [
      ['f', ''],
      ['f', '2:0:0:100644:0'],
      ['f', '1:0:0:40755:0'],
      ['f', '1:0:0:644:0'],
      ['f', `1:${'9'.repeat(40)}:0:100644:0`],
      ['f', `1:0:0:100644:0${' '.repeat(1000)}`],
      ['d', '1:0:0:120777:0'],
    ] as const) {
      await setfattr(name, value);
      const node = await ok<FsNode>(root.walk(name));
      expect(await failure(node.open(OpenFlag.O_RDONLY)), value).toBe('EIO');
      expect(await failure(node.readlink()), value).toBe('EIO');
      node.release();
    }
  });

  it("shows the host's own files as they are until the guest changes them", async () => {
    writeFileSync(at('f'), 'theirs');
    chmodSync(at('f'), 0o640);
    const node = await nodeAt(root, '/f');
    expect(modeOf((await attributesOf(node)).mode)).toBe('640');
    await count(node.setattr(changes(P9_ATTR_UID, { uid: 77 })));
    expect(await attributesOf(node)).toMatchObject({ uid: 77, mode: FileMode.S_IFREG | 0o640 });
    expect(statSync(at('f')).uid).not.toBe(77);
    expect(await contentAt(root, 'f')).toBe('theirs');
    node.release();
  });

  it('needs extended attributes, and says EOPNOTSUPP of a file system without', async () => {
    const without = new MappedFs(new NodeFs(new Volume()));
    expect(await failure(without.attach())).toBe('EOPNOTSUPP');
    await without.close();
    const { node, file } = await ok<Created>(
      root.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o644, { uid: 0, gid: 0 }),
    );
    expect(await count(file.write(0, vector(text('x'))))).toBe(1);
    await file.close();
    node.release();
  });
});
