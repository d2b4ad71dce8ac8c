/** Extended attributes. */
import { describe, expect, it } from 'vitest';
import { count, failure, ok, put, text, type Context } from './driver.js';

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

export function xattrsSuite(context: Context): void {
  describe('extended attributes', () => {
    if (!context.capabilities.xattrs) {
      it('are EOPNOTSUPP, one and all', async () => {
        const node = await put(context.root, 'f', '');
        expect(await failure(node.getxattr('user.a'))).toBe('EOPNOTSUPP');
        expect(await failure(node.setxattr('user.a', text('x'), 0))).toBe('EOPNOTSUPP');
        expect(await failure(node.listxattr())).toBe('EOPNOTSUPP');
        expect(await failure(node.removexattr('user.a'))).toBe('EOPNOTSUPP');
        node.release();
      });
      return;
    }

    it('are set, read, listed and removed, with empty and binary values', async () => {
      const node = await put(context.root, 'f', '');
      const binary = Uint8Array.from({ length: 256 }, (_, i) => i);
      await count(node.setxattr('user.text', text('value'), 0));
      await count(node.setxattr('user.binary', binary, 0));
      await count(node.setxattr('user.empty', new Uint8Array(0), 0));
      expect(await node.getxattr('user.text')).toEqual(text('value'));
      expect(await node.getxattr('user.binary')).toEqual(binary);
      expect(await node.getxattr('user.empty')).toEqual(new Uint8Array(0));
      const list = Buffer.from(await ok<Uint8Array>(node.listxattr())).toString();
      expect(list.split('\0').sort()).toEqual(['', 'user.binary', 'user.empty', 'user.text']);
      await count(node.removexattr('user.text'));
      expect(await failure(node.getxattr('user.text'))).toBe('ENODATA');
      expect(await failure(node.removexattr('user.text'))).toBe('ENODATA');
      node.release();
    });

    it('keep XATTR_CREATE and XATTR_REPLACE apart', async () => {
      const node = await put(context.root, 'f', '');
      expect(await failure(node.setxattr('user.a', text('1'), XATTR_REPLACE))).toBe('ENODATA');
      await count(node.setxattr('user.a', text('1'), XATTR_CREATE));
      expect(await failure(node.setxattr('user.a', text('2'), XATTR_CREATE))).toBe('EEXIST');
      await count(node.setxattr('user.a', text('2'), XATTR_REPLACE));
      expect(await node.getxattr('user.a')).toEqual(text('2'));
      expect(await failure(node.setxattr('user.a', text('3'), 0xff))).toBe('EINVAL');
      node.release();
    });

    it('larger than 64 KiB are refused, and names longer than 255 bytes too (CVE-2017-15038)', async () => {
      const node = await put(context.root, 'f', '');
      expect(await failure(node.setxattr('user.large', new Uint8Array(65_537), 0))).toMatch(
        /^(E2BIG|ENOSPC)$/,
      );
      expect(await failure(node.setxattr(`user.${'n'.repeat(255)}`, text('x'), 0))).toBe('ERANGE');
      expect(await failure(node.getxattr('user.a\0b'))).toBe('EINVAL');
      expect(await ok<Uint8Array>(node.listxattr())).toHaveLength(0);
      node.release();
    });

    it("outside 'user.' and POSIX ACLs are neither read nor set", async () => {
      const node = await put(context.root, 'f', '');
      for (const name of [
        'security.capability',
        'trusted.overlay.opaque',
        'system.other',
        'user',
        '',
        'USER.a',
      ]) {
        expect(await failure(node.getxattr(name)), name).toBe('EOPNOTSUPP');
        expect(await failure(node.setxattr(name, text('x'), 0)), name).toBe('EOPNOTSUPP');
        expect(await failure(node.removexattr(name)), name).toBe('EOPNOTSUPP');
      }
      node.release();
    });
  });
}
