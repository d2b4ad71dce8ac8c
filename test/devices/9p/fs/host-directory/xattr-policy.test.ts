/** THREATS rows 4 and 6: which extended attributes cross, and what access control lists do. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import {
  OpenFlag,
  type Created,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { fgetxattr, fsetxattr } from '../../../../../host/index.js';
import { attributesOf, count, failure, ok, put, self, text, write } from '../suite/driver.js';
import { Exported, isRoot } from './exported.js';

const DEFAULT_ACL = 'system.posix_acl_default';
const ACCESS_ACL = 'system.posix_acl_access';

const AclTag = { USER_OBJ: 1, USER: 2, GROUP_OBJ: 4, MASK: 16, OTHER: 32 } as const;

/** version[4], then tag[2] permissions[2] id[4] each: linux/posix_acl_xattr.h. */
function acl(...entries: [tag: number, permissions: number, id?: number][]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(4 + 8 * entries.length));
  bytes.setUint32(0, 2, true);
  entries.forEach(([tag, permissions, id = 0xffff_ffff], i) => {
    bytes.setUint16(4 + 8 * i, tag, true);
    bytes.setUint16(6 + 8 * i, permissions, true);
    bytes.setUint32(8 + 8 * i, id, true);
  });
  return new Uint8Array(bytes.buffer);
}

/** Lets user 1234 do everything, as far as the mask goes. */
function inherited(mask: number): Uint8Array {
  return acl(
    [AclTag.USER_OBJ, 7],
    [AclTag.USER, 7, 1234],
    [AclTag.GROUP_OBJ, 5],
    [AclTag.MASK, mask],
    [AclTag.OTHER, 0],
  );
}

const CAPABILITY = Buffer.from('security.capability\0');
/** struct vfs_cap_data: revision 2 with the effective bit, CAP_NET_RAW permitted. */
const CAP_NET_RAW = Buffer.from('0100000200200000000000000000000000000000', 'hex');

let exported: Exported;

beforeEach(async () => {
  exported = await Exported.make();
});

afterEach(() => {
  exported.remove();
});

describe('access control lists', () => {
  it('are set and read', async () => {
    const node = await put(exported.root, 'f', '');
    await count(node.setxattr(ACCESS_ACL, inherited(6), 0));
    expect(await node.getxattr(ACCESS_ACL)).toEqual(inherited(6));
    expect((await attributesOf(node)).mode & 0o777).toBe(0o760);
    node.release();
  });

  it('of the directory bound what a new file allows, whatever the umask', async () => {
    const directory = await ok<FsNode>(exported.root.mkdir('d', 0o755, self));
    await count(directory.setxattr(DEFAULT_ACL, inherited(5), 0));
    const before = process.umask(0o077);
    const { node, file } = await ok<Created>(
      directory.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o4666, self),
    );
    const below = await ok<FsNode>(directory.mkdir('below', 0o1777, self));
    process.umask(before);
    expect(((await attributesOf(node)).mode & 0o7777).toString(8)).toBe('4640');
    expect(((await attributesOf(below)).mode & 0o7777).toString(8)).toBe('1750');
    expect(await below.getxattr(DEFAULT_ACL)).toEqual(inherited(5));
    await file.close();
    for (const each of [node, below, directory]) each.release();
  });

  it('that are none are EINVAL', async () => {
    const node = await put(exported.root, 'f', '');
    expect(await failure(node.setxattr(ACCESS_ACL, text('garbage'), 0))).toMatch(/^(EINVAL|EOPNOTSUPP)$/);
    node.release();
  });
});

describe('the umask of the daemon', () => {
  it('is not the guest’s', async () => {
    const before = process.umask(0o077);
    const { node, file } = await ok<Created>(
      exported.root.create('f', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o666, self),
    );
    const directory = await ok<FsNode>(exported.root.mkdir('d', 0o777, self));
    process.umask(before);
    expect((await attributesOf(node)).mode & 0o777).toBe(0o666);
    expect((await attributesOf(directory)).mode & 0o777).toBe(0o777);
    await file.close();
    node.release();
    directory.release();
  });
});

describe.runIf(isRoot)("attributes that are the host kernel's", () => {
  it('are not listed, not read, and not removed', async () => {
    writeFileSync(exported.at('f'), '');
    const fd = openSync(exported.at('f'), 'r');
    expect(fsetxattr(fd, Buffer.from('trusted.hidden\0'), text('x'), 1, 0)).toBe(0);
    expect(fsetxattr(fd, Buffer.from('user.shown\0'), text('x'), 1, 0)).toBe(0);
    closeSync(fd);
    const node = await ok<FsNode>(exported.root.walk('f'));
    expect(Buffer.from(await ok<Uint8Array>(node.listxattr())).toString()).toBe('user.shown\0');
    expect(await failure(node.getxattr('trusted.hidden'))).toBe('EOPNOTSUPP');
    expect(await failure(node.removexattr('trusted.hidden'))).toBe('EOPNOTSUPP');
    node.release();
  });

  it('such as file capabilities go when the file is written', async () => {
    writeFileSync(exported.at('f'), 'program');
    const fd = openSync(exported.at('f'), 'r');
    expect(fsetxattr(fd, CAPABILITY, CAP_NET_RAW, CAP_NET_RAW.length, 0)).toBe(0);
    const node = await ok<FsNode>(exported.root.walk('f'));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_WRONLY));
    await write(file, 0, 'evil');
    expect(fgetxattr(fd, CAPABILITY, CAP_NET_RAW, 0)).toBe(-Errno.ENODATA);
    await file.close();
    closeSync(fd);
    node.release();
  });
});
